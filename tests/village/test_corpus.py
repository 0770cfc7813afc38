"""The streams: determinism, splits, variety, and a reader's checks of the English and of the facts."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from math import prod

import pytest

from nanolit.village import corpus, documents, facts, rhymes, stories
from nanolit.village import world as w
from nanolit.village.draw import split_of
from nanolit.village.grammar import NUMBERS
from nanolit.village.template import Binding, Choice, Sequence, Slot

N = 20_000


@pytest.fixture(scope="module")
def train() -> list[tuple[corpus.Pattern, str]]:
    writer = corpus.default_writer()
    return [writer.document(0, "train", i) for i in range(N)]


@pytest.fixture(scope="module")
def val() -> list[tuple[corpus.Pattern, str]]:
    writer = corpus.default_writer()
    return [writer.document(0, "val", i) for i in range(4000)]


@pytest.fixture(scope="module")
def text(train, val) -> str:
    return "\n".join(document for _, document in train + val)


# --- streams


def digest() -> str:
    return hashlib.sha256("\0".join(documents(0, "train", 0, 100)).encode()).hexdigest()


def test_the_first_hundred_documents_are_the_same_on_every_machine():
    """The words of the village may change; then this changes with them, in the same commit."""
    assert digest() == "39d7278d74498424bec476481caaeceb349d1459bbea29e1f321c5b31a4b07d0"


def test_neither_the_hash_seed_nor_the_process_matters():
    program = (
        "import hashlib; from nanolit.village import documents; "
        "print(hashlib.sha256('\\0'.join(documents(0, 'train', 0, 100)).encode()).hexdigest())"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONHASHSEED": "123", "PYTHONPATH": paths}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == digest()


@pytest.mark.parametrize("stream", [documents, stories, facts, rhymes])
def test_slices_equal_the_whole(stream):
    whole = list(stream(3, "train", 0, 60))
    assert list(stream(3, "train", 0, 17)) + list(stream(3, "train", 17, 60)) == whole
    assert list(islice(stream(3, "train", 20), 40)) == whole[20:]


def test_seeds_and_splits_and_kinds_are_different_streams():
    streams = [documents(0), documents(1), documents(0, "val"), stories(0), facts(0), rhymes(0)]
    assert len({"\0".join(islice(stream, 5)) for stream in streams}) == len(streams)


def test_a_wrong_split_or_start_is_refused():
    with pytest.raises(ValueError, match="'train' and 'val'"):
        next(documents(0, "test"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from 0"):
        next(documents(0, "train", -1))


def test_the_mix_of_kinds(train):
    shapes = {"story": corpus.STORY_SHAPES, "facts": corpus.FACT_SHAPES, "rhyme": corpus.RHYME_SHAPES}
    for kind, of_kind in shapes.items():
        share = sum(pattern[0] in of_kind for pattern, _ in train) / N
        assert abs(share - corpus.MIX.count(kind) / len(corpus.MIX)) < 0.02


def test_every_verse_of_a_held_out_rhyme_is_held_out():
    """A rhyme's names, in the order of their first mention, tell the patterns of its verses."""
    writer = corpus.default_writer()
    train_verses = {verse for text in rhymes(0, "train", 0, 3000) for verse in text.split("\n")}
    val_verses = [verse for text in rhymes(0, "val", 0, 100) for verse in text.split("\n")]
    assert len(val_verses) == 100 * corpus.N_VERSES
    assert not train_verses & set(val_verses)
    assert writer.document(0, "val", 0, "rhyme")[0][0] in corpus.RHYME_SHAPES


# --- splits


def test_the_splits_share_no_fact_pattern(train, val):
    writer = corpus.default_writer()
    other_seed = {writer.document(1, "train", i)[0] for i in range(5000)}
    held_out = {pattern for pattern, _ in val}
    assert not held_out & ({pattern for pattern, _ in train} | other_seed)
    assert len(held_out) > 500


def test_a_document_shows_its_pattern(train, val):
    for (_, hero, friend), document in train + val:
        assert re.search(rf"\b{hero}\b", document)
        assert re.search(rf"\b{friend}\b", document)


def test_about_two_percent_of_the_patterns_are_held_out_and_every_shape_has_some():
    writer = corpus.default_writer()
    names = writer.casting.names
    share = Counter(
        (shape, split_of((shape, hero, friend)))
        for shape in writer.shapes
        for hero in names
        for friend in names
        if writer.fits(shape, hero, friend)
    )
    held_out = sum(count for (_, split), count in share.items() if split == "val")
    assert 0.015 < held_out / share.total() < 0.025
    assert all(share[shape, "val"] for shape in writer.shapes)


