"""Files and folders that appear whole or not at all; not a storage layer.

What is being written lives under a temporary name beside its target, is synced to disk and renamed. A kill or a full
disk at any moment leaves the old content or the new, never a part. Errors of the operating system name the path.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IN_USE = ".in_use"  # the lock of a folder, as long as somebody works there


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path to write a file to; it becomes `path` if the block succeeds, and is removed if not."""
    path = Path(path)
    with _temporary_sibling(path) as temporary:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yields a temporary folder to fill; it takes the place of `path` if the block succeeds, and is removed if not.

    No system call replaces a filled folder: an older `path` is set aside for the moment between two renames.
    """
    path = Path(path)
    with _temporary_sibling(path) as temporary:
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder) / name)
            _sync(Path(folder))
        aside = temporary.with_name(temporary.name + "-old")
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
        _sync(path.parent)
        if aside.exists():
            shutil.rmtree(aside)


@contextmanager
def locked(root: Path, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """While nobody else holds the lock `name` under `root`, on this machine or another.

    `waiting` is called if it has to wait. The lock's file stays: taking it away would let two in.
    """
    from filelock import FileLock, Timeout

    path = root / ".locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0.1)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def in_use(folder: Path, setting: str, patience_s: float = 30.0) -> Iterator[None]:
    """While no other process of this machine works in `folder`, which the user knows as `setting`. One that was told to
    stop may need a moment to save, so it is waited for. Nothing is left behind (hence not `locked`).
    """
    path, begun = folder / IN_USE, time.monotonic()
    lock = _take(path)
    if lock is None:
        logging.getLogger("nanolit").info("%s is in use by another process; waiting for it to end", folder)
    while lock is None:
        if time.monotonic() - begun > patience_s:
            raise ValueError(
                f"{setting}: {folder} is in use by another process; end that one, or choose another {setting}"
            )
        time.sleep(0.2)
        lock = _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _take(path: Path) -> int | None:
    """The lock's descriptor, or None: another one has it. Who gives it back removes the file, so a lock on a file that
    is not there any more is none.
    """
    try:
        import fcntl
    except ImportError:  # Windows: nothing is locked
        return os.open(os.devnull, os.O_RDONLY)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a file system without locks
            return descriptor
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    text = (
        json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    )  # before the file: a value that is no JSON leaves no trace
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """The content of a JSON file; a broken one is a ValueError that names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # covers UnicodeDecodeError too
        raise ValueError(
            f"{path}: not a readable JSON file ({error}); restore it or delete it and make it again"
        ) from error


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's content in hexadecimal, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _temporary_sibling(path: Path) -> Iterator[Path]:
    """A free name in the folder of `path` (which is made), cleaned up on every way out; errors get a missing path."""
    # Not `tempfile`: its files are readable by their owner only, whatever the umask says.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # "no space left" comes without a name
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Of what is being written, or was when it was killed."""
    return re.fullmatch(r"\..+\.[0-9a-f]{12}\.tmp", name) is not None


def _sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
