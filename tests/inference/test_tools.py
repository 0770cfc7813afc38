"""The calculator: what it computes is what Python computes, and what it does not compute costs nothing."""

import ast
import math
import random
import re
import string
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nanolit.inference.tools import LIMIT, MAX_CHARS, MAX_DIGITS, Calculator, Tool

calculate: Tool = Calculator()

# --- the same as Python ----------------------------------------------------------------------------------------------

letters = st.text(alphabet="abct é日😀(),.*#", max_size=6)
numbers = st.one_of(
    st.integers(0, 10**6).map(str),
    st.integers(0, 10**12).map("{:,}".format),
    st.integers(0, 10**30).map(str),
    st.floats(0, 1e6, allow_nan=False).map("{:.3f}".format),
    st.sampled_from([".5", "5.", "1e3", "2.5E-4", "0", "0.0", "1,234.5", "1e-300"]),
    st.builds('"{}".count("{}")'.format, letters, letters),
    st.builds("len('{}')".format, letters),
)


def deeper(inner):
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", " + ", " - ", " * "])
    return st.one_of(
        st.tuples(inner, operators, inner).map("".join),
        st.builds("({}) ** {}".format, inner, st.integers(-4, 4)),
        st.builds("-{}".format, inner),
        st.builds("+{}".format, inner),
        st.builds("({})".format, inner),
    )


def plain(code: str) -> str:
    """Without the commas of thousands, which stand in the numbers only where `numbers` has put them."""
    return re.sub(r"(?<=[0-9]),(?=[0-9]{3})", "", code)


def by_python(code: str) -> str | None:
    """What Python's own `eval` says, unless a number on the way is beyond the bounds that are promised."""
    parts = [node for node in ast.walk(ast.parse(plain(code), mode="eval")) if isinstance(node, ast.expr)]
    values = []
    for part in parts[1:]:  # the first is the whole
        if isinstance(part, ast.Constant | ast.BinOp | ast.UnaryOp | ast.Call):
            values.append(run(ast.unparse(part)))
    whole = run(plain(code))
    return None if None in (whole, *values) else str(whole)


def run(code: str) -> int | float | str | None:
    try:
        value = eval(code, {"__builtins__": {}, "len": len})
    except ArithmeticError:
        return None
    if isinstance(value, str):
        return value
    is_small = abs(value) < (LIMIT if isinstance(value, int) else math.inf)
    return value if is_small and not isinstance(value, complex) else None


@settings(deadline=None, max_examples=600)
@given(st.recursive(numbers, deeper, max_leaves=12))
def test_it_says_what_python_says(code):
    assume(len(code) <= MAX_CHARS)
    assert calculate(code) == by_python(code)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("6*7", "42"),
        (" 6 * 7 ", "42"),
        ("6*7\n", "42"),
        ("10/4", "2.5"),
        ("10/5", "2.0"),  # as Python prints it
        ("7//2", "3"),
        ("-7//2", "-4"),
        ("-7 % 3", "2"),
        ("2**10", "1024"),
        ("2**-1", "0.5"),
        ("-2**2", "-4"),
        ("2**3**2", "512"),
        ("0.1+0.2", "0.30000000000000004"),
        ("1e22", "1e+22"),
        ("-0.0", "-0.0"),
        ("(1+2)*(3-4)", "-3"),
        ("--3", "3"),
        ("1,234+1", "1235"),
        ("1,234,567.5*2", "2469135.0"),
        ("(1,000)/(2,000)", "0.5"),
        ('"strawberry".count("r")', "3"),
        ("'strawberry'.count('rr')", "1"),
        ('"a, b, c".count(",")', "2"),
        ('"1,234".count(",")', "1"),
        ('"日本日".count("日") + 1', "3"),
        ('"aaa".count("")', "4"),
        ('"it\'s".count("\'")', "1"),
        ('len("text")', "4"),
        ('len("")', "0"),
        ('"a" .count ( "a" )', "1"),
        ("(" * 50 + "1" + ")" * 50, "1"),
        ("--" * 20 + "1", "1"),
        ("1" * MAX_DIGITS, "1" * MAX_DIGITS),
        ("(-1)**" + "9" * 99, "-1"),
        ("1" + "+1" * 249, "250"),
        ("-1" * 250, "-250"),
        ('"\ud800".count("\ud800")', "1"),
    ],
)
def test_by_hand(code, said):
    assert calculate(code) == said


# --- everything else -------------------------------------------------------------------------------------------------

