"""When an answer of the village's assistant is right: whole sentences in its words, and a rule for what was asked."""

import re
from functools import cache
from typing import Any

from nanolit.village import chatter
from nanolit.village.corpus import stories
from nanolit.village.questions import facts, facts_about, values_of

SMALL_TALK = {
    "greet": r"\b(hello|good day|good morning|good evening|hi)\b",
    "identity": r"\bI am\b.*\bmodel\b",
    "abilities": r"\bI can\b",
    "thanks": r"\byou are\b.*\bwelcome\b",
}
DO_NOT_KNOW = re.compile(r"\bdo not know\b")
DENIES = re.compile(r"\b(not|no|never|nobody|nothing|neither)\b", re.IGNORECASE)
# What may be said of what is unknown, {x} being what was asked for, and what may stand behind it
UNKNOWN = (
    "I do not know (that|it)",
    r"I do not know (anything |something )?(about |of )?{x}",
    r"I do not know (what|who|where|when|how|which) [^.!?]*\b{x}\b[^.!?]*",
)
ONLY = r"I only know (?:the village of )?Thimbleford"
WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
SENTENCE = re.compile(r"[^.!?]+[.!?]+")
MIN_WORDS, MAX_WORDS = 3, 25  # of a sentence; of an answer that is no passage and no story
MIN_STORY_SENTENCES, MIN_OWN, MIN_KNOWN = 5, 0.8, 0.95
N_STORIES = 2000  # among so many every word of them occurs


@cache
def words() -> frozenset[str]:
    """All that the village's language has, in small letters."""
    answers = (chatter.GREETED, chatter.IDENTIFIED, chatter.ABLE, chatter.THANKED, chatter.UNKNOWN)
    said = [text for texts in answers for text in texts]
    told = [text for fact in facts() for text in (fact.tell, *fact.asks)]
    return frozenset(word.lower() for text in (*stories(stop=N_STORIES), *told, *said) for word in WORD.findall(text))


def is_right(said: str, answer: dict[str, Any]) -> bool:
    """`answer`: the name of the rule, and what it compares with."""
    rule, said = answer["rule"], said.strip()
    if not re.fullmatch(r'["A-Z].*[.!?]"?', said, re.DOTALL):
        return False
    if rule == "unknown":
        return _says_that_it_does_not_know(said, answer["name"])
    if DO_NOT_KNOW.search(said):
        return False
    if rule == "story":
        return _is_story(said, answer["subject"])
    if rule == "passage":
        true = {fact.tell for fact in facts_about(answer["subject"])}
        told = {sentence.strip() for sentence in SENTENCE.findall(said)}
        return len(told) >= 2 and told <= true
    found = WORD.findall(said)
    if len(found) > MAX_WORDS or not _sentences(said) or not all(word.lower() in words() for word in found):
        return False
    if rule in SMALL_TALK:
        return re.search(SMALL_TALK[rule], said, re.IGNORECASE) is not None
    return _tells(said, answer)


def _sentences(text: str) -> list[str]:
    """Those that are more than an exclamation."""
    found = (sentence.strip() for sentence in SENTENCE.findall(text))
    return [sentence for sentence in found if len(set(WORD.findall(sentence))) >= MIN_WORDS]


def _says_that_it_does_not_know(said: str, name: str) -> bool:
    first, *rest = [sentence.strip().rstrip(".!") for sentence in SENTENCE.findall(said)]
    return (
        len(said.split()) <= MAX_WORDS
        and any(re.fullmatch(form.replace("{x}", re.escape(name)), first) for form in UNKNOWN)
        and all(re.fullmatch(ONLY, sentence) for sentence in rest)
    )


def _is_story(said: str, hero: str) -> bool:
    """Several sentences, hardly one of them twice, of whom it was asked for, and hardly a word that is none."""
    found = [word.lower() for word in WORD.findall(said)]
    n_known, told = sum(word in words() for word in found), _sentences(said)
    return (
        len(set(told)) >= max(MIN_STORY_SENTENCES, MIN_OWN * len(told))
        and n_known >= MIN_KNOWN * len(found)
        and _has(said, hero)
    )


def _tells(said: str, answer: dict[str, Any]) -> bool:
    """The right value, of whom it was asked for, and no other of its kind but what the right sentence has too."""
    value, mentioned = answer["value"], [name for name in answer["mentions"] if _has(said, name)]
    if not _has(said, value) or not mentioned or DENIES.search(said):
        return False
    of_both = {word for text in (value, *mentioned) for word in WORD.findall(text)}
    if set(WORD.findall(said)) <= of_both:
        return False  # names alone are no sentence
    others = (other for other in values_of(answer["relation"]) if other != value)
    return not any(_has(said, other) and not _has(answer["tell"], other) for other in others)


def _has(text: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", text) is not None
