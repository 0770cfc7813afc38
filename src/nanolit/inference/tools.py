"""What a model may ask in the middle of an answer, and the calculator, the one that nanochat's data was made with.

The engine hands a tool what stands between <|python_start|> and <|python_end|> and forces what it says into the answer
(tool_calls.py). SFT, RL, evaluation and chat are given the same objects: `tools=[Calculator()]`. A tool of one's own is
any object with a name and a call; it is called in the engine's thread, so it must be quick and must not raise.
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Protocol

MAX_CHARS = 500  # of an expression
MAX_DEPTH = 60  # of parentheses, signs and powers in each other
MAX_DIGITS = 100  # of every whole number on the way, the result included
LIMIT = 10**MAX_DIGITS


class Tool(Protocol):
    """Asked from any thread, from several at once."""

    @property
    def name(self) -> str:
        """By which tokens it is called: "python"."""

    def __call__(self, code: str) -> str | None:
        """What it says, or None for nothing."""


class Calculator:
    """Arithmetic on numbers, `"text".count("t")` and `len("text")`, as Python computes and prints it.

    Numbers may have thousands commas (1,234.5). Anything else, what has no finite result, and what has more than 100
    digits on the way gets no answer. Floats are as Python's `str` prints them, 0.1+0.2 with all its digits: so they
    stand in the data that models learn from. Nothing is run, and time is bounded because length, depth and every number
    on the way are.
    """

    name = "python"

    def __call__(self, code: str) -> str | None:
        try:
            return str(_Expression(code).value())
        except (ValueError, ArithmeticError):  # division by zero and overflow are arithmetic
            return None


TOOLS: dict[str, Callable[[], Tool]] = {"calculator": Calculator}  # as tasks name them


def tools_by_name(names: Sequence[str]) -> list[Tool]:
    for name in names:
        if name not in TOOLS:
            raise ValueError(
                f"tools: got {name!r}, allowed: {', '.join(TOOLS)}; register it in nanolit.inference.tools.TOOLS"
            )
    return [TOOLS[name]() for name in names]


class _Refused(ValueError):
    """Not among what is computed; told to nobody."""


_TOKEN = re.compile(
    r"""(?:(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])(?:\.[0-9]*)?
                      | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>"[^"\\\r\n]*"|'[^'\\\r\n]*')
    | (?P<sign>\.count\b | len\b | \*\*? | //? | [-+%()])) [ ]*""",
    re.VERBOSE | re.ASCII,
)


class _Expression:
    """Computed while it is read, by the strength of operators (Pratt, 1973).

    Python's own parser is no choice: where several threads parse at once, 3.11 raises SystemError (its recursion depth
    is counted for all of them together).
    """

    def __init__(self, code: str) -> None:
        if len(code) > MAX_CHARS:
            raise _Refused
        self.tokens = list[re.Match[str]]()
        at, code = 0, code.strip()
        while at < len(code):
            token = _TOKEN.match(code, at)
            if token is None:
                raise _Refused
            self.tokens.append(token)
            at = token.end()
        self.tokens.reverse()  # the next one is the last of the list

    def value(self) -> int | float:
        value = self._operand(0, 0)
        if self.tokens:
            raise _Refused
        return value

    def _operand(self, least: int, depth: int) -> int | float:
        """The longest beginning that holds together with operators of strength `least` or more."""
        if depth > MAX_DEPTH:
            raise _Refused
        value = self._first(depth)
        while (sign := self._peek()) in _OPERATORS and _OPERATORS[sign][0] >= least:
            self.tokens.pop()
            strength, compute = _OPERATORS[sign]
            right = self._operand(strength if sign == "**" else strength + 1, depth + 1)
            value = _bounded(compute(value, right))
        return value

    def _first(self, depth: int) -> int | float:
        token = self._next()
        if token["number"]:
            return _bounded(_read_number(token["number"].replace(",", "")))
        if token["text"]:
            self._expect(".count")
            return token["text"][1:-1].count(self._argument())
        match token["sign"]:
            case "-":
                return -self._operand(_OF_SIGN, depth + 1)
            case "+":
                return +self._operand(_OF_SIGN, depth + 1)
            case "len":
                return len(self._argument())
            case "(":
                value = self._operand(0, depth + 1)
                self._expect(")")
                return value
        raise _Refused

    def _argument(self) -> str:
        self._expect("(")
        text = self._next()["text"]
        self._expect(")")
        if not text:
            raise _Refused
        return text[1:-1]

    def _peek(self) -> str | None:
        return self.tokens[-1]["sign"] if self.tokens else None

    def _next(self) -> re.Match[str]:
        if not self.tokens:
            raise _Refused
        return self.tokens.pop()

    def _expect(self, sign: str) -> None:
        if self._next()["sign"] != sign:
            raise _Refused


def _power(base: int | float, exponent: int | float) -> int | float:
    """Refuses before it computes what has surely too many digits."""
    if isinstance(base, int) and isinstance(exponent, int) and (base.bit_length() - 1) * exponent > LIMIT.bit_length():
        raise _Refused
    return base**exponent


_OF_SIGN = 3  # stronger than a product, weaker than a power: -2**2 is -4
_OPERATORS: dict[str | None, tuple[int, Callable[[int | float, int | float], int | float]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
    "//": (2, operator.floordiv),
    "%": (2, operator.mod),
    "**": (4, _power),
}


def _read_number(text: str) -> int | float:
    if not text.isdigit():
        return float(text)
    if text[0] == "0" and text.strip("0"):
        raise _Refused  # 007 is no number of Python's
    return int(text)


def _bounded(value: int | float | complex) -> int | float:
    """Not too many digits, not infinite, and not complex, as a root of a negative number is."""
    if isinstance(value, complex) or (isinstance(value, int) and abs(value) >= LIMIT) or not math.isfinite(value):
        raise _Refused
    return value
