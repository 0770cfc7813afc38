"""Scores of tasks by the model as it is now, as metrics `task/NAME/METRIC`: an estimate on a few items while it learns.
`nanolit eval` tells them with all that they depend on.

With several processes the items are split among them, as all have the same weights; the first one alone asks CORE.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl

from nanolit.evals.asking import AskConfig, Template
from nanolit.evals.core import evaluate_core
from nanolit.evals.core_bundle import Core, is_core, open_core
from nanolit.evals.prompts import make_prompts
from nanolit.evals.score_task import Item, refuse_chat, score_task, values_of
from nanolit.tasks.build import make_task
from nanolit.training.cadence import Cadence
from nanolit.training.callbacks.metrics import Metrics
from nanolit.training.callbacks.step import StepCallback, find_callback, is_last_step


class TaskScores(StepCallback):
    """`tasks`: sections as in conf/task, by name; `n_items`: so many of each, the first ones, or of CORE those that
    nanochat draws. `at_start`: before the first step too, of a run that does not go on.
    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any]],
        every_steps: int | None = None,
        every_tokens: int | None = None,
        every_minutes: float | None = None,
        n_items: int = 100,
        batch_size: int = 32,
        max_new_tokens: int | None = None,
        template: Template = "auto",
        n_samples: int = 1,
        temperature: float = 0.0,
        top_k: int | None = None,
        pass_at: Sequence[int] | None = None,
        seed: int = 1337,
        at_start: bool = False,
    ) -> None:
        where = "callbacks.task_scores"
        if not tasks:
            raise ValueError(
                f"{where}.tasks: names none; give +task@{where}.tasks.NAME=NAME, or leave the callback out"
            )
        if n_items < 1:
            raise ValueError(f"{where}.n_items: got {n_items}, must be at least 1")
        self.cadence = Cadence(every_steps, every_tokens, every_minutes, where=where)
        self.n_items, self.sections = n_items, {name: dict(section) for name, section in tasks.items()}
        self.at_start = at_start
        try:
            self.asking = AskConfig(
                template=template,
                batch_size=batch_size,
                max_new_tokens=max_new_tokens,
                n_samples=n_samples,
                temperature=temperature,
                top_k=top_k,
                pass_at=None if pass_at is None else tuple(pass_at),
                seed=seed,
            )
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from error

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """What cannot be asked is told before training, not hours later."""
        cores = {name for name, section in self.sections.items() if is_core(section)}
        self.cores = {name: open_core(name, self.sections[name]) for name in cores}
        self.tasks = {name: make_task(name, section) for name, section in self.sections.items() if name not in cores}
        prompts = make_prompts(trainer.datamodule.tokenizer, self.asking.template)  # type: ignore[attr-defined]
        for name, task in self.tasks.items():
            refuse_chat(name, task)
            if task.kind == "categorical":
                prompts.letter_ids(task[0])

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        if self.at_start and trainer.global_step == 0:
            self.score(trainer, pl_module)

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        if self.cadence.due(trainer, module.tokens_per_step) or is_last_step(trainer):
            with module.stopwatch.paused():
                self.score(trainer, module)

    def score(self, trainer: pl.Trainer, module: Any) -> None:
        values: dict[str, float] = {}
        for name, core in self.cores.items():
            mine_alone = self._of_core(trainer, module, name, core) if trainer.is_global_zero else {}
            values |= trainer.strategy.broadcast(mine_alone)
        for name, task in self.tasks.items():
            mine = range(trainer.global_rank, min(self.n_items, len(task)), trainer.world_size)
            items = self._items(trainer, module, name, mine) if mine else []
            for metric, of_items in values_of(_all_items(trainer, items), self.asking.ks).items():
                values[f"task/{name}/{metric}"] = sum(of_items) / len(of_items)
        metrics = find_callback(trainer, Metrics)
        if metrics is not None:
            metrics.write(trainer, module, values)

    def _of_core(self, trainer: pl.Trainer, module: Any, name: str, core: Core) -> dict[str, float]:
        """The mean, and the accuracy of each of its tasks."""
        tokenizer, n = trainer.datamodule.tokenizer, core.config.max_per_task or self.n_items  # type: ignore[attr-defined]
        found = evaluate_core(module.network, tokenizer, core.bundle, batch_size=self.asking.batch_size, max_per_task=n)
        told = {f"task/{score.task}/{score.metric}": score.value for score in found.scores}
        return told if found.mean.value is None else {f"task/{name}/mean": found.mean.value} | told

    def _items(self, trainer: pl.Trainer, module: Any, name: str, mine: range) -> list[Item]:
        tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
        return score_task(module.network, tokenizer, name, self.tasks[name], self.asking, indices=mine).items


def _all_items(trainer: pl.Trainer, mine: list[Item]) -> list[Item]:
    """Those of every process, on every process."""
    every = range(trainer.world_size)
    return [item for rank in every for item in trainer.strategy.broadcast(mine, src=rank)]
