"""How fast text is generated: with the KV cache, by computing everything anew for each token, and by nanoGPT's own
`generate`.

    python benchmarks/generation.py [nanogpt=CLONE] [new_tokens=250] [repeats=3] [device=cpu]

The network is nanoGPT's character-level one (6 layers, width 384, block 256) with random weights. Up to 255 new
tokens fit into its window; with more the window moves, nanoGPT's by one token each time, ours by a quarter of its
length. CLONE is a work tree of github.com/karpathy/nanoGPT.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from reporting import Row, read_arguments, report
from shakespeare_cpu import nanogpt_module

from nanolit.inference.generate import generate_ids
from nanolit.inference.params import SamplingParams
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.runtime.devices import pick_device

SHAPE = {"vocab_size": 65, "block_size": 256, "n_layer": 6, "n_head": 6, "n_embd": 384, "bias": False, "dropout": 0.0}


@dataclass(frozen=True)
class Arguments:
    nanogpt: str | None = None
    new_tokens: int = 250
    repeats: int = 3
    device: str = "cpu"


def tokens_per_s(generate: Callable[[], object], n_tokens: int, device: torch.device) -> float:
    started = time.perf_counter()
    generate()
    getattr(torch, device.type).synchronize()
    return n_tokens / (time.perf_counter() - started)


def generators(arguments: Arguments, device: torch.device) -> dict[str, Callable[[], object]]:
    model = GPT(GPTConfig(**SHAPE)).to(device).eval()
    params = SamplingParams(max_new_tokens=arguments.new_tokens, temperature=0.8, top_k=50, seed=0)

    def ours(use_cache: bool) -> list:
        return list(generate_ids(model, [0], params, use_cache=use_cache))

    ways: dict[str, Callable[[], object]] = {
        "nanolit, KV cache": lambda: ours(True),
        "nanolit, everything anew": lambda: ours(False),
    }
    if arguments.nanogpt:
        module = nanogpt_module(Path(arguments.nanogpt))
        theirs = module.GPT(module.GPTConfig(**SHAPE)).to(device).eval()
        prompt = torch.zeros((1, 1), dtype=torch.long, device=device)
        ways["nanoGPT"] = lambda: theirs.generate(prompt, arguments.new_tokens, temperature=0.8, top_k=50)
    return ways


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    device = pick_device(arguments.device)
    ways = generators(arguments, device)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for generate in ways.values():
        generate()  # the first call reserves memory and starts threads
    for _ in range(arguments.repeats):
        for name, generate in ways.items():
            speeds[name].append(tokens_per_s(generate, arguments.new_tokens, device))
    cached = speeds["nanolit, KV cache"]
    rows = [Row(name, "tokens/s", values) for name, values in speeds.items()]
    rows += [
        Row(f"KV cache / {name}", "", [fast / slow for fast, slow in zip(cached, values, strict=True)])
        for name, values in speeds.items()
        if values is not cached
    ]
    report("generation", rows, {"new tokens": arguments.new_tokens, "device": str(device)})


if __name__ == "__main__":
    main()
