"""The conversation as a terminal has it: lines are read, commands obeyed, answers shown while they come.

The model's text goes to standard output, everything else (what a tool said, notices, figures) to standard error, so
that a redirected output holds answers only. A model's text cannot steer the terminal.
"""

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from nanolit.inference.answer import Piece
from nanolit.runtime.files import atomic_path
from nanolit.runtime.suggest import suggest
from nanolit.serve.dialogue import Dialogue

PROMPT, GOES_ON = "> ", "... "
BLOCK = '"""'
JOINERS = "\u200c\u200d"  # invisible, but letters of several scripts and families of emoji need them


def printable(text: str) -> str:
    """With everything spelt out that could steer a terminal or turn the direction of a line: \\x1b, \\u202e."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    is_safe = char in "\n\t" or char in JOINERS or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return char if is_safe else ascii(char)[1:-1]


# Reading


class Typed(NamedTuple):
    text: str
    is_block: bool = False  # then it is no command, whatever it begins with


def read_message(read_line: Callable[[str], str]) -> Typed:
    """One message or command; a line that ends in a backslash goes on, and so does everything between two \"\"\"."""
    line = read_line(PROMPT)
    if line.lstrip().startswith(BLOCK):
        lines = [line.lstrip().removeprefix(BLOCK)]
        while not lines[-1].rstrip().endswith(BLOCK):
            lines.append(read_line(GOES_ON))
        text = "\n".join([*lines[:-1], lines[-1].rstrip().removesuffix(BLOCK)])
        return Typed(text.strip("\n"), is_block=True)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1].removesuffix("\\")
        lines.append(read_line(GOES_ON))
    return Typed("\n".join(lines))


def type_line(prompt: str) -> str:
    """From the keyboard, with what the system has for editing a line. What was typed is kept nowhere."""
    with suppress(ImportError):
        import readline  # noqa: F401  input() edits with it
    if sys.stdout.isatty():
        return input(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)  # input() would write it to the file
    return input()


# Commands


class Command(NamedTuple):
    argument: str
    help: str
    obey: Callable[["Terminal", str], None]


SETTINGS: dict[str, type[int] | type[float]] = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "max_new_tokens": int,
}


def _set(name: str) -> Callable[["Terminal", str], None]:
    def obey(terminal: "Terminal", argument: str) -> None:
        dialogue = terminal.dialogue
        if argument:
            changes: dict[str, Any] = {name: _number(name, argument)}
            dialogue.params = replace(dialogue.params, **changes)
        value = getattr(dialogue.params, name)
        terminal.notice(f"{name}: {'null' if value is None else value}")

    return obey


def _number(name: str, text: str) -> int | float | None:
    if text == "null" and name in ("top_k", "top_p"):
        return None
    try:
        return SETTINGS[name](text)
    except ValueError:
        expected = "a whole number" if SETTINGS[name] is int else "a number"
        raise ValueError(f"{name}: got {text!r}, expected {expected}") from None


def _set_system(terminal: "Terminal", argument: str) -> None:
    if argument:
        terminal.dialogue.system = None if argument == "null" else argument
    terminal.notice(f"system: {terminal.dialogue.system or 'null'}")


def _clear(terminal: "Terminal", _: str) -> None:
    terminal.dialogue.clear()
    terminal.notice("a new conversation; settings are as they were")


def _retry(terminal: "Terminal", _: str) -> None:
    terminal.show(terminal.dialogue.ask_again())


def _save(terminal: "Terminal", argument: str) -> None:
    """One line of JSON, which is also a line of a .jsonl to train on (data=conversations)."""
    if not argument:
        raise ValueError("/save: to which file? /save FILE")
    if not terminal.dialogue.messages:
        raise ValueError("/save: nothing has been said yet")
    path = Path(argument).expanduser()
    if path.exists() and path not in terminal.saved:
        raise ValueError(f"/save: {path} exists already; choose another name, or remove it first")
    with atomic_path(path) as file:
        file.write_text(json.dumps(terminal.dialogue.whole(), ensure_ascii=False) + "\n", encoding="utf-8")
    terminal.saved.add(path)
    terminal.notice(f"saved {len(terminal.dialogue.messages)} messages to {path}")


def _stats(terminal: "Terminal", _: str) -> None:
    figures = terminal.dialogue.figures
    terminal.notice("no answer yet" if figures is None else str(figures))


def _help(terminal: "Terminal", _: str) -> None:
    for name, command in COMMANDS.items():
        terminal.notice(f"  {f'/{name} {command.argument}':<20} {command.help}")
    terminal.notice(f"  A line that ends in \\ goes on, and so does what stands between two {BLOCK}.")
    terminal.notice("  Ctrl-C stops an answer, Ctrl-D leaves.")


