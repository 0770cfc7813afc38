"""Duplicates found by partitions against a dictionary that holds everything."""

import hashlib
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.preparation.duplicates import find_duplicates, write_hashes


@pytest.fixture(autouse=True, scope="module")
def without_waiting_for_the_disk():
    with mock.patch("os.fsync"):
        yield


def key(document: object) -> str:
    return hashlib.sha256(str(document).encode()).hexdigest()


def in_memory(jobs: list[list]) -> list[list[int]]:
    seen: dict[str, tuple[int, int]] = {}
    for number, job in enumerate(jobs):
        for i, document in enumerate(job):
            seen.setdefault(key(document), (number, i))
    return [[i for i, one in enumerate(job) if seen[key(one)] != (number, i)] for number, job in enumerate(jobs)]


def found(folder, jobs, memory_bytes=256 << 20) -> list[list[int]]:
    paths = [folder / f"{number}.hashes" for number in range(len(jobs))]
    for path, job in zip(paths, jobs, strict=True):
        write_hashes(path, map(key, job))
    n_dropped = find_duplicates(paths, lambda number: folder / "out" / f"{number}.npy", memory_bytes)
    dropped = [np.load(folder / "out" / f"{number}.npy") for number in range(len(jobs))]
    assert n_dropped == sum(map(len, dropped)) and all(one.dtype == np.uint64 for one in dropped)
    assert len(list(folder.rglob("*"))) == 2 * len(jobs) + bool(jobs), "nothing else is left"
    return [one.tolist() for one in dropped]


@given(
    jobs=st.lists(st.lists(st.integers(0, 12), max_size=12), max_size=5),
    memory_bytes=st.sampled_from([1, 500, 2000, 1 << 20]),
)
@settings(deadline=None)
def test_the_first_stays(jobs, memory_bytes, tmp_path_factory):
    assert found(tmp_path_factory.mktemp("hashes"), jobs, memory_bytes) == in_memory(jobs)


@pytest.mark.parametrize("memory_bytes", [20_000, 200_000, 256 << 20])
def test_many_parts_and_one_document_that_is_everywhere(tmp_path, memory_bytes):
    random = np.random.default_rng(0)
    numbers = random.integers(0, 15_000, 20_000)
    numbers[random.random(20_000) < 0.5] = -1  # half of all documents are the same
    jobs = [part.tolist() for part in np.array_split(numbers, [3, 3, 9000])]
    assert found(tmp_path, jobs, memory_bytes) == in_memory(jobs)


def test_hashes_that_differ_in_the_second_half_only_are_different(tmp_path):
    front = "0123456789abcdef"
    keys = [front + "0" * 16, front + "0" * 15 + "1", front + "f" * 16, front + "0" * 16, "0" * 32]
    write_hashes(tmp_path / "a", keys)
    assert find_duplicates([tmp_path / "a"], lambda _: tmp_path / "a.npy") == 1
    assert np.load(tmp_path / "a.npy").tolist() == [3]


def test_memory_stays_in_its_bounds(tmp_path):
    """As many documents as would take ten times the memory, of which some are copies."""
    memory_bytes, n_jobs = 8 << 20, 4
    n_documents = 10 * memory_bytes // 40 // n_jobs  # a key, a position, an order: 40 bytes each without parts
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}" for number in range(n_jobs)]
    for number, path in enumerate(paths):
        keys = random.integers(0, 1 << 64, (n_documents, 2), dtype=np.uint64)
        keys[::10] = 7 if number % 2 else keys[:1]
        keys.tofile(path)
    tracemalloc.start()
    n_dropped = find_duplicates(paths, lambda number: tmp_path / f"{number}.npy", memory_bytes)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    repeated = -(-n_documents // 10)
    assert n_dropped == 2 * repeated - 1 + 2 * (repeated - 1)
    assert peak_bytes <= memory_bytes, f"{peak_bytes / memory_bytes:.2f} of what it may take"


def test_a_file_cut_in_a_hash_is_refused(tmp_path):
    write_hashes(tmp_path / "a", [key(1)])
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-1])
    with pytest.raises(ValueError, match="15 bytes are no whole number of hashes"):
        find_duplicates([tmp_path / "a"], lambda _: tmp_path / "a.npy")
