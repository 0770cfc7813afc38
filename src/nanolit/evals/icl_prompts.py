"""From the items of a bundle to ids: which items, which shots before them, the text, and from which token on it is
judged. nanochat's rules, to the number; no model.

An item's candidates are whole texts: shots, an empty line after each, context, delimiter, continuation. Judged are, of
several continuations the tokens in which they differ, of several contexts the tokens that end all of them, of a single
one the tokens beyond those of the text without it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nanolit.evals.icl_bundle import IclItem, IclTask
from nanolit.tokenizers.protocol import Tokenizer

SHUFFLE_SEED, SHOTS_SEED = 1337, 1234  # nanochat's


@dataclass(frozen=True)
class Candidate:
    """One text of an item, as the model reads it."""

    ids: np.ndarray  # (T,)
    start: int  # the first token to be judged, >= 1; all from there on are
    is_cropped: bool = False  # it has lost its beginning


def chosen_items(task: IclTask, max_per_task: int | None) -> tuple[list[IclItem], list[IclItem]]:
    """The items to be asked, and those that shots are drawn from, which begin with the same. nanochat draws from what
    is asked; where that is too little for the shots, as many more follow as are needed.
    """
    items = list(task.items)
    random.Random(SHUFFLE_SEED).shuffle(items)
    asked = items[:max_per_task]
    return asked, asked if len(asked) > task.shots else items[: task.shots + 1]


def shots_before(task: IclTask, pool: Sequence[IclItem], index: int) -> list[IclItem]:
    """Other items than `pool[index]`, drawn by its number."""
    if task.shots == 0:
        return []
    others = [i for i in range(len(pool)) if i != index]
    return [pool[i] for i in random.Random(SHOTS_SEED + index).sample(others, task.shots)]


def texts_of(task: IclTask, item: IclItem, shots: Sequence[IclItem]) -> list[str]:
    """Of each candidate; of a single one also, and first, the text without its continuation."""
    before = "".join(f"{_right(shot, task.delimiter)}\n\n" for shot in shots)
    whole = [f"{before}{context}{task.delimiter}{continuation}" for context, continuation in item.candidates]
    if task.kind != "language_modeling":
        return whole
    # A space at its end would be a token of its own here, and part of the next one in the whole text.
    return [f"{before}{item.contexts[0]}{task.delimiter}".strip(), *whole]


def _right(item: IclItem, delimiter: str) -> str:
    n = len(item.continuations)
    context, continuation = item.candidates[item.gold if max(n, len(item.contexts)) > 1 else 0]
    return f"{context}{delimiter}{continuation}"


def begin_id(tokenizer: Tokenizer) -> int | None:
    """What stands before every text: the tokenizer's own beginning; else the end of the text before, as nanochat takes
    it for GPT-2; else nothing.
    """
    return tokenizer.eot_id if tokenizer.bos_id is None else tokenizer.bos_id


def candidates(task: IclTask, texts: Sequence[Sequence[str]], tokenizer: Tokenizer, room: int) -> list[list[Candidate]]:
    """Of each item, from its `texts_of`; `room`: how many tokens the model reads."""
    encoded = iter(tokenizer.encode_batch([text for of_item in texts for text in of_item]))
    begin = begin_id(tokenizer)
    first = np.array([] if begin is None else [begin], dtype=np.int64)
    found = []
    for of_item in texts:
        ids = [np.concatenate((first, next(encoded))) for _ in of_item]
        starts = _starts(task, ids)
        if task.kind == "language_modeling":
            ids = ids[1:]
        found.append([_cropped(row, max(start, 1), room) for row, start in zip(ids, starts, strict=True)])
    return found


def _starts(task: IclTask, ids: Sequence[np.ndarray]) -> list[int]:
    """At least one token of each is judged: nanochat takes the mean of none, which is no number, for a choice that
    is the beginning of all others.
    """
    if task.kind == "schema":
        n_last = n_equal([row[::-1] for row in ids])
        return [min(len(row) - n_last, len(row) - 1) for row in ids]
    start = min(n_equal(ids), min(map(len, ids)) - 1) if task.kind == "multiple_choice" else n_equal(ids)
    if task.kind == "multiple_choice":
        return [start] * len(ids)
    return [min(start, len(ids[1]) - 1)]


def n_equal(rows: Sequence[np.ndarray]) -> int:
    """How many elements all begin with."""
    n = min(map(len, rows))
    same = np.logical_and.reduce([row[:n] == rows[0][:n] for row in rows])
    return n if same.all() else int(same.argmin())


def _cropped(ids: np.ndarray, start: int, room: int) -> Candidate:
    """A text that is too long loses its beginning, the first token too, as nanochat's; one whose continuation alone is
    too long is judged by its end.
    """
    n_lost = len(ids) - room
    return Candidate(ids[n_lost:], max(start - n_lost, 1), True) if n_lost > 0 else Candidate(ids, start)
