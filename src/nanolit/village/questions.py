"""What can be asked about the village: every fact of the world, with several wordings of the question and the sentence
that answers it.

A question's pattern is (relation, subject, wording): "Where does Mira live?" is one, "What is the home of Mira?" is
another. One pattern in eight is held out, half of them for validation and half for the test: it is never asked in
training, by any task. So a held-out question asks for something that is known, in words in which it was never asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from nanolit.village import world as w
from nanolit.village.draw import TaskSplit, task_split
from nanolit.village.grammar import capital, number, pennies, plural, with_article

HELD_OUT_PER_MILLE = 125


@dataclass(frozen=True)
class Fact:
    relation: str
    subject: str
    value: str  # in few words, as a choice is
    asks: tuple[str, ...]  # wordings; one with {he} can only follow a question about the same child
    tell: str  # a whole sentence
    mentions: tuple[str, ...]  # words of which one shows that an answer is about the subject

    def split(self, wording: int) -> TaskSplit:
        return task_split((self.relation, self.subject, str(wording)), HELD_OUT_PER_MILLE)


class Question(NamedTuple):
    """A fact, and the number of the wording in which it is asked for."""

    fact: Fact
    wording: int

    @property
    def text(self) -> str:
        return self.fact.asks[self.wording]


# Relation: wordings, and the sentence. The last wording of a child's relation speaks of a child named before.
_CHILD: dict[str, tuple[tuple[str, ...], str]] = {
    "home": (
        ("Where does {s} live?", "In which house does {s} live?", "What is the home of {s}?", "Where is {s} at home?",
         "Where does {he} live?"),
        "{s} lives {at_home}.",
    ),
    "pet": (
        ("What animal does {s} have?", "Which animal does {s} keep?", "What kind of animal has {s}?",
         "What is the animal of {s}?", "What animal does {he} have?"),
        "{s} has {a_pet} called {pet_name}.",
    ),
    "pet name": (
        ("What is the name of the {pet} of {s}?", "What is the {pet} of {s} called?", "How does {s} call the {pet}?",
         "Which name has the {pet} of {s}?", "What is the name of {his} {pet}?"),
        "The {pet} of {s} is called {pet_name}.",
    ),
    "food": (
        ("What does {s} like to eat?", "What is the favourite food of {s}?", "Which food does {s} love?",
         "What should I cook for {s}?", "What does {he} like to eat?"),
        "The favourite food of {s} is {food}.",
    ),
    "hobby": (
        ("What does {s} like to do?", "What is the hobby of {s}?", "What does {s} do for fun?",
         "What is {s} fond of?", "What does {he} like to do?"),
        "{s} likes {hobby}.",
    ),
    "fear": (
        ("What is {s} afraid of?", "What scares {s}?", "What frightens {s}?", "What is the fear of {s}?",
         "What is {he} afraid of?"),
        "{s} is afraid of {fear}.",
    ),
    "treasure": (
        ("What is the treasure of {s}?", "Which treasure does {s} keep?", "What would {s} never give away?",
         "What is the dearest thing of {s}?", "What is {his} treasure?"),
        "The treasure of {s} is {a_treasure}.",
    ),
    "age": (
        ("How old is {s}?", "What is the age of {s}?", "How many years old is {s}?", "Which age has {s}?",
         "How old is {he}?"),
        "{s} is {age} years old.",
    ),
    "best friend": (
        ("Who is the best friend of {s}?", "Who is {s}'s best friend?", "With whom does {s} like to play best?",
         "Which child does {s} like best?", "Who is {his} best friend?"),
        "The best friend of {s} is {best}.",
    ),
    "sibling": (
        ("Who is the {sib} of {s}?", "Who is {s}'s {sib}?", "What is the name of the {sib} of {s}?",
         "What is the {sib} of {s} called?", "Who is {his} {sib}?"),
        "The {sib} of {s} is {sibling}.",
    ),
    "parent": (
        ("Who is the {mother} of {s}?", "Who is {s}'s {mother}?", "What is the name of the {mother} of {s}?",
         "What is the {mother} of {s} called?", "Who is {his} {mother}?"),
        "The {mother} of {s} is {parent}.",
    ),
}  # fmt: skip
_GROWNUP: dict[str, tuple[tuple[str, ...], str]] = {
    "trade": (
        ("What is the trade of {s}?", "What is {s} by trade?", "What work does {s} do?",
         "What does {s} do for a living?"),
        "{s} is {a_trade}.",
    ),
    "closed": (
        ("When is {shop} closed?", "On which day is {shop} closed?", "Which day is {shop} not open?",
         "What is the free day of {s}?"),
        "{Shop} is closed on {closed}.",
    ),
    "house": (
        ("Where does {s} live?", "In which house does {s} live?", "What is the home of {s}?", "Where is {s} at home?"),
        "{s} lives {at_home}.",
    ),
}  # fmt: skip
_GOOD: dict[str, tuple[tuple[str, ...], str]] = {
    "price": (
        ("How much is {a}?", "What does {a} cost?", "What is the price of {a}?", "How much must I pay for {a}?"),
        "{A} costs {price}.",
    ),
    "seller": (
        ("Who sells {many}?", "Who has {many} to sell?", "From whom can I buy {a}?", "Where can I get {a}?"),
        "{seller} sells {many}.",
    ),
}  # fmt: skip


def _of_child(world: w.World, child: w.Child) -> tuple[dict[str, str], dict[str, str]]:
    kids, adults = world.children, world.grownups
    she = child.gender == "she"
    forms = {
        "s": child.name, "he": child.gender, "his": "her" if she else "his",
        "at_home": f"{w.HOUSES[child.house]} the {child.house}", "pet": child.pet.kind, "pet_name": child.pet.name,
        "a_pet": with_article(f"{child.pet.colour} {child.pet.kind}"), "food": child.food,
        "hobby": w.HOBBIES[child.hobby], "fear": child.fear, "a_treasure": with_article(child.treasure),
        "age": number(child.age), "best": child.best_friend, "sibling": child.sibling, "parent": child.parent,
        "sib": "sister" if kids[child.sibling].gender == "she" else "brother",
        "mother": "mother" if adults[child.parent].gender == "she" else "father",
    }  # fmt: skip
    values = {
        "home": child.house, "pet": child.pet.kind, "pet name": child.pet.name, "food": child.food,
        "hobby": w.HOBBIES[child.hobby], "fear": child.fear, "treasure": child.treasure, "age": number(child.age),
        "best friend": child.best_friend, "sibling": child.sibling, "parent": child.parent,
    }  # fmt: skip
    return forms, values


def _of_grownup(world: w.World, grownup: w.Grownup) -> tuple[dict[str, str], dict[str, str]]:
    shop = f"the {w.TRADES[grownup.trade][1]}"
    at_home = f"{w.HOUSES[grownup.house]} the {grownup.house}"
    forms = {
        "s": grownup.name, "a_trade": with_article(grownup.trade), "shop": shop, "Shop": capital(shop),
        "closed": grownup.closed_on, "at_home": at_home,
    }  # fmt: skip
    return forms, {"trade": grownup.trade, "closed": grownup.closed_on, "house": grownup.house}


def _of_good(world: w.World, good: w.Good) -> tuple[dict[str, str], dict[str, str]]:
    a = with_article(good.name)
    forms = {"a": a, "A": capital(a), "many": plural(good.name), "price": pennies(good.price), "seller": good.seller}
    return forms, {"price": pennies(good.price), "seller": good.seller}


def _facts(
    relations: dict[str, tuple[tuple[str, ...], str]], subject: str, forms: dict[str, str], values: dict[str, str]
) -> Iterator[Fact]:
    for relation, (asks, tell) in relations.items():
        wordings = tuple(ask.format(**forms) for ask in asks)
        mentions = (subject, forms["many"]) if "many" in forms else (subject, *_shop(relation, forms))
        yield Fact(relation, subject, values[relation], wordings, tell.format(**forms), mentions)


def _shop(relation: str, forms: dict[str, str]) -> tuple[str, ...]:
    return (forms["shop"].removeprefix("the "),) if relation == "closed" else ()


@cache
def facts() -> tuple[Fact, ...]:
    """All facts of the one village."""
    world = w.default_world()
    described: list[tuple[dict, str, tuple[dict[str, str], dict[str, str]]]] = [
        *((_CHILD, name, _of_child(world, child)) for name, child in world.children.items()),
        *((_GROWNUP, name, _of_grownup(world, grownup)) for name, grownup in world.grownups.items()),
        *((_GOOD, name, _of_good(world, good)) for name, good in world.goods.items()),
    ]
    return tuple(
        fact for relations, name, (forms, values) in described for fact in _facts(relations, name, forms, values)
    )


@cache
def values_of(relation: str) -> tuple[str, ...]:
    """All that could be an answer."""
    return tuple(sorted({fact.value for fact in facts() if fact.relation == relation}))


@cache
def questions(split: TaskSplit, follows: bool) -> tuple[Question, ...]:
    """All patterns of a split. `follows`: those that speak of a child named before; else those that stand alone."""
    return tuple(
        Question(fact, wording)
        for fact in facts()
        for wording in range(len(fact.asks))
        if fact.split(wording) == split and _follows(fact, wording) == follows
    )


@cache
def facts_about(subject: str) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts() if fact.subject == subject)


def _follows(fact: Fact, wording: int) -> bool:
    return fact.relation in _CHILD and wording == len(fact.asks) - 1
