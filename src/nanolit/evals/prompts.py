"""How an example of a task becomes ids to go on from, and how what follows is read: a chat for models that have the
tokens of one, a text to complete for all others. It asks nobody and judges nothing.
"""

import json
from collections.abc import Sequence
from typing import Protocol

from nanolit.evals.asking import Template
from nanolit.inference.generate import text_prompt
from nanolit.inference.request import Interjection
from nanolit.inference.text import before_stop
from nanolit.inference.tool_calls import ToolCalls
from nanolit.inference.tools import tools_by_name
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.chat import REMEDY, ends_of_answer, has_chat_tokens, render_prompt, text_said
from nanolit.tokenizers.messages import Conversation, Message, check, merge_system
from nanolit.tokenizers.protocol import Tokenizer


class Prompts(Protocol):
    told: str  # with a score: how an item became a prompt
    stop: tuple[str, ...]  # texts that end an answer
    stop_ids: frozenset[int]

    def text(self, example: Example) -> str:
        """What is asked, whatever the tokens: equal if and only if the same is asked."""

    def ids(self, example: Example) -> list[int]: ...

    def letter_ids(self, example: Example) -> list[int]:
        """The one token of each letter, as it would follow the prompt."""

    def interject(self, task: Task) -> Interjection | None:
        """What speaks in the middle of an answer."""

    def said(self, ids: Sequence[int]) -> str:
        """The text of an answer, which the task is to judge."""


def make_prompts(tokenizer: Tokenizer, template: Template, shots: Sequence[Example] = ()) -> Prompts:
    if template == "completion" or (template == "auto" and not has_chat_tokens(tokenizer)):
        return Completion(tokenizer, shots)
    if not has_chat_tokens(tokenizer):
        raise ValueError(
            "template: got chat, but the model's tokenizer has no chat tokens; give template=completion, or a model "
            "that was fine-tuned as a chat"
        )
    return Chat(tokenizer, shots)


class Chat:
    """Shots are earlier turns."""

    stop: tuple[str, ...] = ()

    def __init__(self, tokenizer: Tokenizer, shots: Sequence[Example] = ()) -> None:
        self.tokenizer = tokenizer
        self.told = "chat, as tokenizers/chat.py renders it" + (", shots as earlier turns" if shots else "")
        self.stop_ids = ends_of_answer(tokenizer)
        self._before = [message for shot in shots for message in merge_system(check(shot.messages))]

    def _conversation(self, example: Example) -> Conversation:
        return [*self._before, *merge_system(check(example.messages))[:-1]]

    def text(self, example: Example) -> str:
        return json.dumps(self._conversation(example), ensure_ascii=False)

    def ids(self, example: Example) -> list[int]:
        return render_prompt(self._conversation(example), self.tokenizer)

    def letter_ids(self, example: Example) -> list[int]:
        found = _single_tokens([self.tokenizer.encode(letter) for letter in example.letters])
        return found or _refuse_letters(example, self.tokenizer, REMEDY)

    def interject(self, task: Task) -> Interjection | None:
        return ToolCalls(self.tokenizer, tools_by_name(task.tools)) if task.tools else None

    def said(self, ids: Sequence[int]) -> str:
        return text_said(ids, self.tokenizer)


class Completion:
    """Question: …, Answer: …, an empty line between examples. What tools were asked in a shot is left out: there are
    no tokens to ask them by.
    """

    stop: tuple[str, ...] = ("\nQuestion:",)

    def __init__(self, tokenizer: Tokenizer, shots: Sequence[Example] = ()) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(() if tokenizer.eot_id is None else [tokenizer.eot_id])
        self._before = "".join(f"{_asked(shot.messages)} {_text_of(shot.messages[-1])}\n\n" for shot in shots)
        self.told = "completion: Question: …, Answer: the letter or the answer" + (", shots before" if shots else "")

    def text(self, example: Example) -> str:
        return self._before + _asked(example.messages)

    def ids(self, example: Example) -> list[int]:
        end = "" if not example.letters or self._spaced(example) else " "
        return text_prompt(self.tokenizer, self.text(example) + end)

    def letter_ids(self, example: Example) -> list[int]:
        """Where not every letter is one token together with the space before it, the space ends the prompt."""
        found = self._spaced(example) or _single_tokens([self._rest(letter) for letter in example.letters])
        return found or _refuse_letters(example, self.tokenizer, "evaluate another model on this task")

    def _spaced(self, example: Example) -> list[int]:
        return _single_tokens([self._rest(f" {letter}") for letter in example.letters])

    def _rest(self, text: str) -> list[int]:
        return self.tokenizer.encode_rest(text).tolist()

    def interject(self, task: Task) -> None:
        return None

    def said(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(token for token in ids if token not in self.stop_ids)
        return before_stop(text, self.stop).strip()


def _asked(messages: Conversation) -> str:
    *before, _ = merge_system(check(messages))
    told = [f"Question: {_text_of(m)}\nAnswer:" if m["role"] == "user" else f" {_text_of(m)}\n\n" for m in before]
    return "".join(told)


def _text_of(message: Message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")


def _single_tokens(found: Sequence[Sequence[int]]) -> list[int]:
    """Empty unless each is one token, and each another."""
    firsts = [ids[0] for ids in found if len(ids) == 1]
    return firsts if len(set(firsts)) == len(found) else []


def _refuse_letters(example: Example, tokenizer: Tokenizer, remedy: str) -> list[int]:
    raise ValueError(
        f"letters: {', '.join(example.letters)} are not single tokens of this tokenizer ({tokenizer.kind}, "
        f"{tokenizer.vocab_size} ids), allowed: letters that are, so that one pass can choose; {remedy}"
    )


def cropped(ids: list[int], room: int) -> list[int]:
    """The first token, which says that a text begins, and the end of what is too long."""
    return ids if len(ids) <= room else [ids[0], *ids[len(ids) - room + 1 :]][:room]
