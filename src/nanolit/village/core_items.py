"""What a base model is asked about the village, without any chat: texts to complete, in the layout of CORE's bundle.

    village_rhymes      a held-out rhyme up to its last name: which one? (written exactly)
    village_stories     a held-out story up to its last name, which has been said before (written exactly)
    village_facts       a sentence about somebody: which of four endings is so?
    village_questions   a question in words in which it is never asked in training, after three others: which answer?
    village_who         two are named: of whom is what follows so?

Pure Python; it writes files and evaluates nothing.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nanolit.runtime.files import atomic_folder
from nanolit.runtime.seeds import derive
from nanolit.village.corpus import Kind, Pattern, default_writer
from nanolit.village.draw import Draw
from nanolit.village.questions import Fact, facts, questions
from nanolit.village.world import PLACES, default_world

N_CHOICES, N_SHOTS = 4, 3
DRAWN = frozenset({"animal_sounds"})  # a rhyme whose last name nothing tells
# Where the sentence of a relation is cut: after these words nothing but the fact follows.
CUT_AFTER = {
    "home": "lives", "house": "lives", "pet": "has", "pet name": "called", "food": "is", "hobby": "likes",
    "fear": "of", "treasure": "is", "age": "is", "best friend": "is", "sibling": "is", "parent": "is", "trade": "is",
    "closed": "on", "price": "costs",
}  # fmt: skip
Item = dict[str, Any]


def write_bundle(folder: Path, size: int = 100, seed: int = 0) -> None:
    """`size` items of each task; the same for a seed everywhere."""
    if size <= N_SHOTS:
        raise ValueError(f"size: got {size}, must be at least {N_SHOTS + 1}, for {N_SHOTS} shots before an item")
    made = {label: make(size, seed) for label, (make, _, _) in _TASKS.items()}
    with atomic_folder(folder) as target:
        (target / "eval_data").mkdir()
        sections, lines = [], ["Eval Task,Random baseline"]
        for label, items in made.items():
            _, section, chance = _TASKS[label]
            sections.append({"label": label, "dataset_uri": f"{label}.jsonl", **section})
            lines.append(f"{label},{chance}")
            text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
            (target / "eval_data" / f"{label}.jsonl").write_text(text, encoding="utf-8")
        told = json.dumps({"name": "village_core", "icl_tasks": sections}, indent=2)  # JSON is YAML
        (target / "core.yaml").write_text(told + "\n", encoding="utf-8")
        (target / "eval_meta_data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


# Texts that end with a name


def rhymes(size: int, seed: int) -> list[Item]:
    return [_last_name("rhyme", Draw(derive(seed, "village_core", "rhyme", i)), DRAWN) for i in range(size)]


def stories(size: int, seed: int) -> list[Item]:
    return [_last_name("story", Draw(derive(seed, "village_core", "story", i)), frozenset()) for i in range(size)]


def _last_name(kind: Kind, draw: Draw, without: frozenset[str]) -> Item:
    writer = default_writer()
    while True:
        pattern = writer.pattern("val", kind, draw)
        text = _tell(pattern, draw)
        cut = cut_at_last_name(text)
        if pattern[0] not in without and cut is not None:
            return {"context": cut[0], "continuation": cut[1]}


def _tell(pattern: Pattern, draw: Draw) -> str:
    shape, hero, friend = pattern
    writer = default_writer()
    return writer.shapes[shape].render(writer.casting.draw(hero, friend, draw), draw)


def cut_at_last_name(text: str) -> tuple[str, str] | None:
    """What stands before the last name, and the name; None if it was not said before, or no space stands before it."""
    world = default_world()
    names = {*world.children, *world.grownups, *(child.pet.name for child in world.children.values())}
    found = [word for word in re.finditer(r"[A-Za-z]+", text) if word[0] in names]
    *before, last = found
    if last[0] not in {word[0] for word in before} or text[last.start() - 1] != " ":
        return None
    return text[: last.start() - 1], last[0]


# Facts


def fact_endings(size: int, seed: int) -> list[Item]:
    draw = Draw(derive(seed, "village_core", "facts"))
    items = []
    for fact in _some("facts", [fact for fact in facts() if fact.relation in CUT_AFTER], size, draw):
        begun, right = cut_fact(fact)
        choices, gold = _among(right, wrong_endings(fact), draw)
        items.append({"query": begun, "choices": choices, "gold": gold})
    return items


def asked(size: int, seed: int) -> list[Item]:
    """One question about each fact: a shot is not to answer what is asked after it."""
    draw = Draw(derive(seed, "village_core", "questions"))
    held_out = (*questions("val", follows=False), *questions("test", follows=False))
    of_facts = {question.fact: question for question in held_out if question.fact.relation in CUT_AFTER}
    items = []
    for question in _some("questions", list(of_facts.values()), size, draw):
        begun, right = cut_fact(question.fact)
        choices, gold = _among(right, wrong_endings(question.fact), draw)
        sentences = [f"{begun} {choice}" for choice in choices]
        items.append({"query": question.text, "choices": sentences, "gold": gold})
    return items


def cut_fact(fact: Fact) -> tuple[str, str]:
    """The sentence up to the fact, and the fact."""
    begun, word, rest = fact.tell.partition(f" {CUT_AFTER[fact.relation]} ")
    return begun + word.rstrip(), rest


def wrong_endings(fact: Fact) -> list[str]:
    """How the sentences about others end, of whom something else is told."""
    others = [other for other in facts() if other.relation == fact.relation]
    return [cut_fact(other)[1] for other in others if other.value not in (fact.value, fact.subject)]


def whose(size: int, seed: int) -> list[Item]:
    """The two differ in what is told; nothing else in the text tells them apart."""
    draw = Draw(derive(seed, "village_core", "who"))
    items = []
    # Sentences that begin with the name of the one they are about
    about = [fact for fact in facts() if fact.tell.startswith(f"{fact.subject} ")]
    for fact in _some("who", about, size, draw):
        others = [other for other in about if other.relation == fact.relation and other.value != fact.value]
        pair = draw.shuffled([fact.subject, draw.pick(others).subject])
        place = draw.pick(list(PLACES.values()))
        items.append(
            {
                "context_options": [f"{' and '.join(pair)} met {place}. {name}" for name in pair],
                "continuation": fact.tell.removeprefix(f"{fact.subject} "),
                "gold": pair.index(fact.subject),
            }
        )
    return items


def _some(task: str, pool: Sequence[Any], size: int, draw: Draw) -> list[Any]:
    if size > len(pool):
        raise ValueError(f"size: got {size}, but village_{task} has only {len(pool)} items; give that or less")
    return draw.shuffled(pool)[:size]


def _among(right: str, wrong: Sequence[str], draw: Draw) -> tuple[list[str], int]:
    """Choices, and which is right."""
    place = draw.below(N_CHOICES)
    choices = list(dict.fromkeys(draw.shuffled(wrong)))[: N_CHOICES - 1]
    return [*choices[:place], right, *choices[place:]], place


_LM: dict[str, Any] = {"num_fewshot": [0], "icl_task_type": "language_modeling"}
_MC: dict[str, Any] = {"num_fewshot": [0], "icl_task_type": "multiple_choice"}
_SC: dict[str, Any] = {"num_fewshot": [0], "icl_task_type": "schema"}
# Label: how its items are made, its section in core.yaml, what who guesses gets in percent
_TASKS: dict[str, tuple[Callable[[int, int], list[Item]], dict[str, Any], int]] = {
    "village_rhymes": (rhymes, _LM, 0),
    "village_stories": (stories, _LM, 0),
    "village_facts": (fact_endings, _MC, 100 // N_CHOICES),
    "village_questions": (asked, _MC | {"num_fewshot": [N_SHOTS]}, 100 // N_CHOICES),
    "village_who": (whose, _SC, 50),
}
