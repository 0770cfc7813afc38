"""Which files a source means: finds, hashes and names them, and tells kind and split by their names; reads no rows.

A file, a folder, a glob, or a folder that `save_to_disk` of the `datasets` library has written.
"""

import glob
import logging
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from nanolit.data.config import Split
from nanolit.runtime.files import locked, read_json, sha256_file, write_json

TEXT_SUFFIXES = (
    *(".txt", ".md", ".rst", ".tex", ".html", ".css", ".xml", ".toml", ".yaml", ".yml", ".sql", ".sh"),
    *(".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cs", ".go", ".java", ".js", ".jsx", ".ts", ".tsx"),
    *(".jl", ".kt", ".lua", ".php", ".pl", ".r", ".rb", ".rs", ".scala", ".swift"),
)
PROSE_SUFFIXES = (".txt", ".md", ".rst", ".tex", ".html")
ROW_KINDS = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv"},
    **{".parquet": "parquet", ".arrow": "arrow"},
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
SPLIT_WORDS: dict[str, Split] = {
    **{"train": "train", "training": "train", "test": "test"},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "val"),
}
# What `datasets` writes beside its data. Other settings in JSON are known by how they begin: with a "{" alone in its
# line, where rows begin with "[" or a whole object.
NO_ROWS = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
BEGINS_ROWS = re.compile(rb'(\xef\xbb\xbf)?\s*(\[|\{[ \t]*")')
RACY_S = 2.0  # a file changed less than this ago may change again without a new time stamp
REPORTED_BYTES = 1 << 30  # hashing more than this takes long enough to be said

log = logging.getLogger("nanolit")


class DataFile(NamedTuple):
    path: Path
    name: str  # relative to the folder that was given, so that moving the folder changes nothing
    n_bytes: int
    sha256: str
    split: Split | None  # where the names of all files tell

    @property
    def kind(self) -> str:
        return kind_of(self.path.name)

    @property
    def compression(self) -> str | None:
        return COMPRESSIONS.get(self.path.suffix.lower())


class Span(NamedTuple):
    """A part of a file that can be read without the rest."""

    file: DataFile
    start: int  # in bytes; of parquet in row groups, of Arrow's file format in record batches
    stop: int
    n_bytes: int  # of the file


def find(source: str, root: Path) -> list[DataFile]:
    """The non-empty files that `source` (a file, a folder, a glob) means, in the order of their names."""
    path = Path(source).expanduser()
    if path.is_file():
        base, paths = path.parent, [path]
    elif path.is_dir():
        base, paths = path, _saved(path) or _of_its_own_kind(sorted(_visible(path)))
    else:
        fixed = list(takewhile(lambda part: not set(part) & set("*?["), path.parts))
        base, pattern = Path(*fixed), "/".join(path.parts[len(fixed) :])
        # Not Path.glob, which takes what is hidden for a * too.
        names = glob.glob(pattern, root_dir=base, recursive=True) if pattern else []  # noqa: PTH207
        paths = [p for p in sorted({base / name for name in names}) if p.is_file()]
    if not paths and path.is_dir():
        endings = " ".join((*TEXT_SUFFIXES, *ROW_KINDS))
        raise ValueError(
            f"data.source={source}: no text in this folder; files that count end in {endings}, "
            f"or such an ending and {' or '.join(COMPRESSIONS)}"
        )
    if not paths:
        raise ValueError(f"data.source={source}: no such file, and no file fits it as a pattern; check the path")
    filled = [p for p in paths if p.stat().st_size]
    if not filled:
        what = "the file is" if len(paths) == 1 else f"all {len(paths)} files are"
        raise ValueError(f"data.source={source}: {what} empty; put text into it or give another path")
    if path.is_dir():
        _tell_left_out(path, {*filled})
    return hashed(base, filled, root)


def _tell_left_out(folder: Path, kept: set[Path]) -> None:
    """Whoever has a folder of many kinds should know that not all of it is read."""
    others = [p for p in folder.rglob("*") if p.is_file() and p not in kept and not _is_hidden(p, folder)]
    if others:
        some = ", ".join(p.relative_to(folder).as_posix() for p in sorted(others)[:3])
        log.info(
            "left out %d files that are empty or of no kind that is read: %s%s",
            len(others),
            some,
            ", …" * (len(others) > 3),
        )


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _of_its_own_kind(paths: list[Path]) -> list[Path]:
    """Beside rows, README.md is the card of a data set of the hub, and no document. Beside source code, an
    object in .json is settings, and no rows.
    """
    if any(_ending(path) not in (*PROSE_SUFFIXES, *ROW_KINDS) for path in paths):
        paths = [path for path in paths if not (path.suffix.lower() == ".json" and _begins_object(path))]
    has_rows = any(ROW_KINDS.get(_ending(path)) for path in paths)
    return [path for path in paths if not (has_rows and path.name == "README.md")]