NOTHING = [
    *(
        "",
        " ",
        "\n",
        "six times seven",
        "6*7=42",
        "x",
        "x+1",
        "6 7",
        "6*",
        "*6",
        "()",
        "(6",
        "6)",
        "1.2.3",
        "1..2",
        "^",
    ),
    # No result, or none that is a finite number
    *("1/0", "1//0", "1%0", "0**-1", "0.0**-1", "1.0/0", "(-8)**0.5", "(-8)**(1/3)", "1e308*10", "1e999", "-1e999"),
    *("1e200**2", "9e307+9e307+9e307", "10**100/1e-300"),
    # Too large
    *("9**9**9", "10**10**10", "2**1000", "9" * 101, "9" * 400, "10**99*10**99", "(10**99)**99", "2.0**10**10"),
    *("9**-(9**9**9)", "(" + "9" * 100 + "/3)**" + "9" * 100, "-" + "9" * 101, "1.5**999999"),
    # Text is counted, not computed with
    *('"a"', '"a"*10**9', '10**9*"a"', '"a"+"b"', '"%d" % 5', '"%0999999999d" % 5', '-"a"', 'len("a"*99)', "len(5)"),
    *('"a".count', '"a".count()', '"a".count(1)', '"a".count("a", 1)', '"a".count("a")("b")', '"a".count(*"a")'),
    *('"a".count(sub="a")', '"a".count("a").count("a")', 'len("a", "b")', 'len(len("a"))', "len", "len()", "len(*'a')"),
    *('"a".upper()', '"a".__class__', '"a".encode().count(b"a")', '"a".join("b")', '"a"[0]', '"{}".format(1)'),
    *('"a".counter("a")', 'lens("a")', '"abc', "'abc", '"a\nb".count("a")', '"a\\n".count("n")', '"\\d".count("d")'),
    *('f"{1}"', 'f"{9**9**9}".count("9")', 'b"a".count(b"a")', 'r"a".count("a")', 'u"a".count("a")', '"""a" b """'),
    *('"a" if 1 else "b"', '"a" in "abc"', '"a" == "a"'),
    # Commas that are not of thousands
    *(
        "1,2",
        "f(1,2)",
        "(1,2)",
        "12,34",
        "1,2345",
        "1234,567",
        "1,234,",
        "1,234,56",
        "1,,234",
        ",123",
        "1,23,456",
        "0,123",
    ),
    *("max(1,234)", "len(1,234)", "1, 234"),
    # What else Python calls an expression
    *("True", "None", "1j", "0x10", "0b1", "1_000", "...", "[1]", "{1}", "{}", "[1][0]", "lambda: 1", "(lambda: 1)()"),
    *(
        "x := 1",
        "(x := 1)",
        "1 if 1 else 2",
        "1if 1else 2",
        "not 1",
        "~1",
        "1 < 2",
        "1 == 1",
        "1 and 2",
        "1or 2",
        "1 @ 2",
    ),
    *("1 << 9999999999", "1 | 2", "[x for x in (1)]", "(yield)", "await x", "*1", "1; 2", "1\n2", "1 # one", "a=1"),
    *("__import__('os')", "__import__('os').system('true')", "().__class__.__bases__[0].__subclasses__()", "exec('1')"),
    *("eval('1')", "open('/etc/passwd')", "print(1)", "abs(-1)", "sum([1])", "range(10**9)", "int('9')", "import os"),
    # Signs that are none of ASCII's
    *("6×7", "６*７", "٣+٤", "१+२", "2²", "1\u00a0+1", "1 − 1", "½", "ⅷ", "1\u200b+1", "ｌｅｎ('a')", "\ufeff1"),
    *("1\x00", "1+1\x00", "\x00", "1\x0c+1", "1\r+1", "1\t+1", "\ud800"),
    # Bombs
    *("(" * 200 + "1" + ")" * 200, "(" * 500, "-" * 499 + "1", "2" + "**2" * 160, "~" * 400 + "1"),
    *("[" * 400, "((((((((((" * 49, '"a".count(' * 50, "len(" * 100, "1" * 500, "1+" * 10**6 + "1", "(" * 10**6),
    *('"' + "a" * 10**7 + '".count("a")', "9" * 10**6, "1,000" * 10**6, " " * 10**7 + "x", "'" * 499, '"' * 499),
    *("1" + ",000" * 124, "." * 500, "1." * 250, "*" * 500, "1**" * 160, "% " * 250),
]


@pytest.mark.parametrize("code", NOTHING, ids=lambda code: ascii(code[:30]))
def test_nothing_is_said_and_at_once(code):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        begin = time.perf_counter()
        assert calculate(code) is None
        assert time.perf_counter() - begin < 0.05


@settings(deadline=None, max_examples=400)
@given(st.text(alphabet=[*string.printable, "é", "日", "😀", "\ud800"], max_size=40))
def test_any_text_is_survived(code):
    said = calculate(code)
    assert said is None or float(said) is not None


@settings(deadline=None, max_examples=400)
@given(
    st.lists(st.sampled_from([*"0123456789.,()+-*/% \"'a", "**", "//", "len(", ".count(", '"a"', "1e9"]), max_size=60)
)
def test_any_sentence_of_its_own_tokens_is_survived(pieces):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        begin = time.perf_counter()
        said = calculate("".join(pieces))
        assert time.perf_counter() - begin < 0.05
    assert said is None or len(said) <= MAX_DIGITS + 1


def test_threads_do_not_disturb_each_other():
    rng = random.Random(0)
    codes = [code for code in NOTHING if len(code) < 1000] + [
        f"{rng.randrange(999)}*{rng.randrange(999)}" for _ in range(300)
    ]
    alone = [calculate(code) for code in codes]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: [calculate(code) for code in codes], range(8)))
    assert together == [alone] * 8
