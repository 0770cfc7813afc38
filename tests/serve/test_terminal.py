"""The terminal with a scripted answerer: what is shown where, what a command does, how a message is typed."""

import io
import json

import pytest

from nanolit.serve.terminal import COMMANDS, Terminal, Typed, printable, read_message


class Keyboard:
    """Types lines; an exception stands for a key that raises it. Knows which prompts it saw."""

    def __init__(self, *lines):
        self.lines, self.prompts = list(lines), []

    def __call__(self, prompt):
        self.prompts.append(prompt)
        line = self.lines.pop(0) if self.lines else EOFError()
        if not isinstance(line, str):
            raise line
        return line


@pytest.fixture
def talk(scripted, said):
    """Types `lines` at a model that says `answers`; gives (standard output, standard error, the terminal)."""

    def talk(lines, *answers, colour=False, **settings):
        terminal = Terminal(scripted(*answers, **settings), io.StringIO(), io.StringIO(), colour)
        terminal.converse(Keyboard(*lines))
        return terminal.out.getvalue(), terminal.err.getvalue(), terminal

    return talk


# --- answers ---------------------------------------------------------------------------------------------------------


def test_answers_go_out_and_all_else_aside(talk, said):
    out, err, _ = talk(["Hello", "6*7?"], said("Hi", " there"), said("I say ", "!6", "!*7", "=42", "42."))
    assert out == "Hi there\nI say 42.\n"
    assert err == "[6*7 = 42]\n"


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (("a", "!1+1", "=2", "b"), "[1+1 = 2]"),
        (("!1+1", "=2"), "[1+1 = 2]"),
        (("!1/0", "b"), "[1/0]"),
        (("!1/0",), "[1/0]"),
        (("!1", "=1", "!2", "=2"), "[1 = 1][2 = 2]"),
        (("a", "b"), ""),
    ],
)
def test_tool_calls(talk, said, parts, shown):
    assert talk(["Q"], said(*parts))[1] == shown + "\n"


def test_a_model_cannot_steer_the_terminal(talk, said):
    out, err, _ = talk(["Q"], said("a\x1b[2Jb\rc\x07\x9b31m\u202e\n\tend", "!\x1b]0;x\x07", "=\x1b[A"), colour=True)
    assert out == "a\\x1b[2Jb\\rc\\x07\\x9b31m\\u202e\n\tend\n"
    assert err.replace("\033[2m", "").replace("\033[0m", "") == "[\\x1b]0;x\\x07 = \\x1b[A]\n"


@pytest.mark.parametrize(
    "text", ["é 日本 😀 👨\u200d👩\u200d👧 ❤\ufe0f", "a\u00a0b\u3000c\u202fd", "नमस्ते", "می\u200cخواهم", "\n\t"]
)
def test_what_people_write_is_printable(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    "char", ["\x00", "\x1b", "\r", "\x7f", "\x80", "\x9b", "\u2028", "\u202e", "\u2066", "\ufeff", "\ud800"]
)
def test_what_could_do_something_is_spelt_out(char):
    assert printable(f"a{char}b") == f"a{ascii(char)[1:-1]}b"


def test_colours_are_only_aside(talk, said):
    lines, answers = ["/top_k", "Q"], said("a", "!1", "=1")
    plain = talk(lines, answers)
    coloured = talk(lines, said("a", "!1", "=1"), colour=True)
    assert "\033" not in plain[0] + plain[1] + coloured[0]
    assert coloured[1].replace("\033[2m", "").replace("\033[0m", "") == plain[1] and "\033[2m" in coloured[1]


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        ("stop", ""),
        ("length", "(cut off; max_new_tokens: 2)\n"),
        ("error", "(the model failed)\n"),
        ("cancelled", "(stopped)\n"),
    ],
)
def test_how_an_answer_ended(talk, said, finish, told):
    assert talk(["Q"], said("a", finish=finish), max_new_tokens=2)[1] == told + "\n"


def test_a_full_context(talk, said):
    assert "(cut off; the model sees 1000 tokens)" in talk(["Q"], said("a", finish="length"))[1]


def test_left_out_and_too_long(talk, said):
    lines = ["a" * 20, "b" * 20, "c" * 200]
    out, err, _ = talk(lines, said("x"), said("y"), block_size=58, max_new_tokens=10)
    assert out == "x\ny\n"
    assert "(the oldest 2 messages have no room any more and are left out)\nyour message: got 204 tokens" in err


def test_nothing_said(talk, said):
    out, err, terminal = talk(["Q", "/retry", "/retry"], said(" "), said("Here"), said())
    assert err == "(nothing was said; the message is not kept)\n(nothing was said; the former answer stays)\n\n"
    assert out == " \nHere\n\n"
    assert len(terminal.dialogue.messages) == 2


# --- typing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "typed"),
    [
        (["Hello"], Typed("Hello")),
        (["a\\", "b\\", "c"], Typed("a\nb\nc")),
        (["a\\", ""], Typed("a\n")),
        (['"""', "a", "", " b\\", '"""'], Typed("a\n\n b\\", True)),
        (['"""a', 'b"""'], Typed("a\nb", True)),
        (['"""a"""'], Typed("a", True)),
        (['  """/clear', '"""  '], Typed("/clear", True)),
        (['""""""'], Typed("", True)),
        (['say """hi"""'], Typed('say """hi"""')),
    ],
)
def test_several_lines_are_one_message(lines, typed):
    keyboard = Keyboard(*lines)
    assert read_message(keyboard) == typed and not keyboard.lines
    assert keyboard.prompts == ["> ", *["... "] * (len(lines) - 1)]


