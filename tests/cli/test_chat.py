"""`nanolit chat` without a model: arguments, one answer, pipes, exit codes. With one: tests/e2e/test_chat.py."""

import io
import signal
import sys

import pytest

from nanolit.cli import chat
from nanolit.cli.chat import ChatConfig


def read(*arguments: str) -> ChatConfig:
    return chat.read(["model=runs/mine", *arguments])


def test_defaults_and_numbers():
    config = read("temperature=0", "top_k=null", "seed=3", "stop=[a, b]", "system=Be brief.", "prompt=null")
    assert (config.temperature, config.top_k, config.seed, config.stop) == (0.0, None, 3, ("a", "b"))
    assert (config.system, config.prompt, config.max_new_tokens) == ("Be brief.", "null", 512)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("prompt=", "prompt: is empty"),
        ("system= ", "system: is empty"),
        ("temperature=hot", "temperature: got 'hot' (str), expected float"),
        ("top_k=0", "top_k: got 0, must be at least 1"),
        ("n_samples=2", "n_samples: no such setting"),
        ("temprature=1", "temprature: no such setting; did you mean temperature?"),
        ("loud", "loud: write each argument as key=value"),
    ],
)
def test_a_bad_value_is_one_line_with_its_name(argument, told):
    with pytest.raises(ValueError) as error:
        read(argument)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


def test_no_model(capsys):
    assert chat.main([]) == 2
    assert capsys.readouterr().err.startswith("error: model: missing; give a run folder")
    assert chat.main(["model=nowhere/at/all", "prompt=Hi"]) == 2
    assert "model:" in capsys.readouterr().err


def test_help(capsys):
    assert chat.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "model=              required" in shown and "temperature=        default 0.8" in shown


def test_a_base_model_is_offered_generate(base_model, capsys):
    assert chat.main([f"model={base_model}", "prompt=Hi"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert "without chat tokens" in told.err and told.err.endswith(f"nanolit generate model={base_model}\n")


class Answerer:
    block_size = 200
    closed = False

    def __init__(self, tokenizer, pieces):
        self.tokenizer, self.pieces, self.asked = tokenizer, pieces, []

    def stream(self, request):
        self.asked.append(self.tokenizer.decode(request.prompt))
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def close(self):
        self.closed = True


@pytest.fixture
def answering(chat_model, monkeypatch):
    """A worker that answers with text, a tool call and `finish`, instead of one with a model."""
    from nanolit.inference.answer import Piece
    from nanolit.tokenizers.directory import load_tokenizer

    def answering(*more, finish="stop"):
        parts = [("text", "It is "), ("python", "6*7"), ("python_output", "42"), ("text", "日本.")]
        pieces = [Piece(0, kind, text, ()) for kind, text in parts]
        worker = Answerer(load_tokenizer(chat_model), [*pieces, *more, Piece(0, "text", "", (), finish, 9)])
        monkeypatch.setattr(chat, "open_worker", lambda config: worker)
        return worker

    return answering


def pipe(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def test_one_answer(answering, capsys):
    worker = answering()
    assert chat.main(["model=m", "prompt=What?", "system=Be brief."]) == 0
    told = capsys.readouterr()
    assert told.out == "It is 日本.\n" and told.err == "[6*7 = 42]"
    assert worker.closed and "Be brief.\n\nWhat?" in worker.asked[0]


def test_from_a_pipe(answering, capsys, monkeypatch):
    worker = answering()
    pipe(monkeypatch, "What\nis it? é\n".encode())
    assert chat.main(["model=m"]) == 0
    assert capsys.readouterr().out == "It is 日本.\n" and "What\nis it? é<|user_end|>" in worker.asked[0]


@pytest.mark.parametrize(
    ("content", "told"), [(b"\xff\xfe", "is not UTF-8 text"), (b" \n", "is empty; send a message")]
)
def test_a_pipe_with_nothing_to_say(answering, capsys, monkeypatch, content, told):
    answering()
    pipe(monkeypatch, content)
    assert chat.main(["model=m"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(f"error: standard input: {told}") and shown.err.count("\n") == 1


def test_exit_codes(answering, capsys):
    answering(finish="length")
    assert chat.main(["model=m", "prompt=What?", "max_new_tokens=9"]) == 0
    assert "(cut off; max_new_tokens: 9)" in capsys.readouterr().err
    answering(finish="error")
    assert chat.main(["model=m", "prompt=What?"]) == 1
    assert "(the model failed)" in capsys.readouterr().err
    answering(KeyboardInterrupt())
    assert chat.main(["model=m", "prompt=What?"]) == 128 + signal.SIGINT
    told = capsys.readouterr()
    assert told.out == "It is 日本.\n" and told.err.endswith("(stopped)\n")
    answering()
    assert chat.main(["model=m", "prompt=" + "long " * 300]) == 2
    assert capsys.readouterr().err.startswith("error: your message: got ")


def test_a_terminal_that_is_not_utf8(answering, monkeypatch):
    answering()
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    assert chat.main(["model=m", "prompt=What?"]) == 0
    assert out.buffer.getvalue() == b"It is \\u65e5\\u672c.\n"


@pytest.mark.parametrize(
    ("is_terminal", "no_color", "dims"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colour(answering, monkeypatch, is_terminal, no_color, dims):
    answering()
    err = io.StringIO()
    monkeypatch.setattr(err, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert chat.main(["model=m", "prompt=What?"]) == 0
    assert ("\033[2m" in err.getvalue()) == dims and "6*7" in err.getvalue()
