"""Talk with the village's assistant: facts in whole sentences, small talk, and what it does not know. The twin of
SmolTalk; unlike that it can be judged, by rules (village_chat_rules.py).
"""

from collections.abc import Callable
from typing import Any

from nanolit.runtime.seeds import derive
from nanolit.tasks.task import Example, Task, TaskSplit
from nanolit.tasks.village_chat_rules import is_right
from nanolit.tokenizers.messages import Message
from nanolit.village import chatter
from nanolit.village.draw import Draw
from nanolit.village.questions import Question, questions

Talk = tuple[list[str], Any]  # what user and assistant say in turn, and how the last answer is judged
SMALL_TALK: dict[str, tuple[chatter.Wordings, tuple[str, ...]]] = {
    "greet": (chatter.GREETINGS, chatter.GREETED),
    "identity": (chatter.IDENTITY, chatter.IDENTIFIED),
    "abilities": (chatter.ABILITIES, chatter.ABLE),
    "thanks": (chatter.THANKS, chatter.THANKED),
}


class VillageChat(Task):
    """The last answer is judged: a fact must be right and alone, what is unknown must be said to be, and all answers
    are whole sentences in words of the village. No question of val or test is asked in training.
    """

    kind = "generative"
    max_new_tokens = 200
    extractor = "rules for what was asked"

    def __init__(self, split: TaskSplit = "test", size: int = 1000, seed: int = 0) -> None:
        self.split, self.size, self.seed = split, size, seed

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
        question = draw.pick(questions(self.split, follows=False))
        said = [question.text, question.fact.tell]
        if draw.chance(0.1):
            said = [*self._small_talk(draw)[0], *said]
        return said, _answer_of(question, question.fact.mentions)

    def _follow_up(self, draw: Draw) -> Talk:
        first, second = chatter.follow_up(draw, self.split)
        mentions = (*second.fact.mentions, "He", "he", "She", "she", "His", "his", "Her", "her")
        return [first.text, first.fact.tell, second.text, second.fact.tell], _answer_of(second, mentions)

    def _unknown(self, draw: Draw) -> Talk:
        ask, name = chatter.unknown(draw, self.split)
        return [ask, draw.pick(chatter.UNKNOWN)], {"rule": "unknown", "name": name}

    def _small_talk(self, draw: Draw) -> Talk:
        rule = draw.pick(tuple(SMALL_TALK))
        asks, answers = SMALL_TALK[rule]
        return [draw.pick(asks[self.split]), draw.pick(answers)], {"rule": rule}

    def _passage(self, draw: Draw) -> Talk:
        name = draw.pick(chatter.people(self.split))
        return [f"Tell me about {name}.", chatter.passage(draw, name)], {"rule": "passage", "subject": name}

    def _story(self, draw: Draw) -> Talk:
        """Stories are of the documents' training split; held out is of whom one is asked for."""
        hero = draw.pick([name for name in chatter.people(self.split) if chatter.stories_about(name)])
        ask = draw.pick(chatter.STORIES[self.split]).format(x=hero)
        return [ask, draw.pick(chatter.stories_about(hero))], {"rule": "story", "subject": hero}

    def evaluate(self, example: Example, said: str) -> bool:
        return is_right(said, example.answer)


def _answer_of(question: Question, mentions: tuple[str, ...]) -> dict[str, Any]:
    fact = question.fact
    told = {"relation": fact.relation, "value": fact.value, "tell": fact.tell, "mentions": list(mentions)}
    return {"rule": "fact", **told}
