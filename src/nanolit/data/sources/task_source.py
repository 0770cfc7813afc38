"""Conversations of tasks, mixed: what midtraining and fine-tuning learn from. The tasks themselves are in tasks/."""

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from nanolit import tasks as tasks_room
from nanolit import village as village_room
from nanolit.data.config import DataConfig, Split
from nanolit.data.sources import conversations
from nanolit.data.sources.file_source import rendering
from nanolit.data.sources.plan import Encoded, Item, Job, Plan, Source
from nanolit.runtime.files import sha256_file
from nanolit.tasks.build import make_mixture
from nanolit.tasks.task import Task, TaskSequence, TaskSlice
from nanolit.tokenizers.messages import check
from nanolit.tokenizers.protocol import Tokenizer

CONVERSATIONS_IN_JOB = 4096
BYTES_OF_CONVERSATION = 300  # roughly: for progress


class _Part(NamedTuple):
    split: Split
    start: int
    stop: int


@dataclass(frozen=True)
class TaskPlan(Plan):
    config: DataConfig

    def items(self, job: Job) -> Iterator[Item]:
        for part in job.parts:
            mixture = _mixture(_sections(self.config, part.split), self.config.order_of_tasks)
            for number in range(part.start, part.stop):
                example = conversations.Example(tuple(_checked(mixture, number)))
                yield Item(part.split, example, conversations.key(example))

    def encode(self, tokenizer: Tokenizer, contents: list[Any]) -> list[Encoded]:
        return [conversations.encoded(example, tokenizer, self.config) for example in contents]

    def n_bytes(self, content: Any) -> int:
        return conversations.n_bytes(content)

    def text(self, content: Any) -> str:
        return "\n\n".join(conversations.texts(content))


def identity(config: DataConfig, mixtures: Sequence[TaskSequence]) -> dict[str, Any]:
    files = {file for mixture in mixtures for file in mixture.files}
    return {
        "kind": "tasks",
        "tasks": config.tasks,
        "val_tasks": config.val_tasks,
        "order_of_tasks": config.order_of_tasks,
        "files": sorted([Path(file).name, sha256_file(Path(file))] for file in files),
        "code": _code_hash(mixtures),
        **rendering(config),
    }


def task_source(config: DataConfig) -> Source:
    if not config.val_tasks:
        raise ValueError("data.val_tasks: not given; name at least one task of conf/task, as data=village_sft does")
    splits: tuple[Split, ...] = ("train", "val")
    mixtures = {split: _mixture(_sections(config, split), config.order_of_tasks) for split in splits}

    def plan(job_bytes: int | None) -> Plan:
        step = CONVERSATIONS_IN_JOB if job_bytes is None else max(job_bytes // BYTES_OF_CONVERSATION, 1)
        parts = [
            _Part(split, start, min(start + step, len(mixture)))
            for split, mixture in mixtures.items()
            for start in range(0, len(mixture), step)
        ]
        jobs = [Job(i, (p.stop - p.start) * BYTES_OF_CONVERSATION, (p,), p.split) for i, p in enumerate(parts)]
        return TaskPlan(jobs, config)

    return Source(identity(config, list(mixtures.values())), plan)


def _sections(config: DataConfig, split: Split) -> str:
    return json.dumps(config.tasks if split == "train" else config.val_tasks, sort_keys=False)


@lru_cache(maxsize=4)
def _mixture(sections: str, order: str) -> TaskSequence:
    """Made once in each process: a task may read a large file."""
    return make_mixture(json.loads(sections), order)


def _checked(mixture: TaskSequence, number: int) -> list[Any]:
    try:
        return check(mixture[number].messages)
    except ValueError as error:
        raise ValueError(f"data.tasks: {mixture.name_of(number)}: {error}") from error


def _code_hash(mixtures: Iterable[TaskSequence]) -> str:
    """What a task writes changes with its code, and with the village's."""
    rooms = [path for room in (tasks_room, village_room) for path in _files_of(room)]
    own = {inspect.getsourcefile(type(_inner(task))) for mixture in mixtures for task in mixture.tasks}
    digest = hashlib.sha256()
    for path in sorted({*rooms, *(Path(file) for file in own if file)}):
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _files_of(room: ModuleType) -> list[Path]:
    return [path for folder in room.__path__ for path in Path(folder).glob("*.py")]


def _inner(task: Task) -> Task:
    return _inner(task.task) if isinstance(task, TaskSlice) else task
