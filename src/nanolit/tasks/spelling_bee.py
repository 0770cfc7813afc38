"""Letters of English words, after nanochat's two tasks: SpellingBee counts one in a word, by hand and then by the tool;
SimpleSpelling only spells. Of 370,000 words (dwyl/english-words, Unlicense).

Not nanochat's items: SpellingBee asks in 32 wordings of ours (nanochat has 51 of its own, in the same seven languages)
and works answers out in our words; words are drawn by our seeds; and test words are never spelt in training, where
nanochat's test asked what its training had shown. So scores of the two are not comparable item by item.
"""

from functools import lru_cache
from typing import Literal

from nanolit.runtime.seeds import derive
from nanolit.tasks.final_number import marked_number
from nanolit.tasks.task import Example, Task, question_and_answer
from nanolit.tasks.word_list import downloaded, read_words
from nanolit.tokenizers.messages import Part
from nanolit.village.draw import Draw

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# English, Spanish, Chinese, Korean, French, German, Japanese; {l}: the letter, {w}: the word
ASKS = (
    "How many {l} are in {w}", "How many {l} are there in {w}", "Count the number of {l} in {w}",
    "How often does {l} occur in {w}", "What is the number of {l} in {w}", "In {w}, how many times is there {l}",
    "How many times do you see {l} in {w}", "Please count every {l} in {w}", "Tell me how many {l} {w} has",
    "{w}: how many {l}", "Does {w} have any {l}, and how many", "How frequent is the letter {l} in {w}",
    "Cuántas {l} hay en {w}", "Cuántas veces aparece {l} en {w}", "Cuenta las {l} de {w}", "En {w}, cuántas {l} ves",
    "{w}里有几个{l}", "{w}中{l}出现了几次", "请数一数{w}里的{l}", "在{w}中有多少个{l}",
    "{w}에 {l}이 몇 개 있나요", "{w}에서 {l}은 몇 번 나오나요", "{w} 속의 {l}을 세어 주세요",
    "Combien de {l} y a-t-il dans {w}", "Combien de fois trouve-t-on {l} dans {w}", "Compte les {l} dans {w}",
    "Wie viele {l} sind in {w}", "Wie oft kommt {l} in {w} vor", "Zähle die {l} in {w}",
    "{w}に{l}はいくつありますか", "{w}の中で{l}は何回出てきますか", "{w}の{l}を数えてください",
)  # fmt: skip
QUOTES = ("", "'", '"')


class _Words(Task):
    kind = "generative"

    def __init__(
        self,
        split: Literal["train", "test"] = "test",
        size: int = 1000,
        path: str | None = None,
        words: Literal["dwyl", "village"] = "dwyl",
    ) -> None:
        """`path`: a list of words, one in each line; None: downloaded once. `size` examples are drawn."""
        if size < 1:
            raise ValueError(f"size: got {size}, must be at least 1; ask for more")
        if words == "village" and path is not None:
            raise ValueError(f"path: got {path}, which words=village does not read; leave one of them out")
        self.split, self.size = split, size
        self.files = () if words == "village" else (path or str(downloaded()),)
        self._words = read_words(self.files[0] if self.files else None, split == "test")

    def __len__(self) -> int:
        return self.size


class SpellingBee(_Words):
    tools = ("calculator",)
    extractor = "the number after ####; nanolit's wordings, not nanochat's"

    def example(self, index: int) -> Example:
        draw = Draw(derive(0, "SpellingBee", self.split, index))
        word = draw.pick(self._words)
        letter = draw.pick(word) if draw.chance(0.9) else draw.pick(LETTERS)
        ask = draw.pick(ASKS)
        ask = ask.lower() if draw.chance(0.3) else ask
        asked = ask.format(l=_quoted(draw, letter), w=_quoted(draw, word)) + ("?" if draw.chance(0.5) else "")
        n = word.count(letter)
        answer = [
            Part(type="text", text=_by_hand(word, letter)),
            Part(type="python", text=f"'{word}'.count('{letter}')"),
            Part(type="python_output", text=str(n)),
            Part(type="text", text=f"\n\nPython counts {n}.\n\n#### {n}"),
        ]
        return Example(question_and_answer(asked, answer), answer=str(n))

    def evaluate(self, example: Example, said: str) -> bool:
        return marked_number(said) == example.answer


class SimpleSpelling(_Words):
    max_new_tokens = 128
    extractor = "whole answer; nanolit's draw of words, not nanochat's"

    def example(self, index: int) -> Example:
        """Every word once before any comes again."""
        n_passes, place = divmod(index, len(self._words))
        word = self._words[_order(len(self._words), derive(0, "SimpleSpelling", self.split, n_passes))[place]]
        spelt = f"{word}:{','.join(word)}"
        return Example(question_and_answer(f"Spell the word: {word}", spelt), answer=spelt)

    def evaluate(self, example: Example, said: str) -> bool:
        return said.strip() == example.answer


@lru_cache(maxsize=4)
def _order(n: int, seed: int) -> list[int]:
    return Draw(seed).shuffled(range(n))


def _quoted(draw: Draw, text: str) -> str:
    quote = draw.pick(QUOTES)
    return f"{quote}{text}{quote}"


def _by_hand(word: str, letter: str) -> str:
    lines = [
        f"How often does '{letter}' stand in the word '{word}'? I count by hand first.",
        "",
        "The word, spelt:",
        f"{word}:{','.join(word)}",
        "",
        f"Which of these are '{letter}':",
    ]
    n = 0
    for number, char in enumerate(word, start=1):
        n += char == letter
        lines.append(f"{number}:{char}" + (f" yes, {n}" if char == letter else ""))
    return "\n".join([*lines, "", f"That makes {n}.", "", "And by Python:", "", ""])
