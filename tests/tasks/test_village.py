"""The village's tasks: answers are right by the world, no pattern is in two splits, rules tell right from wrong."""

import hashlib
import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from nanolit.inference.tools import Calculator
from nanolit.tasks.task import Task
from nanolit.tasks.village_chat import SMALL_TALK, VillageChat
from nanolit.tasks.village_chat_rules import is_right
from nanolit.tasks.village_code import VillageCode
from nanolit.tasks.village_math import VillageMath
from nanolit.tasks.village_quiz import VillageQuiz
from nanolit.tasks.village_spelling import VillageSpelling, words
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.chat import render, render_prompt
from nanolit.tokenizers.messages import check, texts_of
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.village import chatter, documents, problems
from nanolit.village.draw import Draw
from nanolit.village.questions import facts, questions, values_of
from nanolit.village.world import ANIMALS, default_world

TASKS = (VillageChat, VillageQuiz, VillageMath, VillageSpelling)
SPLITS = ("train", "val", "test")
N = 1500


def said(example) -> str:
    content = example.messages[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


@pytest.fixture(scope="module", params=[(cls, split) for cls in TASKS for split in SPLITS], ids=str)
def task(request) -> Task:
    cls, split = request.param
    return cls(split=split, size=N)


def test_every_answer_is_right_and_well_formed(task):
    for example in task:
        checked = check(list(example.messages))
        assert checked[-1]["role"] == "assistant" and len(checked) % 2 == 0
        assert task.evaluate(example, said(example)), example
        assert task.reward(example, said(example)) == 1.0
        assert all(task.scores(example, said(example)).values())


def test_other_answers_are_wrong(task):
    """The answer to another question seldom fits: never if it is not the same answer."""
    examples = list(task)
    for one, other in pairwise(examples):
        text = said(other)
        is_same = text == said(one) or one.answer == other.answer
        if isinstance(task, VillageChat):
            is_same |= _fits_too(one.answer, other.answer["rule"], text)
        if not is_same:
            assert not task.evaluate(one, text), (one, text)
        for broken in ("", "#### x", "I"):
            assert not task.evaluate(one, broken)


def _fits_too(answer, rule, text) -> bool:
    """Small talk of one kind, that it is not known, a story in which both children play, a fact in a passage."""
    if rule == answer["rule"] == "unknown":
        return text in chatter.UNKNOWN
    if rule == answer["rule"] == "story":
        return answer["subject"] in text
    if answer["rule"] == "fact" and rule in ("fact", "passage"):
        return answer["value"] in text and any(name in text for name in answer["mentions"])
    return rule == answer["rule"] and rule in SMALL_TALK


def test_the_same_everywhere():
    """Another process, whose hashes of strings are others, draws the same."""
    code = (
        "import hashlib, json; from nanolit.tasks.village_chat import VillageChat; "
        "from nanolit.tasks.village_math import VillageMath; "
        "print(hashlib.blake2b(json.dumps([e.messages for t in (VillageChat(size=500), VillageMath(size=500)) "
        "for e in t]).encode()).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = [e.messages for t in (VillageChat(size=500), VillageMath(size=500)) for e in t]
    assert told == hashlib.blake2b(json.dumps(here).encode()).hexdigest()


# --- facts -----------------------------------------------------------------------------------------------------------


def test_every_fact_is_one_of_the_world():
    world = default_world()
    for fact in facts():
        subject = world.children.get(fact.subject) or world.grownups.get(fact.subject) or world.goods[fact.subject]
        known = {
            "home": lambda s: s.house, "pet": lambda s: s.pet.kind, "pet name": lambda s: s.pet.name,
            "food": lambda s: s.food, "fear": lambda s: s.fear, "treasure": lambda s: s.treasure,
            "best friend": lambda s: s.best_friend, "sibling": lambda s: s.sibling, "parent": lambda s: s.parent,
            "trade": lambda s: s.trade, "closed": lambda s: s.closed_on, "house": lambda s: s.house,
            "seller": lambda s: s.seller,
        }  # fmt: skip
        if fact.relation in known:
            assert fact.value == known[fact.relation](subject)
        assert fact.value in fact.tell and fact.tell[0].isupper() and fact.tell.endswith(".")
        assert all(ask.endswith("?") for ask in fact.asks) and len(set(fact.asks)) == len(fact.asks)
        assert fact.value in values_of(fact.relation) and len(values_of(fact.relation)) >= 4


def test_no_pattern_is_in_two_splits():
    patterns = {
        split: {(q.fact.relation, q.fact.subject, q.wording) for f in (0, 1) for q in questions(split, bool(f))}
        for split in SPLITS
    }
    learnt, asked = patterns["train"], patterns["val"] | patterns["test"]
    assert not learnt & asked and not patterns["val"] & patterns["test"]
    assert 0.1 < len(asked) / len(learnt | asked) < 0.15
    assert 0.4 < len(patterns["test"]) / len(asked) < 0.6
    assert {pattern[:2] for pattern in asked} <= {pattern[:2] for pattern in learnt}, "known, but in other words"


@pytest.mark.parametrize("cls", [*TASKS, VillageCode])
def test_what_one_split_asks_no_other_does(cls):
    asked = {
        split: {str(e.messages[:-1]) for e in cls(split=split, size=size)}
        for split, size in (("train", 6000), ("val", 1500), ("test", 1500))
    }
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not asked[one] & asked[other], (one, other)
    assert min(len(texts) for texts in asked.values()) > (15 if cls is VillageCode else 300)


def test_names_wordings_and_sorts_of_the_unknown_are_held_out():
    drawn = {split: [chatter.unknown(Draw(i), split) for i in range(3000)] for split in SPLITS}
    names = {split: {name for _, name in pairs} for split, pairs in drawn.items()}
    forms = {split: {ask.replace(name, "{x}") for ask, name in pairs} for split, pairs in drawn.items()}
    for held_out in ("val", "test"):
        other = {"val": "test", "test": "val"}[held_out]
        assert not names[held_out] & (names["train"] | names[other])
        new = [ask for ask, name in drawn[held_out] if ask.replace(name, "{x}") not in forms["train"]]
        assert 0.2 < len(new) / 3000 < 0.6 and len(forms[held_out] - forms["train"]) >= 8
        assert not (forms[held_out] - forms["train"]) & forms[other]
        (sort,) = chatter.STRANGE_SORTS[held_out]
        assert set(sort.asks[held_out]) <= forms[held_out] and not set(sort.asks[held_out]) & forms["train"]
        people = set(chatter.people(held_out))
        assert 4 <= len(people) <= 8 and not people & {*chatter.people("train"), *chatter.people(other)}
    assert len(names["train"]) > 1000 and len(forms["train"]) >= 18, "enough to learn that it is any name"
    assert not names["train"] & {*chatter.VILLAGERS, *default_world().goods, *ANIMALS}


def test_every_short_story_is_one():
    heroes = [name for name in default_world().children if chatter.stories_about(name)]
    assert len(heroes) == 28 and all(any(name in chatter.people(split) for name in heroes) for split in SPLITS)
    for name in heroes:
        for story in chatter.stories_about(name):
            assert is_right(story, {"rule": "story", "subject": name}), story


def _asked(example) -> str:
    return example.messages[-2]["content"]


def test_choices_hold_the_right_one_once():
    places = []
    for example in VillageQuiz(size=N):
        question, *lines = _asked(example).split("\n")
        choices = dict(line.removeprefix("- ").rsplit("=", 1)[::-1] for line in lines)
        assert tuple(choices) == example.letters and len(set(choices.values())) == 4
        right = {f.value for f in facts() for w, ask in enumerate(f.asks) if ask == question and f.split(w) == "test"}
        assert choices[example.answer] in right
        assert not any(choices[letter] in right for letter in example.letters if letter != example.answer)
        places.append(example.letters.index(example.answer))
    assert np.bincount(places).min() > 0.2 * N, "the right letter is no matter of place"


# --- chat ------------------------------------------------------------------------------------------------------------

FACT = next(f for f in facts() if f.relation == "home" and f.subject == "Mira")
OTHER = next(v for v in values_of("home") if v != FACT.value)


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        (FACT.tell, True),
        (f"Mira has her home in the {FACT.value}.", True),
        (f"Mira lives in the {OTHER}.", False),
        (f"Mira lives in the {FACT.value} and in the {OTHER}.", False),
        (f"mira lives in the {FACT.value}.", False),
        (f"Mira lives in the {FACT.value}", False),
        (f"I do not know. Perhaps in the {FACT.value}.", False),
        (f"Mira {FACT.value}.", False),
        (f"Mira does not live in the {FACT.value}.", False),
        (f"Mira frobs in the {FACT.value}.", False),
        (f"Mira lives in the {FACT.value}. " * 9, False),
        ("Mira lives there.", False),
        ("", False),
    ],
)
def test_a_fact_is_told_in_a_whole_sentence(text, is_right):
    task = VillageChat(size=N)
    example = next(e for e in VillageChat(split="train", size=6000) if e.answer.get("tell") == FACT.tell)
    assert task.evaluate(example, text) is is_right


