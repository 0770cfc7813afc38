"""The model that other tests chat with: by the plainest loop it says what it has learnt, so faults are elsewhere."""

import random

import pytest
import torch

from nanolit.inference.load import load
from nanolit.tokenizers.chat import has_chat_tokens, render, render_prompt


@pytest.fixture(scope="module")
def opened(chat_model):
    return load(chat_model, "cpu")


@torch.no_grad()
def greedy(model, tokenizer, ids: list[int], expected: list[int], supervised: list[bool]) -> list[int]:
    """The likeliest tokens one by one, each from all before it; what a tool says is put in."""
    said: list[int] = []
    for token, learnt in zip(expected, supervised, strict=True):
        said.append(int(model(torch.tensor([ids + said]))[0, -1].argmax()) if learnt else token)
    return said


def check(opened, conversation) -> None:
    model, tokenizer = opened
    prompt = render_prompt(conversation, tokenizer, drop_answer=True)
    rendered = render(conversation, tokenizer)
    answer, supervised = rendered.ids[len(prompt) :].tolist(), rendered.supervised[len(prompt) :].tolist()
    assert greedy(model, tokenizer, prompt, answer, supervised) == answer


def turn(chat):
    return [{"role": "user", "content": chat[0]}, {"role": "assistant", "content": chat[1]}]


@pytest.mark.parametrize("i", range(8))
@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "Be brief."}]], ids=["", "system"])
def test_each_answer(opened, chats, i, system):
    check(opened, system + turn(chats[i]))


def test_answers_after_others(opened, chats):
    rng = random.Random(1)
    for chat in [*chats, *chats]:
        history = turn(rng.choice(chats[:6])) + turn(rng.choice(chats[:6]))
        check(opened, history + turn(chat))


def test_what_others_rely_on(opened, chats, base_model):
    model, tokenizer = opened
    assert has_chat_tokens(tokenizer) and model.config.block_size == 256
    assert 100 < len(tokenizer.encode(chats[6][1])) < 150
    assert not has_chat_tokens(load(base_model, "cpu")[1])
