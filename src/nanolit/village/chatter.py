"""Small talk of the village: greetings, who one is, what one cannot know, passages about a person; texts and no ids.

Whatever is held out here (names, things and wordings of what is unknown, ways to greet, of whom is told) has a list for
each split: train, val, test.
"""

from functools import cache
from typing import NamedTuple

from nanolit.village.corpus import default_writer
from nanolit.village.draw import Draw, TaskSplit, task_split
from nanolit.village.questions import Question, facts_about, questions
from nanolit.village.world import BOYS, GIRLS, MEN, WOMEN, default_world

VILLAGERS = (*GIRLS, *BOYS, *WOMEN, *MEN)
HELD_OUT_PER_MILLE = 200  # of the names of which one is told, in passages and stories
N_STORIES, MAX_STORY_CHARS = 3000, 600  # from which those that are told are chosen, and how long they may be
Wordings = dict[TaskSplit, tuple[str, ...]]

# What is said to the assistant, and what it says; the rules of tasks/village_chat_rules.py judge by these too
GREETINGS: Wordings = {
    "train": ("Hello!", "Good morning!", "Hi!", "Good day!", "Hello there!", "Hi, how are you?", "Good evening!"),
    "val": ("Good afternoon!", "Good morning to you!"),
    "test": ("Hello, how are you?", "Hi there!"),
}
GREETED = ("Hello! What do you want to know about Thimbleford?", "Good day! Ask me about the village.")
IDENTITY: Wordings = {
    "train": (
        "Who are you?",
        "What are you?",
        "What is your name?",
        "Are you a person?",
        "Who am I talking to?",
        "Tell me your name.",
        "Tell me what you are.",
        "Are you a robot?",
        "Are you a teacher?",
    ),
    "val": ("Who is there?", "Are you a child?"),
    "test": ("Tell me who you are.", "Are you a machine?"),
}
IDENTIFIED = ("I am a little language model. I know the village of Thimbleford.",)
ABILITIES: Wordings = {
    "train": (
        "What can you do?",
        "How can you help me?",
        "What do you know?",
        "What can I ask you?",
        "What are you able to do?",
        "Can you tell me something?",
        "Can I ask you something?",
        "What are you for?",
    ),
    "val": ("What should I ask you?", "What can you tell me?"),
    "test": ("What are you good at?", "Can you help me?"),
}
ABLE = ("I can tell you about Thimbleford, spell words and calculate.",)
THANKS: Wordings = {
    "train": ("Thank you!", "Thanks!", "Thank you very much!", "That is all, thank you."),
    "val": ("Thank you so much!", "Thank you, goodbye!"),
    "test": ("Many thanks!", "Thank you, that is all."),
}
THANKED = ("You are welcome!", "You are welcome! Come again.")
UNKNOWN = ("I do not know that. I only know the village of Thimbleford.", "I do not know that.")
STORIES: dict[TaskSplit, tuple[str, ...]] = {
    "train": ("Tell me a story about {x}!", "Do you know a story about {x}?", "I want to hear a story about {x}."),
    "val": ("Tell me a story about {x}!", "Do you know a story about {x}?"),
    "test": ("Tell me a story about {x}!", "Do you know a story about {x}?"),
}


class Strange(NamedTuple):
    """A sort of things of which the village knows nothing: wordings, and names; both have their splits."""

    asks: Wordings
    names: Wordings


STRANGE = (
    Strange(  # places
        {
            "train": ("What is the capital of {x}?", "Who is the president of {x}?", "How far is it to {x}?",
                      "Where is {x}?", "How many people live in {x}?", "What do they eat in {x}?"),
            "val": ("What is the weather in {x}?", "Who is the king of {x}?"),
            "test": ("Which language do they speak in {x}?", "How big is {x}?"),
        },
        {
            "train": ("France", "Spain", "Japan", "Peru", "Kenya", "Norway", "Egypt", "India", "China", "Italy",
                      "Chile", "Poland", "London", "Paris", "Berlin", "Rome", "Moscow", "Tokyo", "America", "Africa"),
            "val": ("Greece", "Brazil", "Canada"),
            "test": ("Sweden", "Madrid", "Vienna"),
        },
    ),
    Strange(  # people
        {
            "train": ("Where does {x} live?", "How old is {x}?", "What does {x} like to eat?", "Tell me about {x}.",
                      "What animal does {x} have?", "Who is the best friend of {x}?", "What is {x} afraid of?"),
            "val": ("What is the trade of {x}?", "What is the hobby of {x}?"),
            "test": ("What is the treasure of {x}?", "In which house does {x} live?"),
        },
        {
            "train": ("Bob", "Alice", "Peter", "Anna", "George", "Mary", "Hans", "Ivan", "Lucy", "Frank", "Carl",
                      "Rosa", "John", "Paul", "Emma", "Max", "Julia", "David", "Laura", "Simon", "Nora", "Felix",
                      "Martin", "Sarah"),
            "val": ("Steve", "Clara", "Oscar"),
            "test": ("Diana", "Thomas", "Helen"),
        },
    ),
    Strange(  # things
        {
            "train": ("What does a {x} cost?", "How does a {x} work?", "Who sells a {x}?", "Who has a {x}?",
                      "Where can I get a {x}?"),
            "val": ("How fast is a {x}?", "How much is a {x}?"),
            "test": ("Who invented the {x}?", "How heavy is a {x}?"),
        },
        {
            "train": ("computer", "telephone", "car", "camera", "rocket", "radio", "robot", "piano", "motor", "laser",
                      "banana", "lion", "tiger", "camel", "zebra", "giraffe"),
            "val": ("bicycle", "television", "panther"),
            "test": ("tractor", "helicopter", "crocodile"),
        },
    ),
)  # fmt: skip
# Of what no training question speaks: sorts of things for val and test alone
STRANGE_SORTS: dict[TaskSplit, tuple[Strange, ...]] = {
    "train": (),
    "val": (Strange({"val": ("How far away is {x}?", "How hot is {x}?")}, {"val": ("Mars", "Venus", "Jupiter")}),),
    "test": (Strange({"test": ("How long is {x}?", "Where does {x} end?")}, {"test": ("the Rhine", "the Volga")}),),
}  # fmt: skip


