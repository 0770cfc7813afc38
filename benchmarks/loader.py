"""What batches cost: `MicroBatches` in one process, on a warm memory map, for every way of packing.

    python benchmarks/loader.py [repeats=7] [n_tokens=100_000_000]

Promise: the plain stream gives at least 50 million tokens/s, so that a batch of 12 x 1024 costs under 1 % of a step of
25 ms. Each figure is of batches one after the other, tensors made, nothing overlapped, memory kept as in a training
run; `plan` is what packing costs once, before it is kept beside the data.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reporting import Row, read_arguments, report

from nanolit.data.serving.batches import BatchPlan, MicroBatches
from nanolit.data.serving.packing import PackedRows, make_plan
from nanolit.data.serving.rows import Rows
from nanolit.data.serving.windows import TokenWindows
from nanolit.data.shards import Shard, open_shard, shard_writer
from nanolit.runtime import allocator

SHAPES = ((12, 1024), (64, 256))
VOCABULARY, MEAN_LOG_TOKENS = 50257, 6.0  # documents of about 600 tokens, spread as those of the web are
N_SHARDS = 4
TOKENS_PER_BATCH_RUN = 4_000_000  # of one repetition
STREAM = "stream"


@dataclass(frozen=True)
class Arguments:
    repeats: int = 7
    n_tokens: int = 100_000_000


def write_shards(folder: Path, n_tokens: int) -> list[Shard]:
    draw, shards = np.random.default_rng(0), []
    for number in range(N_SHARDS):
        ids = draw.integers(0, VOCABULARY, n_tokens // N_SHARDS).astype(np.uint16)
        starts = draw.lognormal(MEAN_LOG_TOKENS, 1.0, len(ids) // 300).astype(np.uint64).cumsum()
        path = folder / f"{number}.bin"
        with shard_writer(path, VOCABULARY, "00" * 32) as writer:
            writer.append_many(ids, np.append(np.uint64(0), starts[starts < len(ids)]))
        shards.append(open_shard(path))
    return shards


def tokens_per_s(batches: MicroBatches, first: int, n: int) -> float:
    shape = batches[first]["inputs"].shape
    started = time.perf_counter()
    for i in range(first, first + n):
        batches[i]
    return n * shape.numel() / (time.perf_counter() - started)


def all_rows(shards: list[Shard], block_size: int) -> dict[str, tuple[Rows, bool]]:
    """Name -> rows, and whether they come at random."""
    served: dict[str, tuple[Rows, bool]] = {
        f"{STREAM}, in order": (TokenWindows(shards, block_size), False),
        f"{STREAM}, random": (TokenWindows(shards, block_size), True),
        f"{STREAM}, random at any token": (TokenWindows(shards, block_size, stride=1), True),
        "windows with documents": (
            TokenWindows(shards, block_size, mask_documents=True, delimiter="after"),
            True,
        ),
    }
    for mode in ("document", "best_fit", "best_fit_padded"):
        served[mode] = PackedRows(shards, block_size, mode, mask_documents=True, delimiter="after"), True
    return served


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    allocator.keep_freed_memory()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        shards = write_shards(Path(temporary), arguments.n_tokens)
        assert all(int(shard.tokens[::1000].max()) < VOCABULARY for shard in shards)  # now all of it is in memory
        n_documents = len(shards[0].starts)
        for batch_size, block_size in SHAPES:
            n = TOKENS_PER_BATCH_RUN // (batch_size * block_size)
            for name, (served, shuffle) in all_rows(shards, block_size).items():
                batches = MicroBatches(served, BatchPlan(batch_size, batch_size), seed=0, shuffle=shuffle)
                speeds = [tokens_per_s(batches, i * n, n) for i in range(arguments.repeats + 1)][1:]
                of, is_stream = f"{batch_size} x {block_size} {name}", name.startswith(STREAM)
                rows.append(Row(of, "Mtok/s", [speed / 1e6 for speed in speeds], ">= 50" if is_stream else ""))
                ms = [1e3 * batch_size * block_size / speed for speed in speeds]
                rows.append(Row(of, "ms/batch", ms, "< 0.25" if is_stream and block_size == 1024 else ""))
        for mode in ("document", "best_fit", "best_fit_padded"):
            started = time.perf_counter()
            make_plan(shards[0], mode, 1024, "after")
            seconds = time.perf_counter() - started
            rows.append(Row(f"plan of a million documents, {mode}", "s", [seconds * 1e6 / n_documents]))
    report("loader", rows)


if __name__ == "__main__":
    main()
