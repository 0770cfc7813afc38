"""What preparing text costs: megabytes a second against tiktoken's own batch encoder, called directly on the same text
and on as many threads; and the memory of all its processes for a small corpus and one twenty times as large.

    python benchmarks/preparation.py [megabytes=300] [repeats=3] [memory_megabytes=100] [times=20] [tokenizer=gpt2]

Promise: at least 0.9 of the direct call, with reading, hashing and writing included, once the corpus is large enough
that starting processes (about a second) does not count; memory below 2 GiB and the same for both sizes. The text is the
village's, in documents of some thousand characters; the larger corpus repeats it. tokenizer=byte leaves tiktoken out.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reporting import Row, read_arguments, report

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.runtime.devices import n_cores
from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer
from nanolit.village import documents

DOCUMENT_CHARS = 3000
SAMPLE_EVERY_S = 0.1


@dataclass(frozen=True)
class Arguments:
    megabytes: int = 300
    repeats: int = 3
    memory_megabytes: int = 100
    times: int = 20
    tokenizer: str = "gpt2"


def texts(n_bytes: int) -> Iterator[str]:
    """Village stories, several to a document."""
    held: list[str] = []
    total = 0
    for text in documents(0, "train", 0, 10**9):
        held.append(text)
        if sum(map(len, held)) >= DOCUMENT_CHARS:
            yield "".join(held)
            total += sum(map(len, held))
            held = []
        if total >= n_bytes:
            return


def write_rows(path: Path, found: list[str]) -> None:
    with path.open("w") as file:
        for text in found:
            file.write(json.dumps({"text": text}) + "\n")


def direct_seconds(name: str, found: list[str]) -> float:
    """tiktoken's batch encoder on all cores; only its own time."""
    import tiktoken

    encoding = tiktoken.get_encoding(name)
    encoding.encode_ordinary_batch(found[:100], num_threads=n_cores())
    seconds = 0.0
    for first in range(0, len(found), 4000):
        t0 = time.perf_counter()
        encoding.encode_ordinary_batch(found[first : first + 4000], num_threads=n_cores())
        seconds += time.perf_counter() - t0
    return seconds


def prepare_seconds(source: Path, tokenizer: TokenizerConfig, root: Path) -> float:
    data = DataConfig(name="bench", kind="text", source=str(source), val_fraction=0.01)
    t0 = time.perf_counter()
    prepare(data, tokenizer, root)
    seconds = time.perf_counter() - t0
    shutil.rmtree(root)
    return seconds


class Memory:
    """The largest memory of a process and all its descendants, in MiB: shared pages counted once (PSS)."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak, self.done = pid, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.done.wait(SAMPLE_EVERY_S):
            self.peak = max(self.peak, sum(map(pss_mib, family(self.pid))))

    def stop(self) -> float:
        self.done.set()
        self.thread.join()
        return self.peak


def family(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def peak_mib(source: Path, tokenizer: str, root: Path) -> float:
    command = [sys.executable, "-m", "nanolit", "prepare", "data=text", f"data.source={source}", "data.split=document"]
    command += [f"tokenizer={tokenizer}", f"paths.data_root={root}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    memory = Memory(process.pid)
    code = process.wait()
    peak = memory.stop()
    assert code == 0, f"prepare ended with {code}"
    shutil.rmtree(root)
    return peak


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    name = arguments.tokenizer
    config = TokenizerConfig("byte") if name == "byte" else TokenizerConfig("tiktoken", name=name)
    build_tokenizer(config, list)  # its files are there
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.repeats:
            found = list(texts(arguments.megabytes * 1_000_000))
            megabytes = sum(map(len, found)) / 1e6
            write_rows(folder / "corpus.jsonl", found)
            ours, direct = [], []
            for _ in range(arguments.repeats):
                ours.append(megabytes / prepare_seconds(folder / "corpus.jsonl", config, folder / "root"))
                if name != "byte":
                    direct.append(megabytes / direct_seconds(name, found))
            rows.append(Row("prepare", "MB/s", ours))
            if direct:
                rows.append(Row(f"tiktoken {name}, {n_cores()} threads", "MB/s", direct))
                ratios = [a / b for a, b in zip(ours, direct, strict=True)]
                rows.append(Row("ratio", "", ratios, ">= 0.9"))
            (folder / "corpus.jsonl").unlink()
        if arguments.times:
            corpus = folder / "corpus"
            corpus.mkdir()
            write_rows(corpus / "00.jsonl", list(texts(arguments.memory_megabytes * 1_000_000)))
            small = peak_mib(corpus, name, folder / "root")
            for i in range(1, arguments.times):
                os.link(corpus / "00.jsonl", corpus / f"{i:02d}.jsonl")
            large = peak_mib(corpus, name, folder / "root")
            rows.append(Row(f"memory, {arguments.memory_megabytes} MB", "MiB", [small], "<= 2048"))
            rows.append(Row(f"memory, {arguments.memory_megabytes * arguments.times} MB", "MiB", [large], "<= 2048"))
    report("preparation", rows, {"cores": n_cores()})


if __name__ == "__main__":
    main()