ONSETS = (
    "B",
    "Br",
    "C",
    "Cl",
    "D",
    "Dr",
    "F",
    "G",
    "Gr",
    "H",
    "J",
    "K",
    "L",
    "M",
    "N",
    "P",
    "R",
    "S",
    "St",
    "T",
    "V",
    "Z",
)
MIDDLES = ("a", "e", "i", "o", "u", "an", "el", "in", "or", "ar", "er", "ia", "on", "um", "as", "ee", "ra", "le", "za")
ENDS = (
    "ce",
    "da",
    "den",
    "dor",
    "k",
    "l",
    "land",
    "len",
    "lia",
    "m",
    "n",
    "na",
    "ne",
    "ra",
    "rid",
    "s",
    "t",
    "va",
    "zil",
)
KNOWN_NAMES = {name.lower() for name in VILLAGERS} | {
    name.removeprefix("the ").lower()
    for sort in (*STRANGE, *(sort for sorts in STRANGE_SORTS.values() for sort in sorts))
    for names in sort.names.values()
    for name in names
}


def made_up(draw: Draw) -> str:
    """A name that nobody has, so that what is unknown is learnt to be any name but those of the village."""
    while True:
        name = draw.pick(ONSETS) + draw.pick(MIDDLES) + draw.pick(ENDS)
        if name.lower() not in KNOWN_NAMES:
            return name


def unknown(draw: Draw, split: TaskSplit) -> tuple[str, str]:
    """A question that nobody who knows only the village can answer, and the name of what it asks for. In training most
    names are made up; else the name is new, and in one of three questions the wording too, or all of it.
    """
    own = STRANGE_SORTS[split]
    is_own = bool(own) and draw.chance(0.2)
    sort = draw.pick(own if is_own else STRANGE)
    if split == "train":
        name = draw.pick(sort.names[split]) if draw.chance(0.3) else made_up(draw)
        if sort is STRANGE[-1]:
            name = name.lower()
        ask = draw.pick(sort.asks[split])
    else:
        name = draw.pick(sort.names[split])
        ask = draw.pick(sort.asks[split if is_own or draw.chance(0.3) else "train"])
    return ask.format(x=name), name


def follow_up(draw: Draw, split: TaskSplit) -> tuple[Question, Question]:
    """A question about a child, and one that speaks of the same child without its name."""
    second = draw.pick(questions(split, follows=True))
    about = [q for q in questions("train", follows=False) if q.fact.subject == second.fact.subject]
    return draw.pick(about), second


def passage(draw: Draw, name: str) -> str:
    """Three things about a person."""
    return " ".join(fact.tell for fact in draw.shuffled(facts_about(name))[:3])


@cache
def people(split: TaskSplit) -> tuple[str, ...]:
    """Of whom is told in conversations of this split."""
    world = default_world()
    names = (*world.children, *world.grownups)
    return tuple(name for name in names if task_split(("people", name), HELD_OUT_PER_MILLE) == split)


@cache
def stories_about(name: str) -> tuple[str, ...]:
    """Short ones of the documents' training split whose hero this child is."""
    return _short_stories().get(name, ())


@cache
def _short_stories() -> dict[str, tuple[str, ...]]:
    writer, found = default_writer(), dict[str, list[str]]()
    for index in range(N_STORIES):
        (_, hero, _), text = writer.document(0, "train", index, "story")
        if len(text) <= MAX_STORY_CHARS:
            found.setdefault(hero, []).append(text.replace("\n\n", "\n"))
    return {hero: tuple(texts) for hero, texts in found.items()}
