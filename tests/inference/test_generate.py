"""Generation against a loop that recomputes everything, and the promises made to each row."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanolit.inference.engine import context_start
from nanolit.inference.generate import generate, generate_ids, stream
from nanolit.inference.params import SamplingParams
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer

TINY = GPTConfig(vocab_size=31, block_size=16, n_layer=2, n_head=4, n_embd=32)
MODERN = {
    "norm": "rmsnorm_noweight", "position": "rope", "mlp": "relu2", "qk_norm": True, "n_kv_head": 2, "bigram_rows": 961,
    "tie_embeddings": False,
}  # fmt: skip
GREEDY = SamplingParams(max_new_tokens=60, temperature=0)
PROMPT = [3, 1, 4, 1, 5]


def build(**fields) -> GPT:
    """Weights far from uniform, so that the text wanders and a wrong context shows."""
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(TINY, **fields))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.fixture(scope="module")
def writer() -> GPT:
    return build(vocab_size=257, block_size=32)


def columns(model, params, rows=(0,), **options) -> list[list[int | None]]:
    """The tokens of each row."""
    return [list(row) for row in zip(*generate_ids(model, PROMPT, params, rows=rows, **options), strict=True)]


@torch.no_grad()
def recomputed(model: GPT, prompt: list[int], n: int) -> list[int]:
    """The likeliest tokens, everything computed anew for each."""
    ids = list(prompt)
    for _ in range(n):
        window = torch.tensor([ids[context_start(len(ids), model.config.block_size) :]])
        ids.append(model.eval()(window)[0, -1].argmax().item())
    return ids[len(prompt) :]


@given(st.integers(1, 1000), st.integers(1, 64))
def test_the_window_is_never_too_long_nor_needlessly_short(n_tokens, block_size):
    start = context_start(n_tokens, block_size)
    assert 0 <= start <= context_start(n_tokens + 1, block_size)
    if n_tokens <= block_size:
        assert start == 0
    else:
        assert block_size - max(1, block_size // 4) < n_tokens - start <= block_size


@pytest.mark.parametrize("fields", [{}, MODERN], ids=["gpt2", "modern"])
def test_greedy_equals_recomputing_everything_beyond_the_block_size(fields):
    model = build(**fields)
    ids = recomputed(model, PROMPT, 60)
    assert len(set(ids)) > 4
    assert columns(model, GREEDY) == [ids]


def test_a_prompt_longer_than_the_block_is_cut_like_any_text():
    model = build()
    long = SamplingParams(max_new_tokens=25, temperature=0)
    first = [token for (token,) in generate_ids(model, PROMPT * 5, long)]
    assert first == recomputed(model, PROMPT * 5, 25)


def test_a_sample_depends_on_its_seed_and_number_alone():
    model, params = build(), SamplingParams(max_new_tokens=40, seed=5, temperature=1.5)
    many = columns(model, params, range(5))
    assert many == columns(model, params, range(5))
    assert many[:2] == columns(model, params, range(2))
    assert many[3:] == columns(model, params, [3, 4])
    assert len({row[0] for row in many}) > 1, "rows part from the first token on"
    assert many != columns(model, dataclasses.replace(params, seed=6), range(5))


def test_a_row_ends_at_a_stop_id_and_the_others_go_on():
    model, params = build(), SamplingParams(max_new_tokens=40, seed=5, temperature=1.5)
    free = columns(model, params, range(3))
    stop = free[0][4]
    lengths = []
    for row, whole in zip(columns(model, params, range(3), stop_ids=[stop]), free, strict=True):
        end = whole.index(stop) if stop in whole else len(whole)
        assert row == whole[:end] + [None] * (len(row) - end)
        lengths.append(end)
    assert min(lengths) <= 4 < max(lengths)


def test_ids_that_nobody_can_write_are_never_drawn():
    model = build(vocab_size=27, vocab_multiple=32)
    params = SamplingParams(max_new_tokens=300, temperature=50.0, seed=0)
    assert max(columns(model, params)[0]) == 26
    assert max(columns(model, params, n_ids=20)[0]) == 19


def test_dropout_is_off_and_the_mode_comes_back():
    model = build(dropout=0.5).train()
    assert columns(model, GREEDY) == columns(model, GREEDY)
    assert model.training
    half = generate_ids(model, PROMPT, GREEDY)
    next(half)
    half.close()
    assert model.training


def test_repetition_penalty_looks_at_the_prompt_and_at_the_text():
    free = columns(build(), GREEDY)[0][:6]
    assert set(free) & set(PROMPT) or len(set(free)) < 6
    tokens = columns(build(), dataclasses.replace(GREEDY, repetition_penalty=1e9))[0][:6]
    assert not set(tokens) & set(PROMPT) and len(set(tokens)) == 6


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="prompt: got no tokens"):
        list(generate_ids(build(), [], GREEDY))
    with pytest.raises(ValueError, match="n_samples: got 0"):
        list(generate_ids(build(), PROMPT, GREEDY, rows=[]))


# Text


def test_streamed_text_equals_the_finished_one(writer):
    params = SamplingParams(max_new_tokens=80, seed=2)
    texts = generate(writer, ByteTokenizer(), "Ahoy", params, n_samples=3)
    assert len(set(texts)) == 3
    for row, text in enumerate(texts):
        pieces = list(stream(writer, ByteTokenizer(), "Ahoy", params, row=row))
        assert "".join(pieces) == text


def test_an_empty_text_begins_a_document_where_the_tokenizer_can(writer):
    params = SamplingParams(max_new_tokens=20, seed=2)
    expected = [token for (token,) in generate_ids(writer, [256], params, stop_ids=[256]) if token is not None]
    assert generate(writer, ByteTokenizer(), "", params) == [bytes(expected).decode("utf-8", errors="replace")]
    with pytest.raises(ValueError, match="prompt: got an empty one"):
        generate(writer, CharTokenizer("abc"), "", params)


def test_text_ends_before_a_stop_string(writer):
    params = SamplingParams(max_new_tokens=80, seed=2)
    free = generate(writer, ByteTokenizer(), "Ahoy", params, n_samples=2)
    stop = free[0][20:23]
    stopped = generate(writer, ByteTokenizer(), "Ahoy", dataclasses.replace(params, stop=(stop,)), n_samples=2)
    assert stopped == [text[: text.index(stop)] if stop in text else text for text in free]
    assert stopped[0] != free[0]


@pytest.mark.parametrize("prompt", ["Ahoy", ""])
def test_what_must_stand_before_every_text_does(writer, prompt):
    tokenizer = ByteTokenizer()
    tokenizer.bos_id = 7
    params = SamplingParams(max_new_tokens=30, temperature=0)
    ids = [i for (i,) in generate_ids(writer, [7, *prompt.encode()], params, stop_ids=(256,)) if i is not None]
    assert generate(writer, tokenizer, prompt, params) == [tokenizer.decode(ids)]
    assert "".join(stream(writer, tokenizer, prompt, params)) == tokenizer.decode(ids)
    assert generate(writer, ByteTokenizer(), prompt, params) != [tokenizer.decode(ids)]
