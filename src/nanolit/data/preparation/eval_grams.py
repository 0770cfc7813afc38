"""How much of evaluation sets stands in a corpus: a report, not a filter.

A word is a run of letters and digits, in lower case. Each passage of an item (each text in a row, never two joined) is
looked for by its runs of `n` words; one that has fewer words, but at least MIN_WORDS, as a whole. An item is hit if one
of its runs stands anywhere in a document. Runs that more than MAX_SHARED items have (a template's words) tell nothing
about any of them and are not looked for. Where nothing parts the words (Chinese, Japanese) next to nothing is found.

Words and runs are hashed to 64 bits with numpy, whole batches of documents at once.
"""

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nanolit.runtime.files import sha256_file

MIN_WORDS = 8  # as in GPT-3 (Brown et al. 2020, appendix C), with 13 as the usual n
MAX_SHARED = 10
BATCH_CHARS = 1 << 17  # what is hashed at once; fewer cost more calls, more are no faster (60 MB/s on one core)
LONGEST_WORD = 4096  # characters; without an end of a word for longer, a text is cut anywhere
FORMATS = (".jsonl", ".jsonl.gz", ".txt")
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
COMBINE = np.uint64(0xD6E8FEB86659FD93)
_BETWEEN = re.compile(r"[\W_]")
_WORD = re.compile(r"[^\W_]+")

# Item -> in how many documents it was found, and where first.
Found = dict[int, tuple[int, str]]