def test_what_is_unknown_must_be_said_to_be():
    task = VillageChat(size=N)
    example = next(e for e in task if e.answer["rule"] == "unknown")
    assert task.evaluate(example, "I do not know that.")
    assert not task.evaluate(example, "The capital of Greece is Athens.")
    for asks, _ in SMALL_TALK.values():
        texts = [text for split in SPLITS for text in asks[split]]
        assert len(set(texts)) == len(texts)


HERO = next(name for name in chatter.people("test") if chatter.stories_about(name))
STORY = chatter.stories_about(HERO)[0]
STORIES_TOLD, PASSAGE = {"rule": "story", "subject": HERO}, {"rule": "passage", "subject": "Mira"}
NOT_KNOWN = {"rule": "unknown", "name": "Diana"}


@pytest.mark.parametrize(
    ("answer", "text", "is_it"),
    [
        (STORIES_TOLD, STORY, True),
        (STORIES_TOLD, "A.....", False),
        (STORIES_TOLD, f"{HERO}. " * 9, False),
        (STORIES_TOLD, f"{HERO} went to the pond. " * 9, False),
        (STORIES_TOLD, " ".join(f"{HERO} frobbed gnarly quux{i}." for i in range(9)), False),
        (STORIES_TOLD, f"{HERO} lived by the pond. Then it rained a lot.", False),
        (STORIES_TOLD, STORY.replace(HERO, "Nobody"), False),
        (STORIES_TOLD, "I do not know that.", False),
        (NOT_KNOWN, "I do not know that. I only know Thimbleford.", True),
        (NOT_KNOWN, "I do not know where Diana lives.", True),
        (NOT_KNOWN, "I do not know anything about Diana.", True),
        (NOT_KNOWN, "I do not know.", False),
        (NOT_KNOWN, "I do not know the bakery.", False),
        (NOT_KNOWN, "I do not know where Mira lives.", False),
        (NOT_KNOWN, "I do not know that the moon is a cheese.", False),
        (NOT_KNOWN, "I do not know that. Diana lives by the pond.", False),
        (NOT_KNOWN, "Diana lives there. I do not know that.", False),
        (NOT_KNOWN, "I do not know " + "what " * 30 + "it is.", False),
        (PASSAGE, " ".join(fact.tell for fact in facts() if fact.subject == "Mira"), True),
        (PASSAGE, f"{FACT.tell} {FACT.tell}", False),
        (PASSAGE, FACT.tell, False),
        (PASSAGE, f"{FACT.tell} Mira is a pony.", False),
        ({"rule": "greet"}, "Hello! Ask me about the village.", True),
        ({"rule": "greet"}, "Hello.", False),
        ({"rule": "identity"}, "Model.", False),
        ({"rule": "identity"}, "Mira has a little model.", False),
        ({"rule": "thanks"}, "Welcome.", False),
        ({"rule": "abilities"}, "I can.", False),
        ({"rule": "abilities"}, "I can frob the gnarly quux.", False),
    ],
)
def test_forged_answers_are_wrong(answer, text, is_it):
    assert is_right(text, answer) is is_it


