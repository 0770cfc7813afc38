"""Jobs spread over processes. Nothing here decides what a job gives, so that the number of workers cannot either.

A worker reads its text, encodes it and writes its shards by itself; only counts travel. Processes are few, since each
holds its own tokenizer; more workers than that are threads inside them. They end with the process that started them.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any, TypeVar

from nanolit.data.preparation.jobs import Progress, Tell, Work
from nanolit.data.sources.plan import Job
from nanolit.runtime.devices import n_cores
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

MAX_PROCESSES = 8
WORTH_A_PROCESS_BYTES = 16 << 20  # of text: starting one takes about a second

T = TypeVar("T")
Function = Callable[[Work, Tokenizer, Job, Tell], T]


class Stopped(Exception):
    """The preparation ends for another reason, and this job with it."""


def run_jobs(
    function: Function[T],
    work: Work,
    tokenizer: Tokenizer,
    jobs: Sequence[Job],
    tell: Tell,
    n_workers: int | None = None,
    enough: Callable[[int, T], bool] = lambda index, result: False,
) -> None:
    """Calls `function` for each job, until `enough` says of a finished one (by its place in `jobs`) that it was."""
    n_workers = n_workers or n_cores()
    n_processes = min(n_workers, len(jobs), MAX_PROCESSES)
    if n_processes <= 1 or sum(job.n_bytes for job in jobs) < WORTH_A_PROCESS_BYTES:
        work = replace(work, n_threads=n_workers)
        for place, job in enumerate(jobs):
            if enough(place, function(work, tokenizer, job, tell)):
                return
        return
    work = replace(work, n_threads=-(-n_workers // n_processes))
    try:
        with _Pool(work, n_processes, tell) as pool:
            pool.run(function, jobs, enough)
    except BrokenProcessPool as error:
        raise ValueError(
            "a worker process was killed, perhaps for want of memory; the same command goes on from there, "
            f"with fewer of them by prepare.workers={max(n_processes // 2, 1)}"
        ) from error


class _Pool:
    """Worker processes, what they have counted, and a flag that ends them."""

    def __init__(self, work: Work, n_processes: int, tell: Tell) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of threads that it has not
        self.n_processes, self.tell = n_processes, tell
        self._counts = context.Array("Q", len(Progress._fields))
        self._stop = context.Event()
        self._told = Progress()
        shared = (work, self._counts, self._stop)
        self._executor = ProcessPoolExecutor(n_processes, context, _begin, shared)

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._executor.shutdown(cancel_futures=True)

    def run(self, function: Function[T], jobs: Sequence[Job], enough: Callable[[int, T], bool]) -> None:
        waiting = iter(enumerate(jobs))
        running: dict[Future[T], int] = {}
        while True:
            # One more than can run, so that none waits for us.
            while len(running) <= self.n_processes and (following := next(waiting, None)):
                running[self._executor.submit(_work, function, following[1])] = following[0]
            if not running:
                return
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            self._report()
            for future in sorted(done, key=lambda future: running[future]):
                if enough(running.pop(future), future.result()):
                    return

    def _report(self) -> None:
        counted = Progress(*self._counts[:])
        self.tell(Progress(*(now - before for now, before in zip(counted, self._told, strict=True))))
        self._told = counted


# In a worker

_shared: "tuple[Work, Tokenizer, Tell] | Exception"


def _begin(work: Work, counts: Any, stop: Any) -> None:
    global _shared
    for signum in (signal.SIGINT, signal.SIGTERM):  # they reach all; the first process ends the others in order
        signal.signal(signum, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(progress: Progress) -> None:
        with counts.get_lock():
            for i, n in enumerate(progress):
                counts[i] += n
        if stop.is_set():
            raise Stopped

    try:
        _shared = work, load_tokenizer(work.folder / "tokenizer"), tell
    except Exception as error:  # noqa: BLE001  raised by the first job: an initializer that fails is told as a kill
        _shared = error


def _end_with_parent() -> None:
    """A killed parent cannot tell; without this its workers would wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _work(function: Function[T], job: Job) -> T:
    if isinstance(_shared, Exception):
        raise _shared
    work, tokenizer, tell = _shared
    return function(work, tokenizer, job, tell)


def jobs_of_piece(jobs: Sequence[Job], piece: int, n_pieces: int) -> Iterator[Job]:
    """The jobs of one of several independent pieces: neighbours, and about equally many."""
    first, last = len(jobs) * piece // n_pieces, len(jobs) * (piece + 1) // n_pieces
    yield from jobs[first:last]
