"""One evaluation of a model by tasks: tasks, model, answers, scores, result. The steps in order."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nanolit.cli.eval import OF_DATA, task_settings
from nanolit.cli.evaluation import REPORT_EVERY_S, model_source, refuse_settings
from nanolit.cli.open_model import hashes, locate, open_model
from nanolit.cli.score_report import Told, table, write
from nanolit.evals.chat_core import means
from nanolit.evals.core import as_json, evaluate_core
from nanolit.evals.core_bundle import Core, is_core, open_core
from nanolit.evals.score_task import choose_shots, refuse_chat, score_task
from nanolit.inference.weights import prepare
from nanolit.models.network import Network
from nanolit.runtime import allocator, devices
from nanolit.runtime.files import sha256_file
from nanolit.tasks.build import TaskConfig, make_task
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.chat import has_chat_tokens
from nanolit.tokenizers.protocol import Tokenizer

log = logging.getLogger("nanolit")
Asked = tuple[Task, list[Example]] | Core


class TaskEvaluation:
    def __init__(self, config: dict[str, Any]) -> None:
        why = "is not read where tasks= are asked; leave it out, or evaluate the loss without tasks="
        refuse_settings(OF_DATA, why)
        self.sections: dict[str, dict[str, Any]] = config["task"]
        self.settings = task_settings(config)
        if self.settings.out is None:
            self.settings = replace(self.settings, out=Path("eval.json"))
        self.source = model_source(config["model"])
        self.device = devices.pick_device(self.settings.device)

    def execute(self) -> int:
        """The exit code of the command."""
        allocator.keep_freed_memory()
        tasks = {name: self.open_task(name) for name in self.settings.tasks}  # what is wrong with them is told at once
        folder = locate(self.source)
        # Not autocast as for the loss: the engine keeps keys and values in the weights' own numbers.
        network, tokenizer = open_model(self.source, str(self.device), getattr(torch, self.settings.dtype))
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        network, told = prepare(network), Told()
        for name, asked in tasks.items():
            if isinstance(asked, Core):
                self.ask_core(told, name, asked, network, tokenizer)
            else:
                self.ask_task(told, name, *asked, network, tokenizer)
        firsts = {score.task: score for score in reversed(told.scores)}
        told.means += means(firsts, [name for name, section in self.sections.items() if is_sliced(section)])
        if self.settings.lm_eval:
            self.ask_lm_eval(told, network, tokenizer)
        print(table(f"{self.source}, {n_parameters:,} parameters", told), flush=True)
        model = {"source": self.source, "folder": str(folder), "parameters": n_parameters, "files": hashes(folder)}
        write(told, model, str(self.device), self.settings)
        return 0

    def open_task(self, name: str) -> Asked:
        """What is asked: a task, and what stands before each of its questions, or CORE's texts."""
        section, shots = self.sections[name], self.settings.shots
        if is_core(section):
            return open_core(name, section)
        task = make_task(name, section)
        refuse_chat(name, task)
        if not shots:
            return task, []
        if "split" not in section:
            raise ValueError(f"shots: task.{name} has no setting split, so there is no other half to take them from")
        whole = {key: value for key, value in section.items() if key not in TaskConfig.__dataclass_fields__}
        return task, choose_shots(name, make_task(name, whole | {"split": "train"}), shots, self.settings.seed)

    def ask_task(
        self, told: Told, name: str, task: Task, shots: list[Example], network: Network, tokenizer: Tokenizer
    ) -> None:
        started_at = time.monotonic()
        result = score_task(network, tokenizer, name, task, self.settings, shots, on_progress=log_progress(name))
        counts = {"items": len(result.items), "cropped": result.n_cropped, "cut_off": result.n_cut_off}
        files = {Path(file).name: sha256_file(Path(file)) for file in task.files}
        told.add(name, result.scores, self.sections[name], files, time.monotonic() - started_at, **counts)
        for item in result.items if self.settings.out_items else ():
            about = {"task": name, "index": item.index, "messages": task[item.index].messages}
            told.items.append(about | {"answers": item.answers, "verdicts": item.verdicts} | item.details)

    def ask_core(self, told: Told, name: str, core: Core, network: Network, tokenizer: Tokenizer) -> None:
        started_at = time.monotonic()
        result = evaluate_core(
            network,
            tokenizer,
            core.bundle,
            batch_size=self.settings.batch_size,
            max_per_task=core.config.max_per_task,
            on_progress=Bars(name),
        )
        counts = {"items": sum(len(task.items) for task in result.tasks), "cropped": result.n_cropped}
        told.add(name, result.scores, self.sections[name], core.hashes, time.monotonic() - started_at, **counts)
        told.tasks[name] |= {"mean": result.mean.value, "standard_error": result.standard_error}
        told.means.append(result.mean)
        told.items += as_json(result) if self.settings.out_items else []

    def ask_lm_eval(self, told: Told, network: Network, tokenizer: Tokenizer) -> None:
        if find_spec("lm_eval") is None:
            raise ValueError("lm_eval: needs a package that is not installed; pip install 'nanolit[eval]'")
        from nanolit.evals.lm_eval_model import LanguageModel, items_of, run_tasks, scores_of

        settings = self.settings
        model = LanguageModel(network, tokenizer, settings.batch_size, settings.seed, Bars("lm_eval"))
        is_chat = settings.template == "chat" or (settings.template == "auto" and has_chat_tokens(tokenizer))
        found = run_tasks(
            model, settings.lm_eval, settings.lm_eval_path, settings.lm_eval_limit, is_chat, settings.shots or None
        )
        template = "chat" if is_chat else "as the task says"
        told.lm_eval = [score | {"template": template} for score in scores_of(found)]
        told.items += items_of(found) if settings.out_items else []


def is_sliced(section: dict[str, Any]) -> bool:
    return any(section.get(name, default) != default for name, default in (("start", 0), ("stop", None), ("step", 1)))


class Bars:
    """Progress of work that has parts with names."""

    def __init__(self, name: str) -> None:
        self.name, self.parts = name, dict[str, Callable[[int, int], None]]()

    def __call__(self, part: str, n_done: int, n_all: int) -> None:
        self.parts.setdefault(part, log_progress(f"{self.name}, {part}"))(n_done, n_all)


def log_progress(name: str) -> Callable[[int, int], None]:
    """A line every few seconds."""
    started_at = told_at = time.monotonic()

    def progress(n_done: int, n_all: int) -> None:
        nonlocal told_at
        if n_done and time.monotonic() - told_at >= REPORT_EVERY_S:
            told_at = time.monotonic()
            left_s = (told_at - started_at) / n_done * (n_all - n_done)
            log.info("%s: %d of %d, %.0f s left", name, n_done, n_all, left_s)

    return progress
