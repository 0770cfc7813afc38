"""The rows of a data set, from the hub or from local files, in nanochat's order. No meaning is given to them here."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanolit.tasks.task import SHUFFLE_SEED

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet")


class Rows(NamedTuple):
    rows: Sequence[dict[str, Any]]
    files: tuple[str, ...]  # they were read from; none of the hub's
    order: np.ndarray | None  # None: as they are

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> dict[str, Any]:
        return self.rows[index if self.order is None else int(self.order[index])]

    def place(self, index: int) -> str:
        """Where row `index` stands, for messages to the user."""
        number = index if self.order is None else int(self.order[index])
        return f"{self.files[0] if self.files else 'the hub'}, row {number + 1}"


def read_rows(
    path: str | None, dataset: str, subset: str | None, split: str, revision: str | None = None, shuffled: bool = True
) -> Rows:
    """`path`: a file, or a folder with a file for each split; None: `dataset` of the hub. Shuffled as nanochat does, so
    that slices are the same rows whichever way they come.
    """
    if path is None:
        found: Any = _from_hub(dataset, subset, split, revision)
        return Rows(found.shuffle(seed=SHUFFLE_SEED) if shuffled else found, (), None)
    file = _file(Path(path), split)
    rows = list(_read(file))
    if not rows:
        raise ValueError(f"path: {file} has no rows; give another file")
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(rows)) if shuffled else None  # as `datasets` does it
    return Rows(rows, (str(file),), order)


def _from_hub(dataset: str, subset: str | None, split: str, revision: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(dataset, subset, split=split, revision=revision)
    except Exception as error:  # whatever the hub, the network or the cache say
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"path: not given, and {dataset} did not come from the hub ({told}); give path= a file or folder with "
            "its rows"
        ) from error


def _file(path: Path, split: str) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"path: there is no {path}; give a file or a folder with the rows ({', '.join(ENDINGS)})")
    names = (split, "validation") if split == "val" else (split,)
    files = sorted(f for f in path.iterdir() if f.name.endswith(ENDINGS) and any(f.name.startswith(n) for n in names))
    if len(files) != 1:
        told = ", ".join(f.name for f in files) or "none"
        raise ValueError(f"path: {path} has {told} for the split {split}, allowed: one file, as {split}.jsonl; name it")
    return files[0]


def _read(file: Path) -> Iterator[dict[str, Any]]:
    if file.name.endswith(".parquet"):
        import pyarrow.parquet

        yield from pyarrow.parquet.read_table(file).to_pylist()
        return
    opened = gzip.open if file.name.endswith(".gz") else open
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            if file.name.endswith(".json"):
                yield from json.load(lines)
                return
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parsed(line, f"{file}:{number}")
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"path: {file} cannot be read ({error}); get it anew") from error


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"path: {where}: is no JSON ({error.msg}); mend or remove the line") from error


def field(row: Any, key: str, where: str) -> Any:
    """A value that must be there."""
    if not isinstance(row, dict) or row.get(key) is None:
        known = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{where}: has no {key} (it has {known}); is this the right data set?")
    return row[key]
