"""What a request gets depends on its prompt, its parameters and its seed, never on who else is there or how it was
scheduled: equal to computing everything anew for each token, alone.
"""

import random

import pytest
import torch

from nanolit.inference.engine import Engine
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.request import Request
from nanolit.inference.sample import bias_vector, has_penalties, penalized, row_generators, sample
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT

SMALL = {"vocab_size": 40, "block_size": 96, "n_layer": 3, "n_head": 4, "n_embd": 32}
MODELS = {
    "gpt2": {"mlp": "gelu_tanh"},
    "llama": {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "n_kv_head": 2, "tie_embeddings": False},
    "windows": {"position": "rope", "window": 6, "window_pattern": "SSL", "n_kv_head": 1, "qk_norm": True},
    "late features": {
        **{"position": "rope", "smear": True, "bigram_rows": 100, "value_embeddings": True, "softcap": 15.0},
        **{"layer_scalars": True, "backout": True, "embed_norm": True},
    },
}
STOP = 39


def build(name: str) -> GPT:
    """In double precision: sums in another order do not matter there, and every difference is a mistake."""
    torch.manual_seed(1)
    model = GPT(GPTConfig(**SMALL, **MODELS[name])).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def ask(dice: random.Random, i: int, beginnings: list[list[int]]) -> Request:
    prompt = dice.choice(beginnings)[: dice.randrange(1, 60)] + [
        dice.randrange(39) for _ in range(dice.randrange(1, 9))
    ]
    wishes = dice.choice([{}, {"top_k": 5}, {"top_p": 0.8, "min_p": 0.02}, {"repetition_penalty": 1.3}])
    wishes |= dice.choice([{}, {"presence_penalty": 0.5, "frequency_penalty": -0.3}])
    params = SamplingParams(
        max_new_tokens=dice.randrange(1, 30),
        temperature=dice.choice([0.0, 0.7, 1.0]),
        seed=dice.randrange(100),
        **wishes,
    )
    rows = sorted(dice.sample(range(6), dice.choice([1, 1, 2, 3])))
    bias = {dice.randrange(39): dice.choice([2.0, -100.0])} if dice.random() < 0.3 else {}
    return Request(prompt, params, rows, frozenset({STOP}), bias, client=f"client {i % 3}")


@torch.no_grad()
def alone(model: GPT, request: Request) -> list[list[int]]:
    texts = []
    for generator in row_generators(request.params, request.rows):
        ids, counts = list(request.prompt), {}
        while len(ids) < SMALL["block_size"]:
            logits = model(torch.tensor([ids]))[0, -1]
            if has_penalties(request.params) or request.logit_bias:
                bias = bias_vector(request.logit_bias, logits)
                logits = penalized(logits, request.params, request.prompt, counts, bias)
            token = sample(logits[None], request.params, [generator]).item()
            counts[token] = counts.get(token, 0) + 1
            ids.append(token)
            if token == STOP or len(ids) - len(request.prompt) == request.params.max_new_tokens:
                break
        texts.append(ids[len(request.prompt) :])
    return texts


@pytest.mark.parametrize(
    "settings",
    [
        EngineSettings(n_slots=5),
        EngineSettings(n_slots=5, n_guesses=0, reuse_prefixes=False),
        EngineSettings(n_slots=2, n_guesses=15),
    ],
    ids=["as it comes", "plain", "many guesses"],
)
@pytest.mark.parametrize("name", MODELS)
def test_whoever_comes_and_goes_each_text_is_as_if_alone(name, settings):
    model, dice = build(name), random.Random(name)
    engine = Engine(model, settings)
    engine.chunk = 24  # so that prompts come in pieces
    beginnings = [[dice.randrange(39) for _ in range(60)] for _ in range(2)]
    requests = [ask(dice, i, beginnings) for i in range(30)]
    rows, waiting, left = {}, list(enumerate(requests)), set()
    while waiting or not engine.is_idle:
        for _ in range(min(len(waiting), dice.randrange(3))):
            i, request = waiting.pop()
            rows[i] = engine.submit(request)
            if dice.random() < 0.2:
                left.add(i)
        engine.step()
        if left and dice.random() < 0.2:
            for row in rows[left.pop()]:
                engine.cancel(row)
    for i, request in enumerate(requests):
        texts = alone(model, request)
        for row, text in zip(rows[i], texts, strict=True):
            if row.finish == "cancelled":
                assert row.written == text[: len(row.written)]
            else:
                assert row.written == text, f"request {i}, sample {row.number}"
                assert row.finish == ("stop" if text[-1] == STOP else "length")
    assert sum(row.finish != "cancelled" for found in rows.values() for row in found) > 30


@pytest.mark.parametrize("draft", ["gpt2", "windows", "itself"])
def test_a_draft_changes_no_text(draft):
    """Neither one that is always right, nor one that is mostly wrong."""
    model, dice = build("llama"), random.Random(0)
    helper = model if draft == "itself" else build(draft)
    engine = Engine(model, EngineSettings(n_slots=3), draft=helper)
    requests = [ask(dice, i, [[dice.randrange(39) for _ in range(60)]]) for i in range(12)]
    rows = [engine.submit(request) for request in requests]
    n_steps = 0
    while not engine.is_idle:
        engine.step()
        n_steps += 1
    for request, found in zip(requests, rows, strict=True):
        assert [row.written for row in found] == alone(model, request)
    n_tokens = sum(row.n_drawn for found in rows for row in found)
    assert draft != "itself" or n_steps < n_tokens / 3, "right guesses save passes"
