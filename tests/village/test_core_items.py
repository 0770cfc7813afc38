"""village_core: the right answer is right by the world's facts, read off by patterns of our own, and no other is."""

import csv
import json
import re

import pytest
import yaml

from nanolit.village import documents
from nanolit.village.core_items import asked, fact_endings, rhymes, stories, whose, write_bundle
from nanolit.village.draw import split_of
from nanolit.village.grammar import NUMBERS
from nanolit.village.questions import questions
from nanolit.village.world import HOBBIES, HOUSES, TRADES, default_world

N = 100
WORLD = default_world()
KIDS, ADULTS = WORLD.children, WORLD.grownups
PEOPLE = {**KIDS, **ADULTS}


def is_so(sentence: str) -> bool:
    """Whether the world says so; a sentence of no known kind is a mistake of this test."""

    def told(pattern: str) -> tuple[str, ...] | None:
        match = re.fullmatch(pattern, sentence)
        return None if match is None else match.groups()

    if found := told(r"(\w+) lives (in|at) the ([\w ]+)\."):
        name, preposition, house = found
        return PEOPLE[name].house == house and HOUSES[house] == preposition
    if found := told(r"(\w+) has an? (\w+) (\w+) called (\w+)\."):
        name, *pet = found
        return [KIDS[name].pet.colour, KIDS[name].pet.kind, KIDS[name].pet.name] == pet
    if found := told(r"The (\w+) of (\w+) is called (\w+)\."):
        kind, name, pet = found
        return (KIDS[name].pet.kind, KIDS[name].pet.name) == (kind, pet)
    for pattern, field in (
        (r"The favourite food of (\w+) is ([\w ]+)\.", "food"),
        (r"(\w+) is afraid of ([\w ]+)\.", "fear"),
        (r"The treasure of (\w+) is an? ([\w ]+)\.", "treasure"),
        (r"The best friend of (\w+) is (\w+)\.", "best_friend"),
        (r"The (?:sister|brother) of (\w+) is (\w+)\.", "sibling"),
        (r"The (?:mother|father) of (\w+) is (\w+)\.", "parent"),
    ):
        if found := told(pattern):
            return getattr(KIDS[found[0]], field) == found[1]
    if found := told(r"(\w+) likes ([\w ]+)\."):
        return HOBBIES[KIDS[found[0]].hobby] == found[1]
    if found := told(r"(\w+) is (\w+) years old\."):
        return NUMBERS[KIDS[found[0]].age] == found[1]
    if found := told(r"The ([\w ]+) is closed on (\w+)\."):
        (owner,) = (adult for adult in ADULTS.values() if TRADES[adult.trade][1] == found[0])
        return owner.closed_on == found[1]
    if found := told(r"An? ([\w ]+) costs (\w+) penn(?:y|ies)\."):
        return NUMBERS[WORLD.goods[found[0]].price] == found[1]
    found = told(r"(\w+) is an? ([\w ]+)\.")
    assert found, sentence
    return ADULTS[found[0]].trade == found[1]


def test_facts_end_in_one_true_way():
    items = fact_endings(N, 0)
    for item in items:
        verdicts = [is_so(f"{item['query']} {choice}") for choice in item["choices"]]
        assert len(set(item["choices"])) == 4 and verdicts == [i == item["gold"] for i in range(4)], item
    assert len({item["query"] for item in items}) == N
    assert {item["gold"] for item in items} == {0, 1, 2, 3}


def test_questions_have_one_true_answer_and_are_held_out():
    of_text = {question.text: question for part in ("val", "test") for question in questions(part, follows=False)}
    learnt = {question.text for question in questions("train", follows=False)}
    items = asked(N, 0)
    for item in items:
        assert [is_so(choice) for choice in item["choices"]] == [i == item["gold"] for i in range(4)], item
        assert of_text[item["query"]].fact.tell == item["choices"][item["gold"]] and item["query"] not in learnt
    rights = [item["choices"][item["gold"]] for item in items]
    assert len(set(rights)) == N, "one that is a shot would tell the answer"