def test_held_out_documents_tell_facts_that_the_training_split_teaches(train, val):
    """Every home told in the held-out split is told in the training split too."""
    said = {split: set(HOME.findall("\n".join(t for _, t in rows))) for split, rows in (("t", train), ("v", val))}
    assert said["v"] <= said["t"]
    assert {name for name, _ in said["t"]} >= set(w.default_world().children)


# --- variety


def test_documents_are_nearly_all_different(train):
    story_texts = [document for (shape, _, _), document in train if shape in corpus.STORY_SHAPES]
    assert len(set(story_texts)) == len(story_texts)
    assert len({document for _, document in train}) > 0.98 * N


def n_texts(sequence: Sequence) -> int:
    """A lower bound on the number of texts that one cast gives.

    Options that are plain texts, none the beginning of another, can be read back from the text (a prefix code), so such
    choices multiply; every other choice is taken to be stuck at its first option.
    """
    return prod(n_options(part) for part in sequence.parts if not isinstance(part, str | Slot))


def n_options(node: Choice | Binding) -> int:
    if isinstance(node, Binding):
        options = [forms[""] for forms in node.options]
    elif any(option.literal is None for option in node.options):
        return n_texts(node.options[0])
    else:
        options = [option.literal or "" for option in node.options]
    clash = any(a is not b and b.startswith(a) for a in options for b in options)
    return 1 if clash else len(options)


def test_there_are_over_a_million_stories_for_a_single_cast():
    shapes = corpus.default_writer().shapes
    assert len(corpus.STORY_SHAPES) >= 40
    assert sum(n_texts(shapes[name].root) for name in corpus.STORY_SHAPES) > 1_000_000


def test_shapes_have_different_names():
    files = (corpus.story_shapes_errands, corpus.story_shapes_outdoors, corpus.story_shapes_home)
    n = sum(
        len(file.SHAPES) for file in (*files, corpus.story_shapes_together, corpus.fact_shapes, corpus.rhyme_shapes)
    )
    assert len(corpus.default_writer().shapes) == n


def test_the_vocabulary_is_small_but_not_poor(text):
    assert 1200 <= len(set(re.findall(r"[a-z']+", text.lower()))) <= 2200


def test_stories_are_short_and_have_three_paragraphs(train):
    for (shape, _, _), document in train:
        if shape in corpus.STORY_SHAPES:
            assert 60 <= len(document.split()) <= 200, shape
            assert document.count("\n\n") == 2, shape


def test_stories_start_in_various_ways(train):
    openings = Counter(" ".join(document.split()[:2]) for (s, _, _), document in train if s in corpus.STORY_SHAPES)
    assert len(openings) > 200
    assert openings.most_common(1)[0][1] < 0.15 * N


# --- English

LINTS = {
    "an is missing": r"\b[Aa] (?:[aeiou]|hour|honest)",
    "an is too much": r"\b[Aa]n (?!hour|honest|[aeiou])",
    "doubled space": r"  | \n|\n ",
    "space before a mark": r" [.,;:!?](?!\.\.)",
    "doubled mark": r"[,;:!?][.,;:!?]|(?<!\.)\.\.(?!\.)|\.[,;:!?]",
    "mark after a quotation": r'[.,!?]"[.,!?]',
    "bare quotation": r'\w"(?: |$)',
    "unfilled": r"[{}\[\]|<>_/=]",
    "doubled word": r"\b(?!(?:had|tap|bump|scratch|three|that)\b)([a-z]+) \1\b",
    "one of many": r"\bone pennies|\b(?:two|three|four|five|six|seven|eight|nine) penny\b",
    "small letter after a full stop": r"[^.][.!?] [a-z]",
    "small letter opens a quotation": r'[.!?]" "[a-z]|(?:^|\n|[.!?] )"[a-z]',
    "small letter opens a paragraph": r"(?:^|\n)[a-z]",
    "not ASCII": r"[^\x00-\x7f]",
}


@pytest.mark.parametrize("lint", LINTS)
def test_english(lint, text):
    found = re.search(LINTS[lint], text)
    assert not found, text[max(0, found.start() - 60) : found.end() + 60]


def test_quotations_are_closed(text):
    odd = [line for line in text.split("\n") if line.count('"') % 2]
    assert not odd, odd[0]


def test_documents_end_with_the_end_of_a_sentence(train):
    for (shape, _, _), document in train:
        assert document[-1] in '.!?"', shape


def test_pronouns_agree_with_the_person():
    """A passage about one child says `he` or `she` of that child only."""
    world, writer = w.default_world(), corpus.default_writer()
    for index in range(3000):
        (shape, hero, _), document = writer.document(0, "train", index, "facts")
        if shape == "portrait":
            words = set(re.findall(r"[a-z]+", document.lower()))
            wrong = {"she", "her"} if world.children[hero].gender == "he" else {"he", "his"}
            assert not wrong & words, document


