"""Passes of fixed shapes write what passes of any shape write: as they are, compiled, and as CUDA graphs."""

import pytest
import torch

from nanolit.inference.engine import Engine
from nanolit.inference.fixed import FixedPasses
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.request import Request
from nanolit.inference.weights import prepare
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT

SMALL = {"vocab_size": 50, "block_size": 64, "n_layer": 3, "n_head": 4, "n_embd": 32}
MODELS = {
    "gpt2": {},
    "gqa, rope, windows": {"position": "rope", "n_kv_head": 2, "window": 8, "window_pattern": "SSL"},
    "smear, bigrams": {"position": "rope", "smear": True, "bigram_rows": 300},
}


def build(device="cpu", **fields) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**SMALL, **fields)).to(device).eval()


def written(engine: Engine) -> list[list[int]]:
    """Ten texts of several lengths in four slots, greedy and sampled; some go up to the last place."""
    rows = []
    for i in range(10):
        params = SamplingParams(max_new_tokens=6 * i + 3, temperature=float(i % 2), seed=i)
        rows += engine.submit(Request([i, 2 * i, 7] * (i // 3 + 1), params, rows=(0, 1)[: 1 + i % 2]))
    while not engine.is_idle:
        engine.step()
    return [row.written for row in rows]


@pytest.mark.parametrize("n_guesses", [0, 7])
@pytest.mark.parametrize("name", MODELS)
def test_fixed_passes_write_the_same(name, n_guesses):
    settings = EngineSettings(n_slots=4, n_guesses=n_guesses)
    expected = written(Engine(build(**MODELS[name]), settings))
    engine = Engine(build(**MODELS[name]), settings)
    fixed = engine.slots.fixed = FixedPasses(engine.model, engine.slots.cache, "eager", n_guesses)
    assert written(engine) == expected
    assert {B for B, _, _ in fixed.passes} >= {2, 4}, "rows come and go, and sizes are rounded up"


@pytest.mark.slow
def test_compiled_passes_write_the_same():
    settings = {"n_slots": 4, "n_guesses": 7}
    expected = written(Engine(build(), EngineSettings(**settings)))
    assert written(Engine(build(), EngineSettings(**settings, decoding="compile"))) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("decoding", ["graphs", "compile"])
@pytest.mark.parametrize("name", MODELS)
def test_on_a_gpu_captured_passes_write_the_same(name, decoding):
    settings = {"n_slots": 4, "n_guesses": 7}
    expected = written(Engine(build("cuda", **MODELS[name]), EngineSettings(**settings)))
    assert written(Engine(build("cuda", **MODELS[name]), EngineSettings(**settings, decoding=decoding))) == expected


def test_what_cannot_be_captured_is_refused():
    with pytest.raises(ValueError, match="decoding: got graphs, which need a CUDA device; give eager"):
        Engine(build(), EngineSettings(decoding="graphs"))
    wide = prepare(GPT(GPTConfig(**SMALL | {"n_embd": 128})).eval())
    with pytest.raises(ValueError, match=r"decoding: got compile, .* give weights=stored"):
        Engine(wide, EngineSettings(decoding="compile"))