@dataclass(frozen=True)
class _Runs:
    """The hashes of all runs of one length, and whose they are."""

    hashes: np.ndarray  # sorted uint64, one for each item that has the run
    items: np.ndarray  # of the same length
    possible: np.ndarray  # by the first bits of a hash, whether there may be one: most words of a corpus end here
    shift: np.uint64

    @classmethod
    def of(cls, hashes: np.ndarray, items: np.ndarray) -> "_Runs":
        order = np.argsort(hashes, kind="stable")
        hashes, items = hashes[order], items[order]
        _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        telling = counts[which] <= MAX_SHARED
        hashes, items = hashes[telling], items[telling]
        n_bits = min(max(12, len(hashes).bit_length() + 4), 26)
        shift = np.uint64(64 - n_bits)
        possible = np.zeros(1 << n_bits, bool)
        possible[hashes >> shift] = True
        return cls(hashes, items, possible, shift)

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of (place in `hashes`, item)."""
        places = np.flatnonzero(self.possible.take(hashes >> self.shift))
        begins = np.searchsorted(self.hashes, hashes[places])
        known = self.hashes.take(begins, mode="clip") == hashes[places]
        places, begins = places[known], begins[known]
        counts = np.searchsorted(self.hashes, hashes[places], "right") - begins
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(places, counts), self.items[np.repeat(begins, counts) + within]


@dataclass(frozen=True)
class EvalGrams:
    """What to look for. Small enough to be sent to every worker; holds no more text than the report shows."""

    n: int
    files: list[dict[str, Any]]  # name, sha256, items, searched
    first_items: list[int]  # of each file, and the number of all
    excerpts: list[str]  # of each item
    runs: dict[int, _Runs]  # by length in words

    @classmethod
    def read(cls, paths: Sequence[Path], n: int = 13) -> "EvalGrams":
        """Reads evaluation files: rows of .jsonl (.gz too), or the paragraphs of .txt (its lines, if none is blank)."""
        if n < MIN_WORDS:
            raise ValueError(f"contamination: got runs of {n} words; at least {MIN_WORDS} are needed, 13 is usual")
        files: list[dict[str, Any]] = []
        first_items, excerpts = [0], list[str]()
        hashes: dict[int, list[np.ndarray]] = {}
        items: dict[int, list[np.ndarray]] = {}
        for path in paths:
            for passages in _items(path):
                for length, found in _item_runs(passages, n):
                    hashes.setdefault(length, []).append(found)
                    items.setdefault(length, []).append(np.full(len(found), len(excerpts), np.int32))
                excerpts.append(" ".join(" ".join(passages).split())[:120])
            first_items.append(len(excerpts))
            if first_items[-1] == first_items[-2]:
                raise ValueError(f"{path}: has no items; leave it out, or give one of {' '.join(FORMATS)} with text")
            files.append({"file": path.name, "sha256": sha256_file(path)})
        made = {k: _Runs.of(np.concatenate(hashes[k]), np.concatenate(items[k])) for k in sorted(hashes)}
        runs = {length: one for length, one in made.items() if len(one.hashes)}
        searched = np.unique(np.concatenate([one.items for one in runs.values()])) if runs else np.empty(0, int)
        n_searched = np.diff(np.searchsorted(searched, first_items))
        for number, file in enumerate(files):
            n_items = first_items[number + 1] - first_items[number]
            file.update(items=n_items, searched=int(n_searched[number]))
        return cls(n, files, first_items, excerpts, runs)

    def hits(self, texts: Sequence[str]) -> list[set[int]]:
        """The items that have a run in each of the texts; much faster for many short texts at once than one by one."""
        found: list[set[int]] = [set() for _ in texts]
        for pieces, owners in _batches(texts, self.n):
            words, piece_of = _words(pieces)
            for length, run in _rolling(words, list(self.runs)):
                places, items = self.runs[length].find(run)
                whole = piece_of[places] == piece_of[places + length - 1]  # not across the border of two texts
                for piece, item in zip(piece_of[places[whole]], items[whole], strict=True):
                    found[owners[piece]].add(int(item))
        return found

    def tail(self, text: str) -> str:
        """The end of a part of a document to put before its next part, so that no run is lost between them."""
        return text[_tail_start(text, len(text), self.n) :]


def note(found: Found, items: Iterable[int], where: str) -> None:
    """Adds what one document hit."""
    for item in items:
        count, first = found.get(item, (0, where))
        found[item] = count + 1, first


def merged(results: Iterable[Found]) -> Found:
    """What several jobs found, given in their order; joining some of them before the others gives the same."""
    total: Found = {}
    for result in results:
        for item, (count, where) in result.items():
            known, first = total.get(item, (0, where))
            total[item] = known + count, first
    return total


def report(grams: EvalGrams, found: Found, n_documents: int, n_examples: int = 20) -> dict[str, Any]:
    """Plain JSON: for each evaluation file how many of the items looked for are hit, and the first few of them."""
    files = []
    for number, file in enumerate(grams.files):
        first, end = grams.first_items[number : number + 2]
        hit = sorted(item for item in found if first <= item < end)
        examples = [
            {"item": item - first, "text": grams.excerpts[item], "documents": found[item][0], "first": found[item][1]}
            for item in hit[:n_examples]
        ]
        share = len(hit) / file["searched"] if file["searched"] else 0.0
        files.append({**file, "hit": len(hit), "share": share, "examples": examples})
    rule = {"n": grams.n, "min_words": MIN_WORDS, "max_shared": MAX_SHARED}
    return {**rule, "documents": n_documents, "files": files}


# --- evaluation files ------------------------------------------------------------------------------------------------


def _items(path: Path) -> Iterator[list[str]]:
    """The passages of each item."""
    if not path.name.endswith(FORMATS):
        raise ValueError(f"{path}: no known kind of evaluation file; give one of {' '.join(FORMATS)}")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            if path.suffix != ".txt":
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield list(_strings(_row(path, number, line)))
                return
            text = file.read()
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as text ({error}); get the file again") from error
    paragraphs = re.split(r"\n\s*\n", text.strip())
    yield from ([one] for one in (paragraphs if len(paragraphs) > 1 else text.splitlines()) if one.strip())


def _row(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}:{number}: not JSON ({error}); mend or remove the line") from error


def _strings(value: Any) -> Iterator[str]:
    """All texts in a row, however deep (choices, messages); names of fields are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _item_runs(passages: list[str], n: int) -> Iterator[tuple[int, np.ndarray]]:
    """Lengths and distinct hashes of the runs of one item."""
    by_length: dict[int, list[np.ndarray]] = {}
    for passage in passages:
        words, _ = _words([passage.lower()])
        if len(words) >= MIN_WORDS:
            length = min(n, len(words))
            by_length.setdefault(length, []).extend(run for _, run in _rolling(words, [length]))
    return ((length, np.unique(np.concatenate(runs))) for length, runs in by_length.items())