def test_what_is_empty_is_not_sent(talk):
    out, err, terminal = talk(["", "   ", '"""', '"""'])
    assert (out, err, terminal.dialogue.worker.asked) == ("", "\n", [])


def test_a_block_is_no_command(talk, said):
    _, _, terminal = talk(['"""/clear"""'], said("ok"))
    assert terminal.dialogue.messages[0]["content"] == "/clear"


# --- leaving and stopping --------------------------------------------------------------------------------------------


def test_ctrl_c_at_the_prompt_clears_the_line_and_leaves_if_repeated(talk, said):
    stop = KeyboardInterrupt()
    out, err, terminal = talk(["a\\", stop, "Q", stop, stop, "never"], said("A"))
    assert out == "A\n" and [m["content"] for m in terminal.dialogue.messages] == ["Q", "A"]
    assert err.count("(Ctrl-C once more, or Ctrl-D, leaves)") == 2


def test_ctrl_c_stops_the_answer_and_not_the_program(talk, said, scripted):
    answers = [said("one ", "!2", finish=None), said("B")]

    def stream(request):
        yield from answers.pop(0)
        if answers:
            raise KeyboardInterrupt

    terminal = Terminal(scripted(), io.StringIO(), io.StringIO())
    terminal.dialogue.worker.stream = stream
    terminal.converse(Keyboard("Q", "R"))
    assert terminal.out.getvalue() == "one \nB\n"
    assert terminal.err.getvalue() == "[2](stopped)\n\n"
    assert [m["role"] for m in terminal.dialogue.messages] == ["user", "assistant"] * 2


def test_a_broken_pipe_ends_it(scripted, said):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Terminal(scripted(said("a")), Gone(), io.StringIO()).converse(Keyboard("Q"))


# --- commands --------------------------------------------------------------------------------------------------------


def test_settings(talk, said):
    lines = ["/temperature 0.3", "/top_k null", "/top_p .5", "/max_new_tokens 7", "/temperature", "Q"]
    _, err, terminal = talk(lines, said("A"))
    assert err == "temperature: 0.3\ntop_k: null\ntop_p: 0.5\nmax_new_tokens: 7\ntemperature: 0.3\n\n"
    params = terminal.dialogue.worker.asked[0].params
    assert (params.temperature, params.top_k, params.top_p, params.max_new_tokens) == (0.3, None, 0.5, 7)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/temperature hot", "temperature: got 'hot', expected a number"),
        ("/temperature null", "temperature: got 'null', expected a number"),
        ("/temperature -1", "temperature: got -1.0, must be a number from 0"),
        ("/temperature nan", "temperature: got nan, must be"),
        ("/top_k 1.5", "top_k: got '1.5', expected a whole number"),
        ("/top_k 0", "top_k: got 0, must be at least 1"),
        ("/max_new_tokens 0", "max_new_tokens: got 0"),
        ("/retyr", "/retyr: no such command; did you mean /retry?"),
        ("/", "/: no such command; allowed here: clear, help"),
        ("/xyzzy me", "/xyzzy: no such command; allowed here:"),
        ("/retry", "nothing has been asked yet"),
        ("/save", "/save: to which file?"),
        ("/save x.json", "/save: nothing has been said yet"),
        ("/stats", "no answer yet"),
    ],
)
def test_a_bad_command_is_one_line(talk, line, told):
    _, err, terminal = talk([line])
    assert err.startswith(told) and err.count("\n") == 2 and terminal.dialogue.params.top_k is None


def test_system(talk, said):
    lines = ["/system", "/system Be brief.", "/system", "Q", "/system null", "R"]
    _, err, terminal = talk(lines, said("A"), said("B"))
    assert err == "system: null\nsystem: Be brief.\nsystem: Be brief.\nsystem: null\n\n"
    sent = [terminal.dialogue.worker.tokenizer.decode(request.prompt) for request in terminal.dialogue.worker.asked]
    assert "Be brief.\n\nQ" in sent[0] and "Be brief" not in sent[1]


def test_clear_and_retry(talk, said):
    lines = ["Q", "/retry", "/clear", "R"]
    out, _, terminal = talk(lines, said("A"), said("B"), said("C"))
    assert out == "A\nB\nC\n"
    assert [m["content"] for m in terminal.dialogue.messages] == ["R", "C"]


def test_save(talk, said, tmp_path):
    file = tmp_path / "my chat.json"
    lines = ["/system Be brief.", "6*7?", f"/save {file}", "Ça?", f"/save  {file} "]
    _, err, terminal = talk(lines, said("I ", "!6*7", "=42"), said("日本"))
    assert f"saved 2 messages to {file}" in err and f"saved 4 messages to {file}" in err
    text = file.read_text(encoding="utf-8")
    assert json.loads(text) == terminal.dialogue.whole() and text.count("\n") == 1 and "日本" in text

    _, err, _ = talk(["Q", f"/save {file}"], said("A"))
    assert f"/save: {file} exists already; choose another name" in err and file.read_text(encoding="utf-8") == text
    out, err, _ = talk(["Q", f"/save {file}/x.json", f"/save {tmp_path}", "R"], said("A"), said("B"))
    assert f"{file}" in err and f"{tmp_path} exists already" in err and out == "A\nB\n"


def test_help_and_quit(talk):
    _, err, _ = talk(["/help", "/quit", "never"])
    assert all(f"/{name}" in err for name in COMMANDS) and "Ctrl-C stops an answer" in err


def test_stats(talk, said):
    _, err, _ = talk(["Q", "/stats"], said("a", "b"))
    assert err.startswith("last answer: 3 tokens in")
