"""When an answer of the village's assistant is right: a rule for what was asked."""

import re
from typing import Any

from nanolit.village.questions import facts_about, values_of

SMALL_TALK = {
    "greet": r"\b(hello|good day|good morning|hi)\b",
    "identity": r"\bmodel\b",
    "abilities": r"\bI can\b",
    "thanks": r"\bwelcome\b",
}
DO_NOT_KNOW = re.compile(r"\bdo not know\b")
MAX_WORDS = 25


def is_right(said: str, answer: dict[str, Any]) -> bool:
    """`answer`: the name of the rule, and what it compares with."""
    rule = answer["rule"]
    if not re.fullmatch(r'["A-Z].*[.!?]"?', said.strip(), re.DOTALL):
        return False
    if rule == "unknown":
        return DO_NOT_KNOW.search(said) is not None and len(said.split()) <= MAX_WORDS
    if DO_NOT_KNOW.search(said):
        return False
    if rule == "story":
        return len(re.findall(r"[.!?]", said)) >= 5
    if rule == "passage":
        true = {fact.tell for fact in facts_about(answer["subject"])}
        told = re.findall(r"[^.]+\.", said)
        return len(told) >= 2 and all(sentence.strip() in true for sentence in told)
    if len(said.split()) > MAX_WORDS:
        return False
    if rule in SMALL_TALK:
        return re.search(SMALL_TALK[rule], said, re.IGNORECASE) is not None
    return _tells(said, answer)


def _tells(said: str, answer: dict[str, Any]) -> bool:
    """The right value, of whom it was asked for, and no other of its kind but what the right sentence has too."""
    if not _has(said, answer["value"]) or not any(_has(said, words) for words in answer["mentions"]):
        return False
    others = (value for value in values_of(answer["relation"]) if value != answer["value"])
    return not any(_has(said, value) and not _has(answer["tell"], value) for value in others)


def _has(text: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", text) is not None