# --- hashing ---------------------------------------------------------------------------------------------------------


def _batches(texts: Sequence[str], n: int) -> Iterator[tuple[list[str], list[int]]]:
    """Texts in lower case and whose they are, so many that arrays over them stay small."""
    pieces: list[str] = []
    owners: list[int] = []
    n_chars = 0
    for owner, text in enumerate(texts):
        for piece in _pieces(text.lower(), n):
            if n_chars + len(piece) > BATCH_CHARS and pieces:
                yield pieces, owners
                pieces, owners, n_chars = [], [], 0
            pieces.append(piece)
            owners.append(owner)
            n_chars += len(piece)
    if pieces:
        yield pieces, owners


def _pieces(text: str, n: int) -> Iterator[str]:
    """A long text in pieces, cut between words, each beginning with the last n - 1 words of the one before."""
    start = 0
    while len(text) - start > BATCH_CHARS:
        limit = start + BATCH_CHARS - LONGEST_WORD
        between = _BETWEEN.search(text, limit, limit + LONGEST_WORD)
        end = between.start() if between else limit + LONGEST_WORD
        yield text[start:end]
        start = _tail_start(text, end, n)
    yield text[start:]


def _tail_start(text: str, end: int, n: int) -> int:
    """Where the last n - 1 words before `end` begin."""
    words = list(_WORD.finditer(text, max(0, end - 4 * LONGEST_WORD), end))[1 - n :]
    return words[0].start() if words else end


def _words(pieces: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A hash of every word of lower-case texts, and which piece it is in."""
    ends = np.cumsum([len(piece) + 1 for piece in pieces])
    codes = np.frombuffer(("\n".join(pieces) + "\n").encode("utf-32-le", "surrogatepass"), "<u4")
    inside = _alphanumeric().take(codes)
    borders = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    if inside[0]:
        borders = np.concatenate([[0], borders])
    begins, stops = borders[::2], borders[1::2]  # the last character is a line end, so every word has one
    powers, inverses = _powers(1 << (len(codes) - 1).bit_length())
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])  # all arithmetic is modulo 2**64
    # The polynomial of a word's characters, moved to where the text begins.
    hashes = _stirred((sums[stops] - sums[begins]) * inverses[begins])
    return hashes, np.searchsorted(ends, begins, "right")


def _rolling(words: np.ndarray, lengths: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """For each of the ascending lengths the hash of the run that begins at each word."""
    run = np.zeros(len(words), np.uint64)
    for k in range(1, min(max(lengths, default=0), len(words)) + 1):
        run = run[: len(words) - k + 1] * COMBINE
        run += words[k - 1 :]
        if k in lengths:
            yield k, run


def _stirred(hashes: np.ndarray) -> np.ndarray:
    """Spreads each bit over all of them."""
    for shift in (32, 29):
        hashes ^= hashes >> np.uint64(shift)
        hashes *= COMBINE
    return hashes ^ (hashes >> np.uint64(32))


@cache
def _alphanumeric() -> np.ndarray:
    """For each character of Unicode whether it is a letter or a digit."""
    return np.fromiter(map(str.isalnum, map(chr, range(0x110000))), bool, 0x110000)


@cache
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first powers of BASE and of its inverse."""
    bases = (BASE, pow(BASE, -1, 1 << 64))
    first, second = (np.cumprod(np.full(count, base, np.uint64)) for base in bases)
    one = np.ones(1, np.uint64)
    return np.concatenate([one, first[:-1]]), np.concatenate([one, second[:-1]])
