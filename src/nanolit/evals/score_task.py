"""A task, asked and judged: prompts, answers, verdicts, scores. How a model is opened and a result is told is for
cli/task_evaluation.py.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from nanolit.evals.asking import AskConfig
from nanolit.evals.categorical import letter_logprobs
from nanolit.evals.generative import Question, Written, write_answers
from nanolit.evals.pass_at_k import pass_at_k
from nanolit.evals.prompts import Prompts, cropped, make_prompts
from nanolit.evals.score import Score, mean_and_error, prompt_hash
from nanolit.inference.params import SamplingParams
from nanolit.inference.text import before_stop
from nanolit.models.network import Network
from nanolit.runtime.seeds import derive
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.protocol import Tokenizer

OnProgress = Callable[[int, int], None]  # how much is done, and of how much


@dataclass(frozen=True)
class Item:
    """What was said to an example, and all verdicts on each answer."""

    index: int  # in the task
    answers: tuple[str, ...]
    verdicts: tuple[dict[str, bool], ...]
    details: dict[str, Any]  # of a letter the probabilities, of a text how it ended


@dataclass(frozen=True)
class TaskResult:
    scores: list[Score]  # the first is the task's
    items: list[Item]
    n_cropped: int  # prompts that were too long, and lost their beginning
    n_cut_off: int  # answers that had not ended when there was no room for more


def score_task(
    network: Network,
    tokenizer: Tokenizer,
    name: str,
    task: Task,
    config: AskConfig,
    shots: Sequence[Example] = (),
    indices: Iterable[int] | None = None,
    on_progress: OnProgress = lambda n_done, n_all: None,
) -> TaskResult:
    """`indices`: which examples; None: all."""
    refuse_chat(name, task)
    asked = list(range(len(task)) if indices is None else indices)
    examples = [task[index] for index in asked]
    refuse_known(name, shots, examples)
    prompts = make_prompts(tokenizer, config.template, shots)
    asking = _Asking(network, tokenizer, name, task, config, prompts, on_progress)
    was_training = network.training
    network.eval()
    try:
        answers = asking.choose(examples) if task.kind == "categorical" else asking.write(examples, asked)
    finally:
        network.train(was_training)
    items = [
        Item(index, answer.texts, tuple(task.scores(example, text) for text in answer.texts), answer.details)
        for index, example, answer in zip(asked, examples, answers, strict=True)
    ]
    about: dict[str, Any] = {
        "by_chance": task.by_chance,
        "shots": len(shots),
        "prompt_hash": prompt_hash(prompts.text(example) for example in examples),
        "template": prompts.told,
        "extractor": task.extractor,
    }
    n_cut_off = sum(ended == "length" for answer in answers for ended in answer.details.get("ended", ()))
    ks = config.ks if task.kind == "generative" else (1,)
    scores = []
    for metric, values in values_of(items, ks).items():
        value, error = mean_and_error(values)
        scores.append(Score(name, metric, value, len(items), error, **about))
    return TaskResult(scores, items, asking.n_cropped, n_cut_off)


def values_of(items: Sequence[Item], ks: Sequence[int]) -> dict[str, list[float]]:
    """Of each item, by metric: each verdict at each k, the first verdict at the smallest k first."""
    found = {}
    for verdict in items[0].verdicts[0] if items else ():
        for k in ks:
            metric = metric_name(verdict, k, len(items[0].verdicts))
            found[metric] = [pass_at_k(len(i.verdicts), sum(v[verdict] for v in i.verdicts), k) for i in items]
    return found


def metric_name(verdict: str, k: int, n_samples: int) -> str:
    if n_samples == 1:
        return verdict
    return f"pass@{k}" if verdict == "accuracy" else f"{verdict} pass@{k}"


def choose_shots(name: str, task: Task, n: int, seed: int) -> list[Example]:
    """Of the train split; the same before every question, so that they are computed once."""
    if n > len(task):
        raise ValueError(f"shots: got {n}, the train split of task.{name} has {len(task)} examples; give that or fewer")
    return [task[index] for index in random.Random(derive(seed, "shots", name)).sample(range(len(task)), n)]


def refuse_chat(name: str, task: Task) -> None:
    if task.kind == "chat":
        raise ValueError(f"task.{name}: is only learnt from, its answers have no score; take a task that judges them")


def refuse_known(name: str, shots: Sequence[Example], examples: Sequence[Example]) -> None:
    known = {str(shot.messages[:-1]) for shot in shots}
    if any(str(example.messages[:-1]) in known for example in examples):
        raise ValueError(
            f"shots: a question of task.{name} would be asked with its answer before it, because the train split holds "
            f"it too; give task.{name}.path= a folder with both splits, or shots=0"
        )


class _Answer(NamedTuple):
    texts: tuple[str, ...]
    details: dict[str, Any]


@dataclass
class _Asking:
    network: Network
    tokenizer: Tokenizer
    name: str
    task: Task
    config: AskConfig
    prompts: Prompts
    on_progress: OnProgress
    n_cropped: int = 0

    def _ids(self, example: Example, longest: int, room: int) -> list[int]:
        """Longer prompts than `longest` are cut to `room`."""
        ids = self.prompts.ids(example)
        if len(ids) <= longest:
            return ids
        self.n_cropped += 1
        return cropped(ids, room)

    def choose(self, examples: Sequence[Example]) -> list[_Answer]:
        reads = self.network.config.block_size
        ids = [self._ids(example, reads, reads) for example in examples]
        letters = [self.prompts.letter_ids(example) for example in examples]
        told = partial(self._told, n_all=len(ids))
        found = letter_logprobs(self.network, ids, letters, self.config.batch_size, told)
        if any(math.isnan(logprob) for logprobs in found for logprob in logprobs):
            raise ValueError(
                f"model: its letters to task.{self.name} have no probabilities (NaN); get its weights anew"
            )
        pairs = [dict(zip(example.letters, p, strict=True)) for example, p in zip(examples, found, strict=True)]
        return [_Answer((max(pair, key=pair.__getitem__),), {"logprobs": pair}) for pair in pairs]

    def write(self, examples: Sequence[Example], asked: Sequence[int]) -> list[_Answer]:
        config, reads = self.config, self.network.config.block_size
        n_new = config.max_new_tokens or self.task.max_new_tokens
        stop = self.prompts.stop + self.task.stop
        params = SamplingParams(n_new, config.temperature, config.top_k, stop=stop)
        interject = self.prompts.interject(self.task)
        questions = []
        for index, example in zip(asked, examples, strict=True):
            ids = self._ids(example, reads - 1, reads - min(n_new, reads // 2))
            seeded = replace(params, seed=derive(config.seed, self.name, index) % 2**62)
            questions.append(Question(ids, seeded, self.prompts.stop_ids, interject, config.n_samples))
        told = partial(self._told, n_all=len(questions) * config.n_samples)
        written = write_answers(self.network, self.tokenizer, questions, config.batch_size, told)
        said = [tuple(map(self._said, answers)) for answers in written]
        return [
            _Answer(texts, {"ended": [answer.finish for answer in answers]})
            for texts, answers in zip(said, written, strict=True)
        ]

    def _said(self, answer: Written) -> str:
        return before_stop(self.prompts.said(answer.ids), self.task.stop)

    def _told(self, n_done: int, n_all: int) -> None:
        self.on_progress(n_done, n_all)
