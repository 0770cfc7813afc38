"""Talk with the village's assistant: facts in whole sentences, small talk, and what it does not know. The twin of
SmolTalk; unlike that it can be judged, by rules.
"""

import re
from collections.abc import Callable
from typing import Any

from nanolit.runtime.seeds import derive
from nanolit.tasks.task import Example, Task, TaskSplit
from nanolit.tokenizers.messages import Message
from nanolit.village import chatter
from nanolit.village.corpus import stories
from nanolit.village.draw import Draw
from nanolit.village.questions import Question, facts_about, questions, values_of

Talk = tuple[list[str], Any]  # what user and assistant say in turn, and how the last answer is judged
SMALL_TALK: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...], str]] = {
    "greet": (chatter.GREETINGS, chatter.GREETED, r"\b(hello|good day|good morning|hi)\b"),
    "identity": (chatter.IDENTITY, chatter.IDENTIFIED, r"\bmodel\b"),
    "abilities": (chatter.ABILITIES, chatter.ABLE, r"\bI can\b"),
    "thanks": (chatter.THANKS, chatter.THANKED, r"\bwelcome\b"),
}
DO_NOT_KNOW = re.compile(r"\bdo not know\b")
MAX_WORDS = 25
STORIES, MAX_STORY_CHARS = 400, 600  # from which those that are told are chosen, and how long they may be


class VillageChat(Task):
    """The last answer is judged: a fact must be right and alone, what is unknown must be said to be, and all answers
    are whole sentences.
    """

    kind = "generative"
    max_new_tokens = 200
    extractor = "rules for what was asked"

    def __init__(self, split: TaskSplit = "test", size: int = 1000, seed: int = 0) -> None:
        self.split, self.size, self.seed = split, size, seed
        self.is_held_out = split != "train"
        self._stories: list[str] = []

    def __len__(self) -> int:
        return self.size

    def example(self, index: int) -> Example:
        draw = Draw(derive(self.seed, "village_chat", self.split, index))
        kinds: tuple[tuple[float, Callable[[Draw], Talk]], ...] = (
            (0.5, self._fact),
            (0.65, self._follow_up),
            (0.82, self._unknown),
            (0.92, self._small_talk),
            (0.97, self._passage),
            (1.0, self._story),
        )
        at = draw.below(1000) / 1000
        said, answer = next(kind for limit, kind in kinds if at < limit)(draw)
        roles = ("user", "assistant")
        return Example(tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said)), answer=answer)

    def _fact(self, draw: Draw) -> Talk:
        question = draw.pick(questions(self.is_held_out, follows=False))
        said = [question.text, question.fact.tell]
        if draw.chance(0.1):
            said = [*self._small_talk(draw)[0], *said]
        return said, _answer_of(question, question.fact.mentions)

    def _follow_up(self, draw: Draw) -> Talk:
        first, second = chatter.follow_up(draw, self.is_held_out)
        mentions = (*second.fact.mentions, "He", "he", "She", "she", "His", "his", "Her", "her")
        return [first.text, first.fact.tell, second.text, second.fact.tell], _answer_of(second, mentions)

    def _unknown(self, draw: Draw) -> Talk:
        return [chatter.unknown(draw, self.is_held_out), draw.pick(chatter.UNKNOWN)], {"rule": "unknown"}

    def _small_talk(self, draw: Draw) -> Talk:
        rule = draw.pick(tuple(SMALL_TALK))
        asks, answers, _ = SMALL_TALK[rule]
        return [draw.pick(asks[self.is_held_out]), draw.pick(answers)], {"rule": rule}

    def _passage(self, draw: Draw) -> Talk:
        name = draw.pick(chatter.people())
        return [f"Tell me about {name}.", chatter.passage(draw, name)], {"rule": "passage", "subject": name}

    def _story(self, draw: Draw) -> Talk:
        """Stories are of the documents' training split: nothing is held out of them here."""
        if not self._stories:
            self._stories = [text for text in stories(stop=STORIES) if len(text) <= MAX_STORY_CHARS]
        story = draw.pick(self._stories).replace("\n\n", "\n")
        ask = "Tell me a story!" if draw.chance(0.5) else "Do you know a story?"
        return [ask, story], {"rule": "story"}

    def evaluate(self, example: Example, said: str) -> bool:
        rule = example.answer["rule"]
        if not _is_whole(said):
            return False
        if rule == "unknown":
            return DO_NOT_KNOW.search(said) is not None and len(said.split()) <= MAX_WORDS
        if DO_NOT_KNOW.search(said):
            return False
        if rule == "story":
            return len(re.findall(r"[.!?]", said)) >= 5
        if rule == "passage":
            true = {fact.tell for fact in facts_about(example.answer["subject"])}
            told = re.findall(r"[^.]+\.", said)
            return len(told) >= 2 and all(sentence.strip() in true for sentence in told)
        if len(said.split()) > MAX_WORDS:
            return False
        if rule in SMALL_TALK:
            return re.search(SMALL_TALK[rule][2], said, re.IGNORECASE) is not None
        return _tells(said, example.answer)


def _answer_of(question: Question, mentions: tuple[str, ...]) -> dict[str, Any]:
    fact = question.fact
    told = {"relation": fact.relation, "value": fact.value, "tell": fact.tell, "mentions": list(mentions)}
    return {"rule": "fact", **told}


def _is_whole(said: str) -> bool:
    return bool(re.fullmatch(r'["A-Z].*[.!?]"?', said.strip(), re.DOTALL))


def _tells(said: str, answer: dict[str, Any]) -> bool:
    """The right value, of whom it was asked for, and no other of its kind but what the right sentence has too."""
    if not _has(said, answer["value"]) or not any(_has(said, words) for words in answer["mentions"]):
        return False
    others = (value for value in values_of(answer["relation"]) if value != answer["value"])
    return not any(_has(said, value) and not _has(answer["tell"], value) for value in others)


def _has(text: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", text) is not None
