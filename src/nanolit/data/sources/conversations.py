"""Rows of supervised data in many formats become examples in one schema, or one line that says what is wrong and where.

Reading files is formats.py's, turning examples into ids tokenizers/chat.py's. The format is seen by a row's keys:

    {"prompt": "…", "completion": "…"}                   or "response"
    {"messages": [{"role": "user", "content": "…"}, …]}  as OpenAI's
    [{"role": "user", "content": "…"}, …]                nanochat's bare array
    {"instruction": "…", "input": "…", "output": "…"}    Alpaca; Dolly says "context" and "response"
    {"conversations": [{"from": "human", "value": "…"}]} ShareGPT
"""

import hashlib
import json
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nanolit.data.config import DataConfig
from nanolit.data.sources.plan import Encoded
from nanolit.tokenizers.chat import render_example
from nanolit.tokenizers.messages import Message, check, fields, merge_system, named, text, texts_of
from nanolit.tokenizers.protocol import Tokenizer

# Question, what may stand below it, answer.
PAIRS = (
    ("prompt", None, "completion"),
    ("prompt", None, "response"),
    ("question", None, "answer"),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
)
LISTS = ("messages", "conversations")
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
# What the well-known sets say about a row beside the row itself; Alpaca's "text" is the same once more.
IGNORED = frozenset({"id", "source", "category", "text"})


@dataclass(frozen=True)
class Example:
    """A conversation that passed `messages.check` and ends with an answer."""

    messages: tuple[Message, ...]


def parse(row: Any, where: object, ignore: Collection[str] = ()) -> Example:
    """The example in `row`, which is whatever JSON can say; `where` (file:line) is written only into errors.

    Keys in IGNORED are passed over in the row, those in `ignore` in its messages too; others must be known.
    """
    try:
        messages = check(_messages(row, ignore), ignore)
        _check_end(messages)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Example(tuple(messages))


def _check_end(messages: list[Message]) -> None:
    if len(messages) < 2:
        raise ValueError("messages: got 1, allowed: 2 or more; add the answer or remove the row")
    if messages[-1]["role"] != "assistant":
        raise ValueError(
            f"messages: the last is of the {messages[-1]['role']}, allowed: of the assistant, as only answers are "
            "learnt; add the answer or remove the message"
        )


def key(example: Example) -> str:
    """SHA-256 of the content: equal for equal conversations, whatever format they came in."""
    canonical = json.dumps(example.messages, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def texts(example: Example) -> list[str]:
    """Everything that is said, in order, without the tokens around it."""
    return [text for message in merge_system(example.messages) for text in texts_of(message)]


def n_bytes(example: Example) -> int:
    """Bytes of text, as UTF-8: what the tokens of the rendered conversation stand for, special tokens left out."""
    return sum(len(text.encode()) for text in texts(example))


def encoded(example: Example, tokenizer: Tokenizer, config: DataConfig) -> Encoded:
    row = render_example(example.messages, tokenizer, config.render)
    if config.max_example_tokens is not None:
        row = row.within(config.max_example_tokens) or row  # packing leaves out, and counts, what is too long even so
    return Encoded(row.ids, None if config.loss_on == "all" else row.supervised)


def _messages(row: Any, ignore: Collection[str]) -> Any:
    """The row's messages, unchecked but for what `check` would not see."""
    if isinstance(row, list | tuple):
        return row
    if not isinstance(row, Mapping):
        raise ValueError(f"got {named(row)}, allowed: an object, or an array of messages; mend the row")
    for question, _, answer in PAIRS:
        for name in (question, answer):
            if question in row and answer in row and row[name] is None:
                raise ValueError(f"{name}: got null, allowed: text; add it or remove the row")
    dropped = {*IGNORED, *ignore}
    row = {name: value for name, value in row.items() if value is not None and name not in dropped}
    for name in LISTS:
        if name in row:
            found = fields(row, "the row", (name,), ())[name]
            is_sharegpt = isinstance(found, list | tuple) and any(isinstance(x, Mapping) and "from" in x for x in found)
            return [_turn(x, f"message {i}", ignore) for i, x in enumerate(found, 1)] if is_sharegpt else found
    for question, below, answer in PAIRS:
        if question in row and answer in row:
            return _pair(row, question, below, answer)
    known = [f"{{{', '.join(filter(None, pair))}}}" for pair in PAIRS]
    raise ValueError(
        f"keys {reprlib.repr(list(row))} are of no known format, allowed: {', '.join(known)}, "
        f"{{{'}, {'.join(LISTS)}}}; rename them"
    )


def _pair(row: Mapping[str, Any], question: str, below: str | None, answer: str) -> list[Message]:
    found = fields(row, "the row", (question, answer), (), optional=(below,) if below else ())
    asked, answered = text(found[question], question), text(found[answer], answer)
    if below and found.get(below, "") != "":
        asked += "\n\n" + text(found[below], below)
    return [Message(role="user", content=asked), Message(role="assistant", content=answered)]


def _turn(turn: Any, where: str, ignore: Collection[str]) -> dict[str, Any]:
    """A turn of ShareGPT in the words of `check`."""
    found = fields(turn, where, ("from", "value"), ignore)
    role = SHAREGPT_ROLES.get(found["from"]) if isinstance(found["from"], str) else None
    if role is None:
        raise ValueError(
            f"{where}: from is {reprlib.repr(found['from'])}, allowed: {', '.join(SHAREGPT_ROLES)}; rename it"
        )
    return {"role": role, "content": found["value"]}
