"""Small talk of the village: greetings, who one is, what one cannot know, passages about a person; texts and no ids.

Whatever is held out here (names and countries that are unknown, ways to greet) stands in lists of its own.
"""

from nanolit.village.draw import Draw
from nanolit.village.questions import Question, facts_about, questions
from nanolit.village.world import BOYS, GIRLS, MEN, WOMEN, default_world

VILLAGERS = (*GIRLS, *BOYS, *WOMEN, *MEN)

# (train, held out) of what is said to the assistant, and what it says; `reply` of village_chat judges by these too
GREETINGS = (
    ("Hello!", "Good morning!", "Hi!", "Good day!", "Hello there!", "Hi, how are you?", "Good evening!"),
    ("Hello, how are you?", "Hi there!", "Good afternoon!"),
)
GREETED = ("Hello! What do you want to know about Thimbleford?", "Good day! Ask me about the village.")
IDENTITY = (
    ("Who are you?", "What are you?", "What is your name?", "Are you a person?", "Who am I talking to?"),
    ("Who is there?", "Tell me who you are.", "Are you a machine?"),
)
IDENTIFIED = ("I am a little language model. I know the village of Thimbleford.",)
ABILITIES = (
    ("What can you do?", "How can you help me?", "What do you know?", "What can I ask you?"),
    ("What are you good at?", "What should I ask you?"),
)
ABLE = ("I can tell you about Thimbleford, spell words and calculate.",)
THANKS = (
    ("Thank you!", "Thanks!", "Thank you very much!", "That is all, thank you."),
    ("Many thanks!", "Thank you, that is all."),
)
THANKED = ("You are welcome!", "You are welcome! Come again.")
UNKNOWN = ("I do not know that. I only know the village of Thimbleford.", "I do not know that.")

PLACES = (
    ("France", "Spain", "Japan", "Peru", "Kenya", "Norway", "Egypt", "India", "China", "Italy", "Chile", "Poland",
     "London", "Paris", "Berlin", "Rome", "Moscow", "Tokyo", "America", "Africa"),
    ("Greece", "Brazil", "Canada", "Sweden", "Madrid", "Vienna"),
)  # fmt: skip
PEOPLE = (
    ("Bob", "Alice", "Peter", "Anna", "George", "Mary", "Hans", "Ivan", "Lucy", "Frank", "Carl", "Rosa", "John",
     "Paul", "Emma", "Max", "Julia", "David", "Laura", "Simon", "Nora", "Felix", "Martin", "Sarah"),
    ("Steve", "Clara", "Oscar", "Diana", "Thomas", "Helen"),
)  # fmt: skip
ABOUT_PLACES = (
    "What is the capital of {x}?", "Who is the president of {x}?", "How far is it to {x}?", "Where is {x}?",
    "How many people live in {x}?", "What do they eat in {x}?", "What is the weather in {x}?",
)  # fmt: skip
ABOUT_PEOPLE = (
    "Where does {x} live?", "How old is {x}?", "What does {x} like to eat?", "What animal does {x} have?",
    "Who is the best friend of {x}?", "What is {x} afraid of?", "What is the trade of {x}?", "Tell me about {x}.",
)  # fmt: skip


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
KNOWN_NAMES = frozenset(VILLAGERS) | {name for lists in (PLACES, PEOPLE) for names in lists for name in names}


def made_up(draw: Draw) -> str:
    """A name that nobody has, so that what is unknown is learnt to be any name but those of the village."""
    while True:
        name = draw.pick(ONSETS) + draw.pick(MIDDLES) + draw.pick(ENDS)
        if name not in KNOWN_NAMES:
            return name


def unknown(draw: Draw, held_out: bool) -> str:
    """A question that nobody who knows only the village can answer. In training most names are made up."""
    asks, things = draw.pick(((ABOUT_PLACES, PLACES), (ABOUT_PEOPLE, PEOPLE)))
    name = draw.pick(things[held_out]) if held_out or draw.chance(0.3) else made_up(draw)
    return draw.pick(asks).format(x=name)


def follow_up(draw: Draw, held_out: bool) -> tuple[Question, Question]:
    """A question about a child, and one that speaks of the same child without its name."""
    second = draw.pick(questions(held_out, follows=True))
    about = [q for q in questions(False, follows=False) if q.fact.subject == second.fact.subject]
    return draw.pick(about), second


def passage(draw: Draw, name: str) -> str:
    """Three things about a person."""
    return " ".join(fact.tell for fact in draw.shuffled(facts_about(name))[:3])


def people() -> tuple[str, ...]:
    world = default_world()
    return (*world.children, *world.grownups)
