"""Problems of the village: who buys, shares, counts, and sums of the school book. Each has an expression for the
calculator and one answer.

A problem's pattern is its shape with its numbers, and one in ten is held out, half of them for validation and half for
the test; so is one pair in ten of a shape and the ware that it tells of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from nanolit.village.draw import Draw, TaskSplit, task_split
from nanolit.village.grammar import plural, with_article
from nanolit.village.world import World, default_world

HELD_OUT_PER_MILLE = 100
MAX_RESULT = 999
TALE_STEPS = 2  # events of the shortest tale, which is told where more steps than these are asked for
TALE_CHANCE = 0.8
SUM_CHANCE = 0.35


@dataclass(frozen=True)
class Shape:
    """`draw` gives the numbers; the texts may use them as {a}, {b}, …, and the people and wares of `_words`."""

    name: str
    steps: int  # operations
    draw: Callable[[Draw], dict[str, int]]
    texts: tuple[str, ...]
    expression: str
    answer: str  # with {n} for the result


@dataclass(frozen=True)
class Problem:
    question: str
    expression: str
    result: int
    answer: str
    is_sum: bool = False  # of the school book: nothing is told, and many a one is answered at once


def _range(**limits: tuple[int, int]) -> Callable[[Draw], dict[str, int]]:
    return lambda draw: {name: low + draw.below(high - low + 1) for name, (low, high) in limits.items()}


def _less(a: tuple[int, int], **limits: tuple[int, int]) -> Callable[[Draw], dict[str, int]]:
    """`a`, from which at least one is left when all others are taken away."""

    def numbers(draw: Draw) -> dict[str, int]:
        while True:
            found = _range(a=a, **limits)(draw)
            if found["a"] > sum(found[name] for name in limits):
                return found

    return numbers


def _shared(by: tuple[int, int], each: tuple[int, int], **limits: tuple[int, int]) -> Callable[[Draw], dict[str, int]]:
    """`a` can be shared among `b` without a rest."""

    def numbers(draw: Draw) -> dict[str, int]:
        found = _range(b=by, each=each, **limits)(draw)
        return {"a": found["b"] * found.pop("each"), **found}

    return numbers


SHAPES = (
    Shape("buy", 1, _range(a=(2, 20), b=(2, 12)), (
        "{Kid} buys {a} {wares} for {b} pennies each. How many pennies does {Kid} pay?",
        "One {ware} costs {b} pennies. How much do {a} {wares} cost?",
    ), "{a} * {b}", "That is {n} pennies."),
    Shape("together", 1, _range(a=(2, 60), b=(2, 60)), (
        "{Kid} has {a} {wares} and {Other} has {b}. How many do they have together?",
        "{Kid} found {a} {wares}, and {Other} found {b}. How many {wares} are that?",
    ), "{a} + {b}", "That is {n} {wares}."),
    Shape("give", 1, _less((6, 60), b=(2, 40)), (
        "{Kid} has {a} {wares} and gives {b} of them to {Other}. How many are left?",
        "Of {a} {wares}, {Kid} sells {b}. How many {wares} does {Kid} still have?",
    ), "{a} - {b}", "{Kid} has {n} {wares} left."),
    Shape("share", 1, _shared((2, 9), (2, 12)), (
        "{b} children share {a} {wares}. How many does each child get?",
        "{Kid} packs {a} {wares} into {b} baskets, as many in each. How many are in a basket?",
    ), "{a} / {b}", "Each has {n} {wares}."),
    Shape("years", 1, _range(a=(6, 40), b=(2, 50)), (
        "{Kid} is {a} years old. How old will {Kid} be in {b} years?",
        "{Kid} is {a}, and {Other} is {b} years older. How old is {Other}?",
    ), "{a} + {b}", "That is {n} years."),
    Shape("legs", 1, _range(a=(2, 40)), (
        "There are {a} goats in the meadow. How many legs do they have?",
        "{Kid} counts {a} donkeys. How many legs is that?",
    ), "{a} * 4", "That is {n} legs."),
    Shape("buy two sorts", 3, _range(a=(2, 12), b=(2, 9), c=(2, 12), d=(2, 9)), (
        "{Kid} buys {a} {wares} for {b} pennies each and {c} {others} for {d} pennies each. How much does {Kid} pay?",
        "A {ware} costs {b} pennies and {a_other} {d}. What do {a} {wares} and {c} {others} cost together?",
    ), "{a} * {b} + {c} * {d}", "That is {n} pennies."),
    Shape("change", 2, _range(a=(2, 9), b=(2, 9), p=(82, 100)), (
        "{Kid} buys {a} {wares} for {b} pennies each and pays with {p} pennies. How many pennies does {Kid} get back?",
        "{Kid} has {p} pennies and buys {a} {wares}. Each costs {b} pennies. How many pennies are left?",
    ), "{p} - {a} * {b}", "{n} pennies are left."),
    Shape("baskets", 2, _less((30, 60), c=(2, 20)), (
        "There are 2 baskets with {a} {wares} in each. {Kid} takes {c} away. How many {wares} are left?",
        "{Kid} and {Other} have {a} {wares} each. They give {c} away. How many do they have now?",
    ), "2 * {a} - {c}", "{n} {wares} are left."),
    Shape("days", 2, _range(a=(2, 9), b=(2, 9), c=(2, 9)), (
        "{Kid} makes {a} {wares} every day for {b} days, and then {c} more. How many {wares} does {Kid} have?",
        "On {b} days {Kid} finds {a} {wares}, and {Other} brings {c}. How many {wares} are there?",
    ), "{a} * {b} + {c}", "That is {n} {wares}."),
    Shape("save", 2, _less((20, 90), b=(2, 9), c=(2, 9)), (
        "{Kid} has {a} pennies and spends {b} on {a_ware} and {c} on {a_other}. How many pennies are left?",
        "From {a} {wares}, {Kid} takes {b} and {Other} takes {c}. How many {wares} are left?",
    ), "{a} - {b} - {c}", "{n} are left."),
    Shape("more", 2, _range(a=(2, 30), b=(2, 30)), (
        "{Kid} has {a} {wares}. {Other} has {b} more. How many do they have together?",
        "{Kid} found {a} {wares}, and {Other} found {b} more than {Kid}. How many {wares} are that?",
    ), "{a} + {a} + {b}", "Together they have {n}."),
    Shape("three sell", 2, _range(a=(2, 60), b=(2, 60), c=(2, 60)), (
        "On Monday {Kid} sells {a} {wares}, on Tuesday {b} and on Friday {c}. How many {wares} does {Kid} sell?",
        "{Kid} has {a} {wares}, {Other} has {b}, and there are {c} in the barn. How many {wares} are there?",
    ), "{a} + {b} + {c}", "That is {n} {wares}."),
    Shape("share and add", 2, _shared((2, 6), (2, 9), c=(2, 20)), (
        "{b} children share {a} {wares}. {Kid} is one of them and had {c} before. How many does {Kid} have now?",
        "{a} {wares} are packed into {b} baskets, as many in each. {Kid} puts {c} more into one. How many are in it?",
    ), "{a} / {b} + {c}", "That is {n} {wares}."),
    Shape("two buy", 3, _range(a=(2, 9), b=(2, 9), c=(2, 9), p=(85, 100)), (
        "{Kid} buys {a} {wares} and {Other} buys {c}. Each costs {b} pennies. They pay with {p} pennies. What is left?",
        "{Kid} has {p} pennies. {a} {wares} and {c} more cost {b} pennies each. What is left of the pennies?",
    ), "{p} - ({a} + {c}) * {b}", "{n} pennies are left."),
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """What happens to a heap of wares; the number of terms that it adds to the expression is one or two."""

    texts: tuple[str, ...]
    term: str
    limits: tuple[int, int]  # of {a}
    more_limits: tuple[int, int] = (0, 0)  # of {b}


EVENTS = (
    Event(("{Kid} finds {a} more.", "{Other} gives {a} to {Kid}.", "Then {Kid} gets {a} more."), " + {a}", (2, 30)),
    Event(("{Kid} loses {a} of them.", "{Kid} gives {a} to {Other}.", "{Other} takes {a} away."), " - {a}", (2, 20)),
    Event(
        ("{Kid} buys {a} bags with {b} in each.", "{Other} brings {a} boxes of {b}."), " + {a} * {b}", (2, 9), (2, 9)
    ),
    Event(("{Kid} gives {b} to each of {a} friends.", "{a} children get {b} each."), " - {a} * {b}", (2, 6), (2, 6)),
)
ASIDES = (  # they change nothing
    "{Other} has {a} of them.", "{Kid} is {a} years old.", "It is day {a} of the month.", "{Other} wants {a}.",
)  # fmt: skip
BEGINNINGS = ("{Kid} has {a} {wares}.", "In the basket of {Kid} are {a} {wares}.", "{Kid} begins with {a} {wares}.")
ENDINGS = ("How many {wares} does {Kid} have now?", "How many {wares} are there in the end?", "How many are left?")
ASIDE_CHANCE = 0.5


def _tale(draw: Draw, n_events: int, words: dict[str, str]) -> tuple[str, str]:
    """A heap of wares, to which this and that happens; the text, and what is to be calculated."""
    while True:
        start = 5 + draw.below(75)
        sentences = [draw.pick(BEGINNINGS).format(a=start, **words)]
        expression = str(start)
        for _ in range(n_events):
            event = draw.pick(EVENTS)
            numbers = {"a": _between(draw, event.limits), "b": _between(draw, event.more_limits)}
            sentences.append(draw.pick(event.texts).format(**numbers, **words))
            expression += event.term.format(**numbers)
        if draw.chance(ASIDE_CHANCE):
            aside = draw.pick(ASIDES).format(a=_between(draw, (2, 30)), **words)
            sentences.insert(1 + draw.below(n_events), aside)
        sentences.append(draw.pick(ENDINGS).format(**words))
        if 0 < _result(expression, {}) <= MAX_RESULT:
            return " ".join(sentences), expression


SUM_TEXTS = ("What is {}?", "Calculate {}.", "How much is {}?", "Work out {}.")


def _sum_problem(draw: Draw, split: TaskSplit, max_steps: int) -> Problem:
    """A sum as the school book has it: one product at most, then terms to add and to take away."""
    while True:
        terms = [str(_between(draw, (2, 99)))]
        if draw.chance(0.4):
            terms = [f"{_between(draw, (2, 30))} * {_between(draw, (2, 9))}"]
        for _ in range(1 + draw.below(min(max_steps, 3))):
            terms.append(f"{draw.pick(('+', '-'))} {_between(draw, (2, 99))}")
        expression = " ".join(terms)
        result = _result(expression, {})
        if 0 <= result <= MAX_RESULT and task_split((expression,), HELD_OUT_PER_MILLE) == split:
            return Problem(draw.pick(SUM_TEXTS).format(expression), expression, result, f"That is {result}.", True)


def _between(draw: Draw, limits: tuple[int, int]) -> int:
    return limits[0] + draw.below(limits[1] - limits[0] + 1)


@cache
def shapes(max_steps: int) -> tuple[Shape, ...]:
    return tuple(shape for shape in SHAPES if shape.steps <= max_steps)


def problem(draw: Draw, split: TaskSplit, max_steps: int) -> Problem:
    """Draws until pattern and ware belong to the split: neither may be of another, but of the training one."""
    world = default_world()
    kids, goods = tuple(world.children), tuple(world.goods)
    if draw.chance(SUM_CHANCE):
        return _sum_problem(draw, split, max_steps)
    if max_steps > TALE_STEPS and draw.chance(TALE_CHANCE):
        return _tale_problem(draw, split, max_steps)
    while True:
        shape = draw.pick(shapes(max_steps))
        numbers, good = shape.draw(draw), draw.pick(goods)
        pattern = (shape.name, *(f"{name}={value}" for name, value in numbers.items()))
        splits = {task_split(pattern, HELD_OUT_PER_MILLE)}
        if "ware" in shape.texts[0]:
            splits.add(task_split((shape.name, good), HELD_OUT_PER_MILLE))
        result = _result(shape.expression, numbers)
        if split not in splits or not splits <= {split, "train"} or not 0 <= result <= MAX_RESULT:
            continue
        words = _words(world, draw, good, kids, goods)
        text = draw.pick(shape.texts).format(**words, **numbers)
        answer = shape.answer.format(**words, n=result)
        return Problem(text, shape.expression.format(**numbers), result, answer)


def _tale_problem(draw: Draw, split: TaskSplit, max_steps: int) -> Problem:
    world = default_world()
    kids, goods = tuple(world.children), tuple(world.goods)
    while True:
        good = draw.pick(goods)
        words = _words(world, draw, good, kids, goods)
        text, expression = _tale(draw, TALE_STEPS + draw.below(max_steps - TALE_STEPS + 1), words)
        if task_split((expression,), HELD_OUT_PER_MILLE) == split:
            result = _result(expression, {})
            return Problem(text, expression, result, f"That makes {result} {words['wares']}.")


def _words(world: World, draw: Draw, good: str, kids: tuple[str, ...], goods: tuple[str, ...]) -> dict[str, str]:
    kid = draw.pick(kids)
    other, second = kid, good
    while other == kid:
        other = draw.pick(kids)
    while second == good:
        second = draw.pick(goods)
    return {
        "Kid": kid, "Other": other, "ware": good, "wares": plural(good), "a_ware": with_article(good),
        "others": plural(second), "a_other": with_article(second),
    }  # fmt: skip


def _result(expression: str, numbers: dict[str, int]) -> int:
    """Our own shapes only; every division is one without a rest."""
    value = eval(expression.format(**numbers).replace("/", "//"), {"__builtins__": {}})
    assert isinstance(value, int)
    return value
