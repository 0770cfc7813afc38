"""How fast the engine writes, against everything computed anew for each token, nanoGPT's `generate`, and the cached
`generate` of transformers: greedy text of the same weights in the same run, which must be equal.

    python benchmarks/generation.py [nanogpt=CLONE] [checkpoint=CKPT_PT] [new_tokens=256] [repeats=5] [device=cpu]
        [parts=[char,gpt2]]

char: nanoGPT's character-level network (6 layers, width 384, block 256), with the weights of a checkpoint of nanoGPT or
random ones. gpt2: GPT-2 124M at batch 1 and 8 with random weights. What the engine guesses ahead it guesses well where
text repeats itself, as greedy text of random weights does; so it is measured without guessing too. CLONE is a work tree
of github.com/karpathy/nanoGPT. Promises: 10 times nanoGPT's way, 1.5 times transformers at batch 1, and 2 times at
batch 8, all in float32.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from reporting import Row, read_arguments, report, stop
from shakespeare_cpu import nanogpt_module

from nanolit.inference.engine import Engine
from nanolit.inference.params import EngineSettings, SamplingParams, Weights
from nanolit.inference.request import Request
from nanolit.inference.weights import prepare
from nanolit.interop.nanogpt import read_checkpoint
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model
from nanolit.models.gpt import GPT
from nanolit.runtime.devices import pick_device

CHAR = {"vocab_size": 65, "block_size": 256, "n_layer": 6, "n_head": 6, "n_embd": 384, "bias": False, "dropout": 0.0}
Texts = list[list[int]]


@dataclass(frozen=True)
class Arguments:
    nanogpt: str | None = None
    checkpoint: str | None = None
    new_tokens: int = 256
    repeats: int = 5
    device: str = "cpu"
    parts: tuple[str, ...] = ("char", "gpt2")


def writer(model: GPT, prompts: Sequence[list[int]], new_tokens: int, **settings: Any) -> Callable[[], Texts]:
    params = SamplingParams(max_new_tokens=new_tokens, temperature=0.0)
    chosen = {"n_slots": len(prompts), "n_guesses": 0, "reuse_prefixes": False} | settings
    engine = Engine(model, EngineSettings(**chosen))

    def write() -> Texts:
        rows = [engine.submit(Request(prompt, params, when_full="slide"))[0] for prompt in prompts]
        while not engine.is_idle:
            engine.step()
        return [row.written for row in rows]

    return write


@torch.no_grad()
def anew(model: torch.nn.Module, prompts: Sequence[list[int]], new_tokens: int, device: torch.device) -> Texts:
    ids = torch.tensor(prompts, device=device)
    for _ in range(new_tokens):
        ids = torch.cat([ids, model(ids, last_only=True)[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return ids[:, len(prompts[0]) :].tolist()


def char_ways(arguments: Arguments, device: torch.device) -> dict[str, Callable[[], Texts]]:
    n, prompts = arguments.new_tokens, [[0]]
    content = {"model": None, "model_args": CHAR}
    if arguments.checkpoint:
        content = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
    ways: dict[str, Callable[[], Texts]] = {}
    model = GPT(GPTConfig(**CHAR))
    if arguments.nanogpt:
        module = nanogpt_module(Path(arguments.nanogpt))
        theirs = module.GPT(module.GPTConfig(**content["model_args"]))
        content["model"] = content["model"] or theirs.state_dict()
        theirs.load_state_dict(content["model"])
        theirs = theirs.to(device).eval()
        start = torch.tensor(prompts, device=device)
        ways["nanoGPT"] = lambda: theirs.generate(start, n, top_k=1)[:, 1:].tolist()
    if content["model"]:
        config, tensors = read_checkpoint(content, "nanoGPT")
        model = GPT(config)
        model.load_state_dict({name: tensors.get(name) for name in tensors.specs})
    model = model.to(device).eval()
    plain = copy.deepcopy(model)
    prepare(model)
    return {
        "nanolit": writer(model, prompts, n, n_guesses=7),
        "nanolit, not guessing": writer(model, prompts, n),
        "everything anew": lambda: anew(plain, prompts, n, device),
        **ways,
    }


def gpt2_ways(batch: int, arguments: Arguments, device: torch.device) -> dict[str, Callable[[], Texts]]:
    import transformers

    config = transformers.GPT2Config(bos_token_id=None, eos_token_id=None, pad_token_id=None)
    theirs = transformers.GPT2LMHeadModel(config).to(device).eval()
    models: dict[Weights, GPT] = {}
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        for weights in ("auto", "stored", "bfloat16", "int8"):
            models[weights] = prepare(load_model(folder, device).eval(), weights)  # type: ignore[assignment]
    n, start = arguments.new_tokens, torch.randint(50257, (batch, 16), device=device)
    prompts = start.tolist()
    asked = {"max_new_tokens": n, "do_sample": False, "attention_mask": torch.ones_like(start)}
    ways: dict[str, Callable[[], Texts]] = {
        "nanolit": writer(models["auto"], prompts, n, n_guesses=7),
        "nanolit, not guessing": writer(models["auto"], prompts, n),
    }
    for weights in ("stored", "bfloat16", "int8"):
        ways[f"nanolit, not guessing, weights={weights}"] = writer(models[weights], prompts, n)
    for decoding in ("graphs", "compile") if device.type == "cuda" else ():
        ways[f"nanolit, not guessing, decoding={decoding}"] = writer(models["auto"], prompts, n, decoding=decoding)
    ways["transformers"] = lambda: theirs.generate(start, **asked)[:, 16:].tolist()
    return ways


def measure(ways: dict[str, Callable[[], Texts]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Tokens per second, in turns."""
    texts = {name: write() for name, write in ways.items()}  # the first call reserves memory and starts threads
    wanted = texts["nanolit"]
    for name, found in texts.items():
        is_rounded = "bfloat16" in name or "int8" in name
        if found != wanted and not is_rounded:
            stop(f"{name} does not write the same text")
    n_tokens = sum(map(len, wanted))
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, write in ways.items():
            getattr(torch, device.type).synchronize()
            started = time.perf_counter()
            write()
            speeds[name].append(n_tokens / (time.perf_counter() - started))
    return speeds


def rows_of(part: str, speeds: dict[str, list[float]], limits: dict[str, str]) -> list[Row]:
    rows = [Row(f"{part}: {name}", "tokens/s", values) for name, values in speeds.items()]
    for ours in ("nanolit", "nanolit, not guessing"):
        for name in speeds:
            if not name.startswith("nanolit"):
                ratios = [mine / slow for mine, slow in zip(speeds[ours], speeds[name], strict=True)]
                rows.append(Row(f"{part}: {ours} / {name}", "", ratios, limits[name] if ours == "nanolit" else ""))
    return rows


@torch.no_grad()
def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    device = pick_device(arguments.device)
    torch.manual_seed(0)
    rows: list[Row] = []
    if "char" in arguments.parts:
        limits = {"everything anew": ">= 10", "nanoGPT": ">= 10"}
        rows += rows_of("char", measure(char_ways(arguments, device), arguments.repeats, device), limits)
    for batch, limit in ((1, ">= 1.5"), (8, ">= 2")) if "gpt2" in arguments.parts else ():
        found = measure(gpt2_ways(batch, arguments, device), arguments.repeats, device)
        rows += rows_of(f"GPT-2 124M, batch {batch}", found, {"transformers": limit})
    report("generation", rows, {"new tokens": arguments.new_tokens, "device": str(device)})


if __name__ == "__main__":
    main()