def _begins_object(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def hashed(base: Path, paths: Iterable[Path], root: Path) -> list[DataFile]:
    """Describes the files among `paths`, in their order; `root` remembers hashes while size and time stand still."""
    memory_path = root / ".file-hashes.json"
    memory: dict[str, list] = read_json(memory_path) if memory_path.is_file() else {}
    found = [(path, path.stat()) for path in paths if path.is_file()]
    known = {}
    for path, status in found:
        remembered = memory.get(str(path.absolute()))
        if remembered and remembered[:2] == [status.st_size, status.st_mtime_ns]:
            known[path] = remembered[2]
    unknown = [(path, status) for path, status in found if path not in known]
    n_bytes = sum(status.st_size for _, status in unknown)
    if n_bytes > REPORTED_BYTES:
        log.info("hashing %d files, %.1f GB", len(unknown), n_bytes / 1e9)
    pool = ThreadPoolExecutor(os.cpu_count())
    learnt: dict[str, list] = {}
    try:  # what is known when somebody interrupts need not be read again
        for (path, status), digest in zip(unknown, pool.map(sha256_file, [path for path, _ in unknown]), strict=True):
            known[path] = digest
            if time.time() - status.st_mtime > RACY_S:
                learnt[str(path.absolute())] = [status.st_size, status.st_mtime_ns, digest]
    finally:
        pool.shutdown(cancel_futures=True)
        if learnt:
            with locked(root, "file-hashes"):  # others may have learnt something in the meantime
                write_json(memory_path, (read_json(memory_path) if memory_path.is_file() else {}) | learnt)
    names = [path.relative_to(base).as_posix() for path, _ in found]
    splits = _splits(names)
    return [
        DataFile(path, name, status.st_size, known[path], split)
        for (path, status), name, split in zip(found, names, splits, strict=True)
    ]


def _ending(path: Path) -> str:
    """The ending that says what is in a file, in small letters: of x.csv.gz it is .csv."""
    inner = Path(path.stem) if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower()


def _visible(folder: Path) -> Iterable[Path]:
    for path in folder.rglob("*"):
        ending = _ending(path)
        if (
            _is_hidden(path, folder)
            or ending not in (*TEXT_SUFFIXES, *ROW_KINDS)
            or path.name in NO_ROWS
            or not path.is_file()
        ):
            continue
        if path.suffix.lower() == ".json" and path.stat().st_size:
            with path.open("rb") as file:
                if not BEGINS_ROWS.match(file.read(256)):
                    continue
        yield path


def _saved(folder: Path) -> list[Path]:
    """The files of a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` has written; of others none."""
    if (folder / "dataset_dict.json").is_file():
        splits = _listed(folder / "dataset_dict.json", "splits")
        return [path for split in splits for path in _saved(folder / str(split))]
    state = folder / "state.json"
    if not state.is_file():
        return []
    paths = [folder / str(entry["filename"]) for entry in _listed(state, "_data_files") if "filename" in entry]
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: not there, but {state} names it; copy the whole folder again")
    return paths


def _listed(path: Path, key: str) -> list:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise ValueError(f"{path}: has no list {key!r}, so it was not written by save_to_disk; restore or delete it")
    return content[key]


def _splits(names: list[str]) -> list[Split | None]:
    """The split of each file, if each name has the words of exactly one, and there is one to train on and another."""
    named = [_named(name) for name in names]
    if None in named or "train" not in named or len(set(named)) < 2:
        return [None] * len(names)
    return named


def _named(name: str) -> Split | None:
    ending = _ending(Path(name))
    if ending != ".txt" and ending not in ROW_KINDS:
        return None  # train.py, or notes on a test
    return split_of(name)


def split_of(name: str) -> Split | None:
    """What a name says it is for, if it says one thing."""
    words = re.split(r"[\W\d_]+", name.lower())
    splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def kind_of(name: str) -> str:
    """ "text", or one of ROW_KINDS."""
    return ROW_KINDS.get(_ending(Path(name)), "text")
