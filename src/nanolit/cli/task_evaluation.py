"""One evaluation of a model by tasks: tasks, model, answers, scores, result. The steps in order."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nanolit.cli.eval import OF_DATA, TaskEvalConfig, of_tasks
from nanolit.cli.evaluation import REPORT_EVERY_S, model_source, refuse_settings
from nanolit.cli.open_model import hashes, locate, open_model
from nanolit.cli.run_folder import installed_versions
from nanolit.evals.chat_core import Mean, means
from nanolit.evals.score import Score
from nanolit.evals.score_task import TaskResult, choose_shots, refuse_chat, score_task
from nanolit.inference.weights import prepare
from nanolit.models.network import Network
from nanolit.runtime import allocator, devices
from nanolit.runtime.files import atomic_path, sha256_file, write_json
from nanolit.runtime.suggest import suggest
from nanolit.runtime.typed import build
from nanolit.tasks.build import TaskConfig, make_task
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.chat import has_chat_tokens
from nanolit.tokenizers.protocol import Tokenizer

log = logging.getLogger("nanolit")


@dataclass
class Told:
    """What came out, as far as it has come."""

    scores: list[Score] = field(default_factory=list)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)  # by name: what was asked
    notes: list[str] = field(default_factory=list)  # printed below the table
    items: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)  # what others say beside


class TaskEvaluation:
    def __init__(self, config: dict[str, Any]) -> None:
        refuse_settings(
            OF_DATA, "is not read where tasks= are asked; leave it out, or evaluate the loss without tasks="
        )
        own = {key: config[key] for key in (*of_tasks(), "batch_size", "seed", "dtype", "device", "out")}
        self.sections: dict[str, dict[str, Any]] = own.pop("task")
        self.settings = build(TaskEvalConfig, own, "")
        if self.settings.out is None:
            self.settings = replace(self.settings, out=Path("eval.json"))
        self.source = model_source(config["model"])
        self.device = devices.pick_device(self.settings.device)
        for name in self.sections:
            if name not in self.settings.tasks:
                raise ValueError(f"task.{name}: is not among tasks=; {suggest(name, self.settings.tasks, 'task.')}")

    def execute(self) -> int:
        """The exit code of the command."""
        settings = self.settings
        allocator.keep_freed_memory()
        tasks = {name: self.open_task(name) for name in settings.tasks}  # what is wrong with them is told at once
        folder = locate(self.source)
        # Not autocast as for the loss: the engine keeps keys and values in the weights' own numbers.
        network, tokenizer = open_model(self.source, str(self.device), getattr(torch, settings.dtype))
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        network, told = prepare(network), Told()
        for name, (task, shots) in tasks.items():
            started_at = time.monotonic()
            result = score_task(network, tokenizer, name, task, settings, shots, on_progress=log_progress(name))
            self.keep(told, name, task, result, time.monotonic() - started_at)
        if settings.lm_eval:
            self.ask_lm_eval(told, network, tokenizer)
        firsts = {score.task: score for score in reversed(told.scores)}
        found = means(firsts, [name for name, section in self.sections.items() if is_sliced(section)])
        print(table(f"{self.source}, {n_parameters:,} parameters", told, found), flush=True)
        model = {"source": self.source, "folder": str(folder), "parameters": n_parameters, "files": hashes(folder)}
        self.write(told, found, model)
        return 0

    def open_task(self, name: str) -> tuple[Task, list[Example]]:
        """The task, and what stands before each of its questions."""
        section, shots = self.sections[name], self.settings.shots
        task = make_task(name, section)
        refuse_chat(name, task)
        if not shots:
            return task, []
        if "split" not in section:
            raise ValueError(f"shots: task.{name} has no setting split, so there is no other half to take them from")
        whole = {key: value for key, value in section.items() if key not in TaskConfig.__dataclass_fields__}
        return task, choose_shots(name, make_task(name, whole | {"split": "train"}), shots, self.settings.seed)

    def keep(self, told: Told, name: str, task: Task, result: TaskResult, seconds: float) -> None:
        told.scores += result.scores
        files = {Path(file).name: sha256_file(Path(file)) for file in task.files}
        counts = {"items": len(result.items), "cropped": result.n_cropped, "cut_off": result.n_cut_off}
        told.tasks[name] = {"settings": self.sections[name], "files": files, **counts, "seconds": round(seconds, 3)}
        if result.n_cropped:
            told.notes.append(
                f"{name}: {result.n_cropped} prompts lost their beginning, they are longer than the model reads"
            )
        if result.n_cut_off:
            told.notes.append(f"{name}: {result.n_cut_off} answers had not ended when there was no room for more")
        if self.settings.out_items is None:
            return
        for item in result.items:
            about = {"task": name, "index": item.index, "messages": task[item.index].messages}
            told.items.append(about | {"answers": item.answers, "verdicts": item.verdicts} | item.details)

    def ask_lm_eval(self, told: Told, network: Network, tokenizer: Tokenizer) -> None:
        if find_spec("lm_eval") is None:
            raise ValueError("lm_eval: needs a package that is not installed; pip install 'nanolit[eval]'")
        from nanolit.evals.lm_eval_model import LanguageModel, items_of, run_tasks, scores_of

        settings, bars = self.settings, dict[str, Callable[[int, int], None]]()

        def tell(what: str, n_done: int, n_all: int) -> None:
            bars.setdefault(what, log_progress(f"lm_eval, {what}"))(n_done, n_all)

        model = LanguageModel(network, tokenizer, settings.batch_size, settings.seed, tell)
        is_chat = settings.template == "chat" or (settings.template == "auto" and has_chat_tokens(tokenizer))
        found = run_tasks(
            model, settings.lm_eval, settings.lm_eval_path, settings.lm_eval_limit, is_chat, settings.shots or None
        )
        template = "chat" if is_chat else "as the task says"
        told.more["lm_eval"] = [score | {"template": template} for score in scores_of(found)]
        if settings.out_items is not None:
            told.items += items_of(found)

    def write(self, told: Told, found: list[Mean], model: dict[str, Any]) -> None:
        settings = self.settings
        assert settings.out is not None
        asked = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()}
        result = {
            "scores": [
                {key: None if value != value else value for key, value in score.as_json().items()}  # JSON has no NaN
                for score in told.scores
            ],
            "means": [asdict(mean) for mean in found],
            "tasks": told.tasks,
            **told.more,
            "model": model,
            "settings": asked | {"device": str(self.device)},
            "machine": devices.describe(),
            "versions": installed_versions() | ({"lm_eval": version("lm_eval")} if settings.lm_eval else {}),
        }
        write_json(settings.out, result)
        log.info("written to %s", settings.out)
        if settings.out_items is not None:
            with atomic_path(settings.out_items) as temporary:
                temporary.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in told.items))
            log.info("every item is in %s", settings.out_items)


def is_sliced(section: dict[str, Any]) -> bool:
    return any(section.get(name, default) != default for name, default in (("start", 0), ("stop", None), ("step", 1)))


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


COLUMNS = f"{'task':<20}{'metric':<24}{'score':>8}{'error':>8}{'centred':>9}{'items':>7}{'shots':>7}  template"


def table(model: str, told: Told, found: list[Mean]) -> str:
    lines = [f"{'model':<20}{model}", *([COLUMNS] if told.scores else [])]
    lines += [row(score.as_json()) for score in told.scores]
    lines += [f"{mean.name:<20}{'' if mean.value is None else f'{mean.value:.4f} '}{mean.told}" for mean in found]
    if others := told.more.get("lm_eval"):
        lines += ["lm-eval", *([] if told.scores else [COLUMNS]), *map(row, others)]
    return "\n".join([*lines, *told.notes])


def row(score: dict[str, Any]) -> str:
    numbers = [("value", 8, ".4f"), ("standard_error", 8, ".4f"), ("centred", 9, ".4f"), ("n", 7, ""), ("shots", 7, "")]
    told = "".join(
        f"{'' if (v := score.get(key)) is None else format(v, form):>{width}}" for key, width, form in numbers
    )
    return f"{score['task']:<20}{score['metric']:<24}{told}  {score['template'].partition(',')[0].partition(':')[0]}"
