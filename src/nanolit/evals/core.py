"""CORE (arXiv 2406.11794, as nanochat computes it): what a base model knows, asked by texts to complete. The items of a
bundle, each judged by the losses of its candidates; a task's accuracy; their mean, centred so that guessing is 0.

With other tasks than its 22, or a part of their items, the mean is called what it is.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from nanolit.evals.chat_core import Mean
from nanolit.evals.continuations import Judged, judge
from nanolit.evals.icl_bundle import Bundle, IclItem, IclTask
from nanolit.evals.icl_prompts import Candidate, begin_id, candidates, chosen_items, shots_before, texts_of
from nanolit.evals.score import Score, mean_and_error, prompt_hash
from nanolit.models.network import Network
from nanolit.tokenizers.protocol import Tokenizer

CHUNK_ITEMS = 512  # whose prompts are held in memory at once
OnProgress = Callable[[str, int, int], None]  # label of a task, how much is done, and of how much


@dataclass(frozen=True)
class CoreItem:
    index: int  # in the task's items as they are shuffled
    asked: IclItem
    losses: tuple[float, ...]  # mean nats per token of each candidate
    picked: int | None  # the candidate of the least loss; None: there is only one
    is_right: bool
    is_cropped: bool


@dataclass(frozen=True)
class CoreTask:
    label: str
    score: Score
    items: list[CoreItem]

    @property
    def n_cropped(self) -> int:
        return sum(item.is_cropped for item in self.items)


@dataclass(frozen=True)
class CoreResult:
    tasks: list[CoreTask]
    mean: Mean
    standard_error: float  # of the mean, from the items

    @property
    def scores(self) -> list[Score]:
        return [task.score for task in self.tasks]

    @property
    def n_cropped(self) -> int:
        return sum(task.n_cropped for task in self.tasks)


def evaluate_core(
    network: Network,
    tokenizer: Tokenizer,
    bundle: Bundle,
    *,
    batch_size: int = 8,
    max_per_task: int | None = None,
    on_progress: OnProgress = lambda label, n_done, n_all: None,
) -> CoreResult:
    """`batch_size`: memory for so many texts of the model's full length. No score depends on it."""
    was_training = network.training
    network.eval()
    try:
        asking = _Asking(network, tokenizer, bundle.name, batch_size, max_per_task, on_progress)
        tasks = [asking.ask(task) for task in bundle.tasks]
    finally:
        network.train(was_training)
    error = _error_of_mean([task.score for task in tasks])
    return CoreResult(tasks, mean_of(bundle, tasks, error, max_per_task), error)


def mean_of(bundle: Bundle, tasks: list[CoreTask], error: float, max_per_task: int | None) -> Mean:
    value = math.fsum(task.score.centred for task in tasks) / len(tasks)
    is_whole = max_per_task is None and len(tasks) == bundle.n_tasks
    title = "CORE" if bundle.name == "core" else bundle.name
    told = f"mean of the tasks' centred accuracy, standard error {error:.4f}"
    if not is_whole:
        title = f"{title} of {len(tasks)} of {bundle.n_tasks} tasks"
    elif bundle.name == "core" and not bundle.is_core:
        title = "like CORE"
        told += ", other tasks, shots or baselines than CORE's"
    if max_per_task is not None:
        told += f", at most {max_per_task} items each"
    return Mean(title, value, told)


def _error_of_mean(scores: list[Score]) -> float:
    return math.sqrt(math.fsum((s.standard_error / (1 - s.by_chance)) ** 2 for s in scores)) / len(scores)


@dataclass
class _Asking:
    network: Network
    tokenizer: Tokenizer
    name: str
    batch_size: int
    max_per_task: int | None
    on_progress: OnProgress

    def ask(self, task: IclTask) -> CoreTask:
        asked, pool = chosen_items(task, self.max_per_task)
        texts, items = [], list[CoreItem]()
        for start in range(0, len(asked), CHUNK_ITEMS):
            numbers = range(start, min(start + CHUNK_ITEMS, len(asked)))
            of_chunk = [texts_of(task, pool[i], shots_before(task, pool, i)) for i in numbers]
            texts += [text for of_item in of_chunk for text in of_item]
            read = candidates(task, of_chunk, self.tokenizer, self.network.config.block_size)
            items += self._judge(task, asked, start, read)
        value, error = mean_and_error([float(item.is_right) for item in items])
        label = f"{self.name}/{task.label}"
        about = (task.by_chance, task.shots, prompt_hash(texts), self._template(task), EXTRACTORS[task.kind])
        return CoreTask(task.label, Score(label, "accuracy", value, len(items), error, *about), items)

    def _judge(self, task: IclTask, asked: list[IclItem], start: int, read: list[list[Candidate]]) -> list[CoreItem]:
        rows = [candidate for of_item in read for candidate in of_item]
        ends = [0]
        for of_item in read:
            ends.append(ends[-1] + len(of_item))

        def progress(n_done: int) -> None:
            self.on_progress(task.label, start + n_done * len(read) // len(rows), len(asked))

        judged = judge(self.network, [(row.ids, row.start) for row in rows], self.batch_size, progress)
        if any(math.isnan(of_row.loss) for of_row in judged):
            raise ValueError(
                f"model: its losses on {self.name}/{task.label} are no numbers (NaN); get its weights anew"
            )
        return [
            _item(i, asked[i], judged[a:b], any(row.is_cropped for row in rows[a:b]))
            for i, a, b in zip(range(start, start + len(read)), ends, ends[1:], strict=False)
        ]

    def _template(self, task: IclTask) -> str:
        begin = begin_id(self.tokenizer)
        before = "no token" if begin is None else self.tokenizer.decode([begin])
        return f"completion: {task.kind}, delimiter {task.delimiter!r}, after {before}"


EXTRACTORS = {
    "multiple_choice": "continuation of the least mean loss",
    "schema": "context of the least mean loss of what follows",
    "language_modeling": "every token of the continuation the likeliest",
}


def _item(index: int, item: IclItem, judged: list[Judged], is_cropped: bool) -> CoreItem:
    losses = tuple(of_row.loss for of_row in judged)
    if len(losses) == 1:
        return CoreItem(index, item, losses, None, judged[0].is_greedy, is_cropped)
    picked = losses.index(min(losses))  # of equal ones the first, as nanochat
    return CoreItem(index, item, losses, picked, picked == item.gold, is_cropped)


def as_json(result: CoreResult) -> list[dict[str, Any]]:
    """Every item, for a file of JSON lines."""
    return [
        {"task": task.score.task, "index": item.index, **asdict(item.asked), "losses": item.losses}
        | {"picked": item.picked, "is_right": item.is_right, "is_cropped": item.is_cropped}
        for task in result.tasks
        for item in task.items
    ]
