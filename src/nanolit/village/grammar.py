"""Agreement: articles, plurals, numbers in words and pronouns. English for this village, not for all of it."""

from collections.abc import Sequence
from typing import Literal

Gender = Literal["she", "he"]

PRONOUNS: dict[Gender, dict[str, str]] = {
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}
# Indexed by the number itself.
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
IRREGULAR_PLURALS = {"loaf": "loaves", "mouse": "mice", "goose": "geese"}


def capital(text: str) -> str:
    """Upper-cases the first letter only, unlike str.capitalize."""
    return text[:1].upper() + text[1:]


def number(n: int) -> str:
    return NUMBERS[n]


def pennies(n: int) -> str:
    return "one penny" if n == 1 else f"{NUMBERS[n]} pennies"


def with_article(noun: str) -> str:
    """`an old coin`, `a jar of honey`. By letter: no word of the village starts with a silent h or a `you` sound."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def plural(noun: str) -> str:
    """The plural of a noun phrase: its head is the word before ` of `, or its last word."""
    head, of, rest = noun.partition(" of ")
    before, space, word = head.rpartition(" ")
    if word in IRREGULAR_PLURALS:
        word = IRREGULAR_PLURALS[word]
    elif word.endswith("y") and word[-2] not in "aeiou":
        word = word[:-1] + "ies"
    else:
        word += "es" if word.endswith(("s", "x", "ch", "sh")) else "s"
    return before + space + word + of + rest


def listing(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