def _quit(terminal: "Terminal", _: str) -> None:
    raise EOFError


COMMANDS = {
    "temperature": Command("X", "0: always the likeliest token", _set("temperature")),
    "top_k": Command("N", "only the N likeliest tokens; null: all", _set("top_k")),
    "top_p": Command("P", "only the likeliest that reach probability P; null: all", _set("top_p")),
    "max_new_tokens": Command("N", "the longest answer", _set("max_new_tokens")),
    "system": Command("TEXT", "what the model is told before everything; null: nothing", _set_system),
    "clear": Command("", "begin a new conversation", _clear),
    "retry": Command("", "answer the last message anew, also one that got no answer", _retry),
    "save": Command("FILE", "write the conversation as JSON", _save),
    "stats": Command("", "tokens, seconds and tokens/s of the last answer", _stats),
    "help": Command("", "this list", _help),
    "quit": Command("", "leave", _quit),
}


def obey(terminal: "Terminal", text: str) -> None:
    name, _, argument = text.removeprefix("/").partition(" ")
    name = name.strip()
    if name not in COMMANDS:
        raise ValueError(f"/{name}: no such command; {suggest(name, COMMANDS, prefix='/')}")
    COMMANDS[name].obey(terminal, argument.strip())


# Talking


class Terminal:
    """`colour`: may what is not the model's be dimmed?"""

    def __init__(self, dialogue: Dialogue, out: TextIO, err: TextIO, colour: bool = False) -> None:
        self.dialogue, self.out, self.err, self.colour = dialogue, out, err, colour
        self.saved: set[Path] = set()  # files of this conversation, which it may write again

    def converse(self, read_line: Callable[[str], str] = type_line) -> None:
        """Until the input ends, or Ctrl-C comes twice in a row."""
        was_interrupted = False
        while True:
            try:
                typed = read_message(read_line)
                was_interrupted = False
                self._take(typed)
            except EOFError:
                break
            except KeyboardInterrupt:
                if was_interrupted:
                    break
                was_interrupted = True
                self.notice("\n(Ctrl-C once more, or Ctrl-D, leaves)")
        self.notice("")

    def _take(self, typed: Typed) -> None:
        try:
            if typed.text.startswith("/") and not typed.is_block:
                obey(self, typed.text)
            elif typed.text.strip():
                self.answer(typed.text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.notice(f"{error.filename}: {error.strerror}")
        except ValueError as error:
            self.notice(str(error))

    def notice(self, text: str) -> None:
        self._aside(text + "\n")

    def answer(self, text: str) -> str | None:
        return self.show(self.dialogue.ask(text))

    def show(self, pieces: Iterator[Piece]) -> str | None:
        """An answer while it comes, until Ctrl-C; returns how it ended."""
        n_left_out, kind, finish = self.dialogue.n_left_out, "", None
        try:
            with closing(pieces):  # type: ignore[type-var]  # it is a generator
                for piece in pieces:
                    if self.dialogue.n_left_out > n_left_out:
                        n_left_out = self.dialogue.n_left_out
                        self.notice(f"(the oldest {n_left_out} messages have no room any more and are left out)")
                    finish = piece.finish or finish
                    if piece.text:
                        self._aside(_between(kind, piece.kind))
                        kind = piece.kind
                        self._say(piece.text) if kind == "text" else self._aside(printable(piece.text))
        except KeyboardInterrupt:
            finish = "cancelled"
        self._aside(_between(kind, "text"))
        self._say("\n")
        self._tell(finish)
        return finish

    def _tell(self, finish: str | None) -> None:
        dialogue, n_allowed = self.dialogue, self.dialogue.params.max_new_tokens
        if finish == "length" and dialogue.figures is not None:
            is_full = dialogue.figures.n_tokens < n_allowed
            why = f"the model sees {dialogue.worker.block_size} tokens" if is_full else f"max_new_tokens: {n_allowed}"
            self.notice(f"(cut off; {why})")
        elif finish == "cancelled":
            self.notice("(stopped)")
        elif finish == "error":
            self.notice("(the model failed)")
        if dialogue.was_silent:
            what_stays = "the message is not kept" if dialogue.unanswered is not None else "the former answer stays"
            self.notice(f"(nothing was said; {what_stays})")

    def _say(self, text: str) -> None:
        self.out.write(printable(text))
        self.out.flush()

    def _aside(self, text: str) -> None:
        if text:
            self.err.write(f"\033[2m{text}\033[0m" if self.colour and text.strip() else text)
            self.err.flush()


def _between(kind: str, following: str) -> str:
    """A call and what the tool said to it are shown as [6*7 = 42]."""
    if kind == following:
        return ""
    if following == "python_output":
        return " = "
    return ("]" if kind.startswith("python") else "") + ("[" if following == "python" else "")