def test_it_is_so_of_one_of_two():
    items = whose(N, 0)
    for item in items:
        names = [context.rpartition(" ")[2] for context in item["context_options"]]
        start, other = (context.rpartition(" ")[0] for context in item["context_options"])
        assert start == other and start.startswith(f"{names[0]} and {names[1]} met "), "nothing else tells them apart"
        verdicts = [is_so(f"{name} {item['continuation']}") for name in names]
        assert verdicts == [i == item["gold"] for i in range(2)], item
    assert 30 < sum(item["gold"] for item in items) < 70


# Of each rhyme: how to read its pattern off its beginning, and whose name is its last.
RHYMES = {
    "clapping": (r"Clap with (\w+), clap with (\w+),", "friend"),
    "skipping": (r"(\w+) in, \1 out, (\w+) in, \2 out, (\w+) in", "third"),
    "roll_call": (r"Where is (\w+)\? Here is \1\. Where is (\w+)\? Here is \2\. Where is (\w+)\?", "third"),
    "echo": (r'"(\w+)!" called (\w+)\.', "pet"),
    "counting_out": (r"One for (\w+), two for (\w+),", "friend"),
    "copycat": (r"(\w+) jumped, and (\w+) jumped\.", "friend"),
    "whispers": (r"(\w+) whispered to (\w+), and", "friend"),
    "good_night": (r"Good night, (\w+)\. Good night, (\w+)\.", "friend_pet"),
}


def test_rhymes_are_held_out_and_tell_their_last_name():
    shapes = set()
    for item in rhymes(N, 0):
        text = item["context"]
        found = [(name, match, role) for name, (p, role) in RHYMES.items() if (match := re.match(p, text))]
        assert len(found) == 1, text
        shape, match, role = found[0]
        hero, friend = match[1], match[2]
        assert split_of((shape, hero, friend)) == "val"
        pets = {"pet": KIDS[hero].pet.name, "friend_pet": KIDS[friend].pet.name}
        roles = {"friend": friend, "third": match[3] if role == "third" else None, **pets}
        # Where it ends with a child that runs after {him}, the last name is the friend's as well.
        assert item["continuation"] == roles[role], item
        shapes.add(shape)
    assert shapes == set(RHYMES)


def test_stories_are_held_out_and_have_said_their_last_name():
    learnt = set(documents(0, "train", 0, 3000))
    items = stories(N, 0)
    assert len({item["context"] for item in items}) == N
    names = {*PEOPLE, *(child.pet.name for child in KIDS.values())}
    for item in items:
        text = item["context"]
        assert item["continuation"] in names and re.search(rf"\b{item['continuation']}\b", text)
        assert not text[-1].isspace() and len(text.split()) < 150
        assert not any(story.startswith(text) for story in learnt)


@pytest.mark.parametrize("make", [rhymes, stories, fact_endings, asked, whose])
def test_items_are_the_same_for_a_seed_and_others_for_another(make):
    assert make(20, 0) == make(20, 0) != make(20, 1)


def test_the_bundle_has_the_layout_of_cores(tmp_path):
    write_bundle(tmp_path / "core", size=10, seed=3)
    sections = yaml.safe_load((tmp_path / "core" / "core.yaml").read_text())["icl_tasks"]
    with (tmp_path / "core" / "eval_meta_data.csv").open(newline="") as opened:
        chances = {row["Eval Task"]: float(row["Random baseline"]) for row in csv.DictReader(opened)}
    made = {
        "village_rhymes": ("language_modeling", 0, rhymes),
        "village_stories": ("language_modeling", 0, stories),
        "village_facts": ("multiple_choice", 25, fact_endings),
        "village_questions": ("multiple_choice", 25, asked),
        "village_who": ("schema", 50, whose),
    }
    assert [section["label"] for section in sections] == list(made) == list(chances)
    for section in sections:
        kind, chance, make = made[section["label"]]
        assert (section["icl_task_type"], chances[section["label"]]) == (kind, chance)
        lines = (tmp_path / "core" / "eval_data" / section["dataset_uri"]).read_text().splitlines()
        assert [json.loads(line) for line in lines] == make(10, 3)


def test_more_than_there_is_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^size: got 1000, but village_\w+ has only \d+ items; give that or less"):
        write_bundle(tmp_path / "core", size=1000)
    with pytest.raises(ValueError, match=r"^size: got 3, must be at least 4"):
        write_bundle(tmp_path / "core", size=3)
    assert not (tmp_path / "core").exists()
