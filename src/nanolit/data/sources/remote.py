"""Files that lie elsewhere: which ones there are is asked at once, each is fetched by the job that reads it.

What a name on the hub stands for is asked once and remembered, so that a preparation can go on, and a run begin, where
there is no network, and always with the same files.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from nanolit.data.config import NUMBER, DataConfig, Split
from nanolit.data.sources.files import DataFile, hashed, kind_of, split_of
from nanolit.runtime.download import fetch
from nanolit.runtime.files import locked, read_json, write_json

log = logging.getLogger("nanolit")

GUESSED_BYTES = 100_000_000  # of a file whose size is not known


class RemoteFile(NamedTuple):
    name: str  # no two of a source are equal
    n_bytes: int
    split: Split | None
    url: str | None = None  # else of the data set
    sha256: str | None = None
    dataset: tuple[str, str] | None = None  # its name and revision

    @property
    def kind(self) -> str:
        return kind_of(self.name)


def remote_files(config: DataConfig, root: Path) -> tuple[dict[str, Any], list[RemoteFile]]:
    """What identifies them, and the files in the order in which they are read."""
    if config.dataset is not None:
        return _of_dataset(config, root)
    urls, numbers = _urls(config)
    files = []
    for url in urls:
        name = _place(url)
        files.append(RemoteFile(name, GUESSED_BYTES, split_of(name.rpartition("/")[2]), url, config.sha256))
    told = {"files": numbers} if numbers is not None else {"sha256": config.sha256}
    return {"url": config.url, **told}, files


def _urls(config: DataConfig) -> tuple[list[str], list[int] | None]:
    """And the numbers in them, where one url stands for many."""
    assert config.url is not None
    if isinstance(config.url, list):
        return config.url, None
    place = NUMBER.search(config.url)
    if place is None:
        return [config.url], None
    assert config.n_files is not None
    numbers = list(range(config.n_files))
    if config.max_files is not None and config.max_files < config.n_files:
        numbers = [*numbers[: config.max_files - 1], numbers[-1]]
    return [config.url.replace(place[0], place[0].format(number)) for number in numbers], numbers


def _place(url: str) -> str:
    """The path to keep a file at, with its folders: files of one name may come from many places."""
    parts = urlsplit(url)
    folder, _, last = parts.path.rpartition("/")
    query = f"?{parts.query}" if parts.query else ""
    names = quote(f"{parts.netloc}{folder}{query}/{last}", safe="/%").split("/")
    return "/".join(name for name in names if name not in ("", ".", ".."))


def _of_dataset(config: DataConfig, root: Path) -> tuple[dict[str, Any], list[RemoteFile]]:
    assert config.dataset is not None
    found = _resolved(config.dataset, config.subset, config.revision, root)
    dataset = (found["name"], found["revision"])
    splits = {name: split_of(name) for name in found["splits"]}
    if others := [name for name, split in splits.items() if split is None and {*splits.values()} > {None}]:
        log.warning(
            "data.dataset=%s: left out its splits %s, whose names do not say what they are for", *dataset[:1], others
        )
    files = [
        RemoteFile(file["name"], file["n_bytes"] or GUESSED_BYTES, splits[name], None, file["sha256"], dataset)
        for name, of_split in found["splits"].items()
        for file in of_split
        if name not in others
    ]
    identity = {"dataset": found["name"], "subset": config.subset, "revision": found["revision"]}
    return identity | {"files": [[file.name, file.sha256] for file in files]}, files


def _resolved(name: str, subset: str | None, revision: str | None, root: Path) -> dict[str, Any]:
    key = "@".join(quote(part or "", safe="") for part in (name, subset, revision))
    path = root / ".hub" / f"{key}.json"
    if not path.is_file():
        with locked(root, f"hub-{key}"):  # of processes that ask at once, all take one answer
            if not path.is_file():
                from nanolit.data.sources import hub

                write_json(path, asdict(hub.resolve(name, subset, revision)))
    return read_json(path)


def fetched(file: RemoteFile, root: Path) -> DataFile:
    """The file here, downloaded unless it was before."""
    if file.url is not None:
        path = root / "downloads" / file.name
        if not path.is_file():
            with locked(root, f"download-{quote(file.name, safe='')[-200:]}"):  # one of several brings it
                fetch(file.url, path, file.sha256, remedy="data.source=PATH")
    else:
        from nanolit.data.sources import hub

        assert file.dataset is not None
        path = hub.fetch_file(*file.dataset, file.name)
    (here,) = hashed(path.parent, [path], root)
    if file.sha256 not in (None, here.sha256):
        raise ValueError(
            f"{path}: sha256 is {here.sha256}, expected {file.sha256}; delete it to fetch it again, or give "
            "data.source=PATH"
        )
    return here._replace(name=file.name, split=file.split)
