"""What batching and shared beginnings bring to CORE: evals/core.py and the oracle of the tests, which computes each
text alone and whole, on the same items of a bundle with a small GPT of random weights.

    python benchmarks/core.py bundle=FOLDER [max_per_task=8] [repeats=5] [n_layer=4] [n_embd=256] [block_size=1024]
        [tokenizer=gpt2] [batch_size=8]

The two take turns; their verdicts are compared. The village's tokenizer (tokenizer=village) has 2,048 ids, of which the
last product is no large part. Promise: at least 4 times faster.
"""

import importlib.util
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
from reporting import Row, read_arguments, report, stop

from nanolit.evals.core import CoreResult, evaluate_core
from nanolit.evals.icl_bundle import Bundle, open_bundle
from nanolit.evals.icl_prompts import begin_id
from nanolit.inference.weights import prepare
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.runtime import allocator
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.tiktoken_bpe import TiktokenTokenizer
from nanolit.village import documents

ORACLE = Path(__file__).resolve().parent.parent / "tests" / "evals" / "core_oracle.py"


@dataclass(frozen=True)
class Arguments:
    bundle: Path
    max_per_task: int = 8
    repeats: int = 5
    n_layer: int = 4
    n_embd: int = 256
    block_size: int = 1024
    tokenizer: Literal["gpt2", "village"] = "gpt2"
    batch_size: int = 8


def oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("core_oracle", ORACLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_tokenizer(name: str) -> Tokenizer:
    if name == "gpt2":
        return TiktokenTokenizer.from_name("gpt2")
    return train_bpe(documents(0, "train", 0, 3000), 2048)


def n_different(result: CoreResult, expected: dict) -> int:
    """Items with another verdict."""
    return sum(
        item.is_right != is_right
        for task in result.tasks
        for item, (is_right, _) in zip(task.items, expected[task.label][1], strict=True)
    )


def time_both(
    given: Arguments, network: GPT, tokenizer: Tokenizer, bundle: Bundle
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each, and what was computed."""
    one_at_a_time, prepared = oracle(), prepare(deepcopy(network))  # as nanolit eval does
    evaluate_core(prepared, tokenizer, bundle, max_per_task=1)  # the first products of a process take longer
    seconds: dict[str, list[float]] = {"one text at a time": [], "nanolit": []}
    n_other = n_items = 0
    for _ in range(given.repeats):
        started = time.perf_counter()
        expected = one_at_a_time.evaluate(
            network, tokenizer.encode, begin_id(tokenizer), given.bundle, given.max_per_task
        )
        seconds["one text at a time"].append(time.perf_counter() - started)
        started = time.perf_counter()
        result = evaluate_core(network, tokenizer, bundle, batch_size=given.batch_size, max_per_task=given.max_per_task)
        seconds["nanolit"].append(time.perf_counter() - started)
        n_other += n_different(result, expected)
        n_items = sum(score.n for score in result.scores)
    return seconds, {"items": n_items, "items with another verdict": n_other, "cropped": result.n_cropped}


def main() -> None:
    given = read_arguments(Arguments, __doc__)
    try:
        bundle = open_bundle(given.bundle)
    except ValueError as error:
        stop(str(error))
    allocator.keep_freed_memory()  # as nanolit eval does
    tokenizer = make_tokenizer(given.tokenizer)
    torch.manual_seed(0)
    shape = {"n_layer": given.n_layer, "n_head": max(1, given.n_embd // 64), "n_embd": given.n_embd}
    network = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, block_size=given.block_size, **shape)).eval()
    seconds, facts = time_both(given, network, tokenizer, bundle)
    ratios = [slow / fast for slow, fast in zip(*seconds.values(), strict=True)]
    rows = [Row(name, "s", values) for name, values in seconds.items()]
    rows.append(Row("one text at a time / nanolit", "", ratios, ">= 4"))
    report("core", rows, facts | {"tasks": len(bundle.tasks), "ids": tokenizer.vocab_size})


if __name__ == "__main__":
    main()
