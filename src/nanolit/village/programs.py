"""Tiny functions to be written, each with a reference that computes what its tests expect.

A program's pattern is its kind with its constant; one in five is held out, half of
them for validation and half for the test.
"""

from dataclasses import dataclass

from nanolit.village.draw import Draw, TaskSplit, task_split

HELD_OUT_PER_MILLE = 200
N_TESTS = 4


@dataclass(frozen=True)
class Kind:
    """`ask` and `body` may use {n}, a drawn constant; `takes` says what the function is given."""

    name: str
    ask: str
    body: str
    takes: str = "number"
    limits: tuple[int, int] = (2, 20)


KINDS = (
    Kind("add_{n}", "adds {n} to a number", "x + {n}"),
    Kind("take_{n}", "takes {n} away from a number", "x - {n}"),
    Kind("times_{n}", "multiplies a number by {n}", "x * {n}"),
    Kind("power_{n}", "raises a number to the power of {n}", "x ** {n}", limits=(2, 5)),
    Kind("rest_by_{n}", "gives the rest of a number divided by {n}", "x % {n}"),
    Kind("halves_by_{n}", "divides a number by {n} and drops the rest", "x // {n}"),
    Kind("is_over_{n}", "tells whether a number is greater than {n}", "x > {n}"),
    Kind("is_under_{n}", "tells whether a number is less than {n}", "x < {n}"),
    Kind("is_{n}", "tells whether a number is {n}", "x == {n}"),
    Kind("divides_by_{n}", "tells whether a number can be divided by {n}", "x % {n} == 0"),
    Kind("at_least_{n}", "gives the greater of a number and {n}", "max(x, {n})"),
    Kind("at_most_{n}", "gives the less of a number and {n}", "min(x, {n})"),
    Kind("distance_to_{n}", "gives the distance of a number from {n}", "abs(x - {n})"),
    Kind("first_{n}", "gives the first {n} items of a list", "x[:{n}]", "list", (1, 5)),
    Kind("last_{n}", "gives the last {n} items of a list", "x[-{n}:]", "list", (1, 5)),
    Kind("without_first_{n}", "gives a list without its first {n} items", "x[{n}:]", "list", (1, 5)),
    Kind("count_{n}", "counts how often {n} is in a list", "x.count({n})", "list", (0, 9)),
    Kind("has_{n}", "tells whether {n} is in a list", "{n} in x", "list", (0, 9)),
    Kind("add_{n}_to_all", "adds {n} to each item of a list", "[y + {n} for y in x]", "list"),
    Kind("times_{n}_all", "multiplies each item of a list by {n}", "[y * {n} for y in x]", "list"),
    Kind("over_{n}", "gives the items of a list greater than {n}", "[y for y in x if y > {n}]", "list", (0, 9)),
    Kind("sum_plus_{n}", "gives the sum of a list plus {n}", "sum(x) + {n}", "list"),
    Kind("repeat_{n}", "repeats a text {n} times", "x * {n}", "text", (2, 6)),
    Kind("start_{n}", "gives the first {n} letters of a text", "x[:{n}]", "text", (1, 6)),
    Kind("longer_than_{n}", "tells whether a text is longer than {n}", "len(x) > {n}", "text", (1, 9)),
)  # fmt: skip
WORDS = ("kite", "honey", "willow", "oat", "lantern", "a", "Thimbleford", "sea horn")


@dataclass(frozen=True)
class Program:
    ask: str
    code: str
    tests: str
    name: str


def program(draw: Draw, split: TaskSplit) -> Program:
    while True:
        kind = draw.pick(KINDS)
        n = kind.limits[0] + draw.below(kind.limits[1] - kind.limits[0] + 1)
        if task_split(("program", kind.name, str(n)), HELD_OUT_PER_MILLE) == split:
            break
    name, body = kind.name.format(n=n), kind.body.format(n=n)
    tests = []
    for _ in range(N_TESTS):
        given = _given(draw, kind.takes, n)
        tests.append(f"assert {name}({given!r}) == {_computed(body, given)!r}")
    ask = f"Write a function {name} that {kind.ask.format(n=n)}."
    return Program(ask, f"def {name}(x):\n    return {body}", "\n".join(tests), name)


def _given(draw: Draw, takes: str, n: int) -> object:
    if takes == "number":
        return draw.pick((n, n + 1, n - 1, draw.below(100)))
    if takes == "list":
        return [draw.pick((n, draw.below(10))) for _ in range(draw.below(8))]
    return draw.pick(WORDS)


def _computed(body: str, given: object) -> object:
    """Our own expressions only."""
    return eval(body, {"x": given})
