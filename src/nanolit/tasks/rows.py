"""The rows of a data set, from the hub or from local files, in nanochat's order. No meaning is given to them here."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanolit.tasks.task import SHUFFLE_SEED

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet")


class Rows(NamedTuple):
    rows: Sequence[Any]
    files: tuple[str, ...]  # they were read from; none of the hub's
    order: np.ndarray | None  # None: as they are

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> Any:
        return self.rows[index if self.order is None else int(self.order[index])]

    def place(self, index: int) -> str:
        """Where row `index` stands, for messages to the user."""
        number = index if self.order is None else int(self.order[index])
        return f"{' + '.join(self.files) or 'the hub'}, row {number + 1}"


def read_rows(
    path: str | None, dataset: str, subset: str | None, split: str, revision: str | None = None, shuffled: bool = True
) -> Rows:
    """`path`: a file, or a folder with files for each split; None: `dataset` of the hub. Shuffled as nanochat does, so
    that slices are the same rows whichever way they come.
    """
    if path is None:
        found: Any = _from_hub(dataset, subset, split, revision)
        return Rows(found.shuffle(seed=SHUFFLE_SEED) if shuffled else found, (), None)
    files = _files(Path(path), subset, split)
    rows = [row for file in files for row in _read(file)]
    if not rows:
        raise ValueError(f"path: {files[0]} has no rows; give another file")
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(rows)) if shuffled else None  # as `datasets` does it
    return Rows(rows, tuple(str(file) for file in files), order)


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


def _files(path: Path, subset: str | None, split: str) -> list[Path]:
    """Of a folder: train.jsonl, or all parts of train as the hub keeps them, or else the one file with train in its
    name; in a folder of the subset's name, if there is one.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"path: there is no {path}; give a file or a folder with the rows ({', '.join(ENDINGS)})")
    found: list[Path] = []
    for folder in (path / (subset or "data"), path):
        files = sorted(f for f in folder.iterdir() if f.name.endswith(ENDINGS)) if folder.is_dir() else []
        exact = [f for f in files if _name_and_part(f)[0] == split]
        found = exact or [f for f in files if split in re.split(r"[^a-z0-9]+", f.name.lower())]
        if found:
            break
    parts = [_name_and_part(f)[1] for f in found]
    if parts not in ([None], [(i, len(found)) for i in range(len(found))]):
        told = ", ".join(f.name for f in found)
        raise ValueError(f"path: {path} has {told} for the split {split}, allowed: one file, or all its parts; name it")
    if not found:
        raise ValueError(f"path: {path} has no file for the split {split}; add it as {split}.jsonl, or name a file")
    return found


def _name_and_part(file: Path) -> tuple[str, tuple[int, int] | None]:
    """train-00001-of-00004.parquet is part (1, 4) of train."""
    name = file.name.removesuffix(next(ending for ending in ENDINGS if file.name.endswith(ending)))
    found = re.fullmatch(r"(.*)-(\d+)-of-(\d+)", name)
    return (found[1], (int(found[2]), int(found[3]))) if found else (name, None)


def _read(file: Path) -> Iterator[Any]:
    try:
        if file.name.endswith(".parquet"):
            yield from _parquet(file)
            return
        opened = gzip.open if file.name.endswith(".gz") else open
        with opened(file, "rt", encoding="utf-8") as lines:
            if file.name.endswith(".json"):
                yield from _array(json.load(lines), file)
                return
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parsed(line, f"{file}:{number}")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"path: {file} cannot be read ({error}); get it anew") from error


def _parquet(file: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(file).to_pylist()
    except pyarrow.ArrowException as error:
        told = str(error).splitlines()[0]
        raise ValueError(f"path: {file} cannot be read ({told}); get it anew") from error


def _array(found: Any, file: Path) -> list[Any]:
    if not isinstance(found, list):
        raise ValueError(f"path: {file} has {type(found).__name__}, allowed: an array of rows; make it .jsonl instead")
    return found


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"path: {where}: is no JSON ({error.msg}); mend or remove the line") from error