# --- problems and words ----------------------------------------------------------------------------------------------


def test_the_calculator_computes_every_problem():
    calculator = Calculator()
    for max_steps in (1, 2, 4, 6):
        for example in VillageMath(size=400, max_steps=max_steps):
            if isinstance(example.messages[-1]["content"], str):  # calculated in the head
                assert example.messages[-1]["content"].endswith(f"#### {example.answer}")
                continue
            code, output, _ = example.messages[-1]["content"]
            assert calculator(code["text"]) == output["text"]
            assert float(output["text"]) == float(example.answer)
            assert all(number in _asked(example) for number in _numbers(code["text"]) if number not in ("2", "4"))


def _numbers(expression: str) -> list[str]:
    return [word for word in expression.replace("(", "").replace(")", "").split() if word.isdigit()]


def test_problems_of_all_shapes_are_drawn_and_none_twice():
    drawn = [problems.problem(Draw(i), "train", max_steps=4).question for i in range(6000)]
    assert len(set(drawn)) > 5900
    for shape in problems.SHAPES:
        fixed = shape.texts[0].split("{")[-1].split("}")[-1]
        assert any(fixed in question for question in drawn), shape.name


def test_words_of_the_test_split_are_others():
    assert not set(words("test")) & set(words("val")) and not set(words("train")) & {*words("val"), *words("test")}
    assert all(0.03 < len(words(split)) / len(words("train")) < 0.1 for split in ("val", "test"))
    every = words("train") + words("val") + words("test")
    assert all(word.isalpha() and word.islower() and 4 <= len(word) <= 9 for word in every)


def test_conversations_are_short(village_tokenizer):
    for cls in TASKS:
        lengths = [len(render(e.messages, village_tokenizer).ids) for e in cls(split="train", size=1000)]
        assert np.percentile(lengths, 95) < 190 and max(lengths) < 256
        for example in cls(size=50):
            prompt = render_prompt(example.messages, village_tokenizer, drop_answer=True)
            assert village_tokenizer.decode(prompt).endswith("<|assistant_start|>")


@pytest.fixture(scope="module")
def village_tokenizer():
    texts = [
        *documents(stop=300),
        *("\n".join(t for m in e.messages for t in texts_of(m)) for e in VillageQuiz(size=500)),
    ]
    return train_bpe(texts, 1024, specials=CHAT_SPECIALS)