# --- facts

NAME = "|".join((*w.GIRLS, *w.BOYS, *w.WOMEN, *w.MEN))
NUMBER = "|".join(NUMBERS)
HOUSE = "|".join(w.HOUSES)
HOME = re.compile(rf"({NAME}),? (?:who )?live[sd] (?:in|at) the ({HOUSE})")


def check(pattern: str | re.Pattern[str], text: str, said: int, is_so) -> None:
    found = re.findall(pattern, text)
    assert len(found) >= said, f"only {len(found)} statements of this kind"
    wrong = [groups for groups in set(found) if not is_so(*groups)]
    assert not wrong, wrong[:3]


def test_homes_are_those_of_the_world(text):
    world = w.default_world()
    people = world.children | world.grownups
    check(HOME, text, 3000, lambda name, house: people[name].house == house)
    check(
        rf"[Tt]he ({HOUSE}) (?:stands|stood) \w+ the ({'|'.join(w.PLACES)})",
        text,
        300,
        lambda house, place: world.house_near[house] == place,
    )


def test_prices_and_sums_are_those_of_the_world(text):
    world = w.default_world()
    goods = "|".join(world.goods)
    plurals = {corpus.default_writer().casting.goods[name]["plural"]: good for name, good in world.goods.items()}
    check(
        rf"\b[Aa]n? ({goods}) (?:from [\w ]+? )?costs? ({NUMBER}) penn",
        text,
        2000,
        lambda good, price: world.goods[good].price == NUMBERS.index(price),
    )
    check(
        rf"\b(\w+) ({'|'.join(plurals)}) cost ({NUMBER}) penn",
        text.lower().replace("the ", ""),
        100,
        lambda count, good, total: (
            count not in NUMBERS or NUMBERS.index(count) * plurals[good].price == NUMBERS.index(total)
        ),
    )


def test_shops_are_closed_when_the_world_says(text):
    shops = {f"{w.TRADES[grownup.trade][1]}": grownup for grownup in w.default_world().grownups.values()}
    check(
        rf"[Tt]he ({'|'.join(shops)}) is closed on (\w+)",
        text,
        500,
        lambda shop, day: shops[shop].closed_on == day,
    )


def test_trades_are_those_of_the_world(text):
    grownups = w.default_world().grownups
    check(
        rf"({'|'.join(grownups)}) the ({'|'.join(w.TRADES)})\b",
        text,
        5000,
        lambda name, trade: grownups[name].trade == trade,
    )


def test_animals_are_those_of_the_world(text):
    children = w.default_world().children
    check(
        rf"({NAME}) (?:has|had|keeps) an? (\w+) (\w+) called (\w+)",
        text,
        1000,
        lambda name, colour, kind, pet: (
            (children[name].pet.colour, children[name].pet.kind, children[name].pet.name) == (colour, kind, pet)
        ),
    )
    check(
        rf"([A-Z]\w+), ({NAME})'s (\w+) (\w+)\b",
        text,
        500,
        lambda pet, name, colour, kind: (
            (children[name].pet.colour, children[name].pet.kind, children[name].pet.name) == (colour, kind, pet)
        ),
    )


def test_ages_are_those_of_the_world(text):
    children = w.default_world().children
    check(rf"({NAME}) (?:is|was) ({NUMBER}) years old\b", text, 1000, lambda a, n: NUMBERS[children[a].age] == n)
    check(
        rf"({NAME}) is ({NUMBER}) years? older than ({NAME})",
        text,
        400,
        lambda a, n, b: NUMBERS[children[a].age - children[b].age] == n,
    )


def test_families_and_friends_are_those_of_the_world(text):
    world = w.default_world()
    children, grownups = world.children, world.grownups
    check(
        rf"({NAME}), the (sister|brother) of ({NAME})",
        text,
        500,
        lambda a, kind, b: children[b].sibling == a and kind == {"she": "sister", "he": "brother"}[children[a].gender],
    )
    check(
        rf"({NAME})(?: is|,) the (mother|father) of ({NAME})",
        text,
        500,
        lambda a, kind, b: children[b].parent == a and kind == {"she": "mother", "he": "father"}[grownups[a].gender],
    )
    check(r"best friend of (\w+) is (\w+)", text, 300, lambda a, b: children[a].best_friend == b)


def test_treasures_and_fears_are_those_of_the_world(text):
    children = w.default_world().children
    check(
        rf"({NAME}) has an? ({'|'.join(w.TREASURES)})",
        text,
        300,
        lambda name, treasure: children[name].treasure == treasure,
    )
    check(
        rf"({NAME}) (?:is|was) afraid of ({'|'.join(w.FEARS)})",
        text,
        500,
        lambda name, fear: children[name].fear == fear,
    )
