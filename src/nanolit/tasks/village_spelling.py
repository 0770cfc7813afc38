"""Letters of words: the twin of nanochat's SpellingBee and SimpleSpelling on the village's own list, in few tokens."""

from functools import cache

from nanolit.runtime.seeds import derive
from nanolit.tasks.final_number import marked_number
from nanolit.tasks.task import Example, Task, TaskSplit, question_and_answer
from nanolit.tokenizers.messages import Part
from nanolit.village.draw import Draw, task_split
from nanolit.village.words import WORDS

HELD_OUT_PER_MILLE = 100
COUNT = (
    "How many times does the letter {letter} occur in the word {word}?",
    "How often is the letter {letter} in the word {word}?",
    "How many letters {letter} has the word {word}?",
    "Count the letter {letter} in the word {word}.",
)
SPELL = ("Spell the word {word}.", "How do you spell the word {word}?", "What are the letters of the word {word}?")
SHARE_SPELT = 0.5  # the others are counted
SHARE_MADE_UP = 0.6  # of the words in training
SHARE_FROM_WORD = 0.9  # of the letters to be counted; others may be any


@cache
def words(split: TaskSplit) -> tuple[str, ...]:
    return tuple(word for word in WORDS if task_split(("spelling", word), HELD_OUT_PER_MILLE) == split)


def made_up(draw: Draw) -> str:
    """The beginning of one word and the end of another: so that every piece of a word is spelt in many words."""
    while True:
        one, two = draw.pick(words("train")), draw.pick(words("train"))
        word = one[: 1 + draw.below(len(one) - 1)] + two[1 + draw.below(len(two) - 1) :]
        if 4 <= len(word) <= 9 and word not in words("val") + words("test"):
            return word


class VillageSpelling(Task):
    """Words of val and test are never spelt in training, where half of the words are made up."""

    kind = "generative"
    tools = ("calculator",)
    max_new_tokens = 64
    extractor = "the letters, or the number after ####"

    def __init__(self, split: TaskSplit = "test", size: int = 1000, seed: int = 0) -> None:
        self.split, self.size, self.seed = split, size, seed
        self._words = words(split)

    def __len__(self) -> int:
        return self.size

    def example(self, index: int) -> Example:
        draw = Draw(derive(self.seed, "spelling", self.split, index))
        word = made_up(draw) if self.split == "train" and draw.chance(SHARE_MADE_UP) else draw.pick(self._words)
        letters = " ".join(word)
        if draw.chance(SHARE_SPELT):
            return Example(question_and_answer(draw.pick(SPELL).format(word=word), f"{letters}."), answer=letters)
        letter = draw.pick(word) if draw.chance(SHARE_FROM_WORD) else draw.pick("abcdefghijklmnopqrstuvwxyz")
        n = word.count(letter)
        answer = [
            Part(type="text", text=f"{letters}. "),
            Part(type="python", text=f"'{word}'.count('{letter}')"),
            Part(type="python_output", text=str(n)),
            Part(type="text", text=f"\n#### {n}"),
        ]
        asked = draw.pick(COUNT).format(letter=letter, word=word)
        return Example(question_and_answer(asked, answer), answer=n)

    def evaluate(self, example: Example, said: str) -> bool:
        if isinstance(example.answer, str):
            return said.strip().rstrip(".") == example.answer
        return marked_number(said) == str(example.answer)
