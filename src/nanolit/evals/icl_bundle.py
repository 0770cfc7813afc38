"""A bundle of tasks for base models, as CORE's comes (DCLM, arXiv 2406.11794; nanochat's eval_bundle): core.yaml says
which tasks, eval_meta_data.csv what who guesses gets, eval_data/ holds their items. Read and checked here; no prompts,
no tokens, no model.

Three kinds of task become one: an item is some contexts and some continuations, of which one pair is right.

    multiple_choice     one context, several continuations: which one?
    schema              several contexts, one continuation: after which one?
    language_modeling   one of each: would it be written?
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nanolit.runtime.suggest import suggest

Kind = Literal["multiple_choice", "schema", "language_modeling"]
# The 22 tasks of CORE: shots, and what who guesses gets in percent. Anything else is another score.
CORE_TASKS: Mapping[str, tuple[int, float]] = {
    "hellaswag_zeroshot": (0, 25), "jeopardy": (10, 0), "bigbench_qa_wikidata": (10, 0), "arc_easy": (10, 25),
    "arc_challenge": (10, 25), "copa": (0, 50), "commonsense_qa": (10, 20), "piqa": (10, 50), "openbook_qa": (0, 25),
    "lambada_openai": (0, 0), "hellaswag": (10, 25), "winograd": (0, 50), "winogrande": (0, 50),
    "bigbench_dyck_languages": (10, 0), "agi_eval_lsat_ar": (3, 20), "bigbench_cs_algorithms": (10, 0),
    "bigbench_operators": (10, 0), "bigbench_repeat_copy_logic": (10, 0), "squad": (10, 0), "coqa": (0, 0),
    "boolq": (10, 62), "bigbench_language_identification": (10, 9.1),
}  # fmt: skip


@dataclass(frozen=True)
class IclItem:
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: int  # which context or continuation is right: of several there are only one or the other

    @property
    def candidates(self) -> list[tuple[str, str]]:
        return [(context, continuation) for context in self.contexts for continuation in self.continuations]


@dataclass(frozen=True)
class IclTask:
    label: str
    kind: Kind
    shots: int
    delimiter: str  # between a context and its continuation
    by_chance: float  # share of right answers of who guesses
    items: tuple[IclItem, ...]
    file: Path


@dataclass(frozen=True)
class Bundle:
    name: str  # core, or what core.yaml says
    tasks: tuple[IclTask, ...]
    n_tasks: int  # that there are, of which `tasks` may be a part
    files: tuple[Path, ...]  # all that was read

    @property
    def is_core(self) -> bool:
        """All tasks of CORE, as they are there."""
        return {task.label: (task.shots, round(100 * task.by_chance, 6)) for task in self.tasks} == dict(CORE_TASKS)


def open_bundle(folder: Path, labels: Sequence[str] | None = None) -> Bundle:
    """`labels`: some of its tasks only."""
    listed, meta = folder / "core.yaml", folder / "eval_meta_data.csv"
    for path in (listed, meta):
        if not path.is_file():
            raise ValueError(
                f"path: there is no {path}; give the folder with core.yaml, eval_meta_data.csv and eval_data/"
            )
    name, sections = _read_list(listed)
    for label in labels or ():
        if label not in sections:
            raise ValueError(f"tasks: {listed} has no {label}; {suggest(label, sections)}")
    chosen = {label: section for label, section in sections.items() if labels is None or label in labels}
    tasks = tuple(_read_task(folder, label, section, _read_chance(meta, label)) for label, section in chosen.items())
    n_tasks = len(CORE_TASKS) if name == "core" else len(sections)
    return Bundle(name, tasks, n_tasks, (listed, meta, *(task.file for task in tasks)))


def _read_list(path: Path) -> tuple[str, dict[str, Mapping[str, Any]]]:
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"path: {path} is no YAML ({' '.join(str(error).split())}); copy it again") from error
    sections = told.get("icl_tasks") if isinstance(told, Mapping) else None
    if not isinstance(sections, list) or not sections:
        raise ValueError(f"path: {path} has no list icl_tasks; give a bundle in the layout of nanochat's eval_bundle")
    found: dict[str, Mapping[str, Any]] = {}
    for number, section in enumerate(sections, start=1):
        label = section.get("label") if isinstance(section, Mapping) else None
        if not isinstance(label, str) or label in found:
            raise ValueError(f"path: {path}: task {number} has the label {label!r}, allowed: a text that no other has")
        found[label] = section
    return str(told.get("name", "core")), found


def _read_chance(path: Path, label: str) -> float:
    """The column counts in percent."""
    with path.open(encoding="utf-8", newline="") as opened:
        told = next((row.get("Random baseline") for row in csv.DictReader(opened) if row.get("Eval Task") == label), "")
    try:
        percent = float(told or "")
    except ValueError:
        percent = math.nan
    if not 0 <= percent < 100:
        raise ValueError(f"path: {path} gives {label} the random baseline {told!r}, allowed: 0 to below 100; mend it")
    return percent / 100


def _read_task(folder: Path, label: str, section: Mapping[str, Any], by_chance: float) -> IclTask:
    listed = folder / "core.yaml"
    kind: Any = section.get("icl_task_type")
    shots, uri = section.get("num_fewshot"), section.get("dataset_uri")
    delimiter = section.get("continuation_delimiter", " ")
    if kind not in get_args(Kind):
        raise ValueError(f"path: {listed}: {label} has icl_task_type {kind!r}, allowed: {', '.join(get_args(Kind))}")
    if not (isinstance(shots, list) and shots and isinstance(shots[0], int) and shots[0] >= 0):
        raise ValueError(f"path: {listed}: {label} has num_fewshot {shots!r}, allowed: a list with one number, as [10]")
    if not isinstance(uri, str) or not isinstance(delimiter, str):
        raise ValueError(f"path: {listed}: {label} needs dataset_uri, a path below eval_data/; its delimiter is a text")
    file = folder / "eval_data" / uri
    if not file.is_file():
        raise ValueError(f"path: {listed}: {label} is in {file}, which is not there; copy it, or leave it out (tasks=)")
    items = tuple(_read_items(file, _READERS[kind]))
    if len(items) <= shots[0]:
        raise ValueError(
            f"path: {file} has {len(items)} items, too few for {shots[0]} shots before another; copy it again"
        )
    return IclTask(label, kind, shots[0], delimiter, by_chance, items, file)


def _read_items(path: Path, read: Callable[[Mapping[str, Any]], IclItem]) -> Iterator[IclItem]:
    with path.open("rb") as opened:
        for number, line in enumerate(opened, start=1):
            try:
                told = json.loads(line)
                if not isinstance(told, dict):
                    raise ValueError(f"got {type(told).__name__}, allowed: a JSON object in each line")
                yield read(told)
            except ValueError as error:  # JSON's and Unicode's are among them
                raise ValueError(f"path: {path}:{number}: {error}; mend the line or copy the file again") from error


def _multiple_choice(told: Mapping[str, Any]) -> IclItem:
    choices = _texts(told, "choices")
    return IclItem((_text(told, "query"),), choices, _gold(told, len(choices)))


def _schema(told: Mapping[str, Any]) -> IclItem:
    contexts = _texts(told, "context_options")
    return IclItem(contexts, (_text(told, "continuation"),), _gold(told, len(contexts)))


def _language_modeling(told: Mapping[str, Any]) -> IclItem:
    # Without the space at the end of a context the delimiter and the continuation are tokens of their own.
    return IclItem((_text(told, "context").strip(),), (_text(told, "continuation"),), 0)


_READERS: dict[str, Callable[[Mapping[str, Any]], IclItem]] = {
    "multiple_choice": _multiple_choice,
    "schema": _schema,
    "language_modeling": _language_modeling,
}


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key)
    if not isinstance(value, str) or (key == "continuation" and not value.strip()):
        raise ValueError(f"{key}: {'missing' if key not in told else f'got {value!r}'}, allowed: a text")
    return value


def _texts(told: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = told.get(key)
    if not isinstance(values, list) or len(values) < 2 or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key}: {'missing' if key not in told else f'got {values!r}'}, allowed: two texts or more")
    return tuple(values)


def _gold(told: Mapping[str, Any], n: int) -> int:
    gold = told.get("gold")
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < n:
        raise ValueError(f"gold: {'missing' if gold is None else f'got {gold!r}'}, allowed: 0 to {n - 1}")
    return gold
