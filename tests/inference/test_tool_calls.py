"""Tools in the middle of an answer, seen from both sides: what the model gets, and what is shown."""

import logging

import pytest
import torch
from torch import nn

from nanolit.inference.answer import TextRequest
from nanolit.inference.params import SamplingParams
from nanolit.inference.tool_calls import ToolCalls
from nanolit.inference.tools import Calculator
from nanolit.inference.worker import Worker
from nanolit.models.config import GPTConfig
from nanolit.tokenizers.bpe import SPLIT_PATTERN, BPETokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS

CHAT = BPETokenizer(
    {bytes([byte]): byte for byte in range(256)}, {name: 256 + i for i, name in enumerate(CHAT_SPECIALS)}, SPLIT_PATTERN
)
PROMPT = [CHAT.specials["<|bos|>"], 65]


def ids(*parts: str) -> list[int]:
    return [i for part in parts for i in ([CHAT.specials[part]] if part in CHAT.specials else CHAT.encode(part))]


class Heard:
    def __init__(self) -> None:
        self.ids: list[int] = []

    def repeat(self, n):
        raise AssertionError


class Script(nn.Module):
    """A network that says `answer`, in which what tools say has its place, and remembers all that it was given."""

    def __init__(self, answer: list[int]) -> None:
        super().__init__()
        self.config = GPTConfig(vocab_size=CHAT.vocab_size, block_size=200, n_layer=1, n_head=1, n_embd=8)
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer, self.heard = answer, Heard()

    def new_cache(self, batch, max_len):
        self.heard = Heard()
        return self.heard

    def forward(self, ids, targets=None, cache=None, last_only=False, documents=None):
        cache.ids += ids[0].tolist()
        place = min(len(cache.ids) - len(PROMPT), len(self.answer) - 1)
        return nn.functional.one_hot(torch.tensor([[self.answer[place]]]), CHAT.vocab_size).float()


def ask(answer: list[int], tools=None, **params):
    network = Script(answer)
    worker = Worker(network, CHAT, tools=tools)
    try:
        settings = SamplingParams(**{"temperature": 0.0, "max_new_tokens": 100} | params)
        pieces = list(worker.stream(TextRequest(PROMPT, settings, chat=True)))
    finally:
        worker.close()
    shown: list[list[str]] = []
    for piece in pieces:
        if shown and shown[-1][0] == piece.kind:
            shown[-1][1] += piece.text
        elif piece.text or piece.kind == "python_output":
            shown.append([piece.kind, piece.text])
    return shown, pieces[-1], network.heard.ids[len(PROMPT) :]


CALL = ("12*12 is ", "<|python_start|>", "12*12", "<|python_end|>")


def test_what_the_calculator_says_is_forced_in_and_shown_as_such():
    said = ids(*CALL, "<|output_start|>", "144", "<|output_end|>", ", so é.", "<|assistant_end|>")
    shown, last, heard = ask(said)
    assert shown == [["text", "12*12 is "], ["python", "12*12"], ["python_output", "144"], ["text", ", so é."]]
    assert (last.finish, last.n_tokens) == ("stop", len(said) - len("[144]")), "what was forced is not counted"
    assert heard == said[:-1], "the model sees all of it"


def test_a_call_without_an_answer_goes_on_as_text():
    said = ids("a", "<|python_start|>", "import os", "<|python_end|>", "b", "<|assistant_end|>")
    shown, last, _ = ask(said)
    assert shown == [["text", "a"], ["python", "import os"], ["text", "b"]]
    assert last.finish == "stop"


def test_only_a_tool_speaks_as_a_tool():
    said = ids("<|output_start|>", "143", "<|output_end|>", "<|user_start|>", "x", "<|python_end|>", "y", "<|bos|>")
    assert ask(said)[0] == [["text", "143xy"]]


def test_stop_strings_are_looked_for_in_text_only():
    said = ids("a", "<|python_start|>", "1+1", "<|python_end|>", "<|output_start|>", "2", "<|output_end|>", "b+1c")
    assert ask(said, stop=("+1",))[0] == [["text", "a"], ["python", "1+1"], ["python_output", "2"], ["text", "b"]]


def test_an_answer_may_end_within_a_call():
    shown, last, _ = ask(ids("a", "<|python_start|>", "123456"), max_new_tokens=5)
    assert shown == [["text", "a"], ["python", "123"]]
    assert (last.finish, last.n_tokens) == ("length", 5)


def test_a_tool_without_words_is_told_too():
    def silent(code):
        return ""

    silent.name = "python"
    said = ids(
        "<|python_start|>", "1", "<|python_end|>", "<|output_start|>", "<|output_end|>", "b", "<|assistant_end|>"
    )
    assert ask(said, [silent])[0] == [["python", "1"], ["python_output", ""], ["text", "b"]]


class Tool:
    name = "python"

    def __init__(self, answers) -> None:
        self.answers = answers

    def __call__(self, code: str) -> str | None:
        return self.answers[code]


def test_the_first_tool_with_an_answer_is_heard_and_one_that_fails_is_not(caplog):
    calls = ToolCalls(CHAT, [Tool({"a": None}), Tool({"a": "1", "b": "2"}), Calculator()])
    assert calls(ids("<|python_start|>", "a", "<|python_end|>")) == ids("<|output_start|>", "1", "<|output_end|>")
    with caplog.at_level(logging.ERROR):
        assert calls(ids("<|python_start|>", "b", "<|python_end|>")) == ids("<|output_start|>", "2", "<|output_end|>")
        assert calls(ids("<|python_start|>", "2*3", "<|python_end|>")) == ids("<|output_start|>", "6", "<|output_end|>")
        wrong = ToolCalls(CHAT, [Tool({"c": 42}), Tool({"c": "9" * 100_000})])
        assert wrong(ids("<|python_start|>", "c", "<|python_end|>")) == ids(
            "<|output_start|>", "9" * 8000, "<|output_end|>"
        )
    assert "the tool 'python' failed on 'b'" in caplog.text


def test_an_end_without_a_beginning_asks_nothing():
    calls = ToolCalls(CHAT, [Calculator()])
    assert calls(ids("1+1", "<|python_end|>")) == []
    assert calls(ids("<|python_start|>", "1+1")) == []


def test_a_tool_that_nothing_calls_is_refused():
    class Search:
        name = "search"

        def __call__(self, code):
            return None

    with pytest.raises(ValueError, match=r"tools: 'search' is called by <\|search_start\|>"):
        ToolCalls(CHAT, [Search()])
