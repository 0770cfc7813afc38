"""The `messages` of a request as a conversation in nanochat's schema, within the limits, and as ids that fit."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from nanolit.serve.errors import Refusal
from nanolit.serve.fields import Fields, shown
from nanolit.serve.settings import MAX_MESSAGE_CHARS, MAX_MESSAGES, MAX_TOTAL_CHARS
from nanolit.tokenizers.chat import render_prompt
from nanolit.tokenizers.messages import PART_TYPES, Message, Part, check, named, texts_of
from nanolit.tokenizers.protocol import Tokenizer

ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# What messages of answers carry beside their text, when a client sends them back. Empty they say nothing.
UNABLE: dict[str, tuple[Any, ...]] = {"tool_calls": ([],), "function_call": (), "audio": (), "refusal": ("",)}
HARMLESS = ("name", "annotations", "logprobs")


def read_messages(messages: Any) -> list[Message]:
    """Checked; a fault names its place, messages[i]."""
    if not isinstance(messages, list):
        raise Refusal(f"messages: got {named(messages)}, allowed: an array of messages", "messages")
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise Refusal(f"messages: got {len(messages)}, allowed: 1 to {MAX_MESSAGES}", "messages")
    read = [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    n_chars = sum(len(text) for message in read for text in texts_of(message))
    if n_chars > MAX_TOTAL_CHARS:
        told = f"messages: got {n_chars} characters in all, allowed: {MAX_TOTAL_CHARS}; leave old ones out"
        raise Refusal(told, "messages")
    try:
        read = check(read)
    except ValueError as error:
        raise _placed(str(error), len(read)) from None
    if read[-1]["role"] == "assistant":
        place = f"messages[{len(read) - 1}]"
        raise Refusal(f"{place}: is the assistant's, allowed last: the user's; add what the user says next", place)
    return read


def _placed(told: str, n: int) -> Refusal:
    """What the check of conversations says of message 3 is said of messages[2]."""
    found = re.match(r"message (\d+): ", told)
    place = f"messages[{int(found[1]) - 1}]" if found else "messages"
    # Its remedies are for rows of a data set where there is one; here it is a request.
    return Refusal(f"{place}: {told[found.end() if found else 0 :]}", place)


def _message(value: Any, where: str) -> Message:
    fields = Fields(value, where)
    role = fields.string("role")
    if role is None or role not in ROLES:
        raise fields.refuse("role", f"got {shown(role)}, allowed: {', '.join(ROLES)}")
    content, parts = fields.take("content"), fields.take("parts") if role == "assistant" else None
    fields.refuse_unable(UNABLE)
    fields.ignore(HARMLESS)
    fields.refuse_rest()
    place = "content" if parts is None else "parts"
    read = _content(content, f"{where}.content", ("text",)) if parts is None else _parts(parts, f"{where}.parts")
    message = Message(role=ROLES[role], content=read)
    texts = texts_of(message)
    if not any(text and not text.isspace() for text in texts):
        raise fields.refuse(place, "is empty, allowed: text; fill it, or leave the message out")
    if (n_chars := sum(map(len, texts))) > MAX_MESSAGE_CHARS:
        raise fields.refuse(place, f"got {n_chars} characters, allowed: {MAX_MESSAGE_CHARS}; shorten it")
    return message


def _content(content: Any, where: str, kinds: Sequence[str]) -> str | list[Part]:
    if content is None or isinstance(content, str):
        return content or ""
    parts = _parts(content, where, kinds)
    return "".join(part["text"] for part in parts)


def _parts(values: Any, where: str, kinds: Sequence[str] = PART_TYPES) -> list[Part]:
    if not isinstance(values, list):
        raise Refusal(f"{where}: got {named(values)}, allowed: a string or an array of parts", where)
    parts = []
    for i, value in enumerate(values):
        fields = Fields(value, f"{where}[{i}]")
        kind, text = fields.string("type"), fields.string("text")
        if kind is None or kind not in kinds:
            raise fields.refuse("type", f"got {shown(kind)}, allowed: {', '.join(kinds)}; this server reads text only")
        if text is None or (kind == "python" and not text.strip()):
            raise fields.refuse("text", "is missing or empty, allowed: a text")
        fields.refuse_rest()
        parts.append(Part(type=kind, text=text))
    return parts


def fitted(messages: list[Message], tokenizer: Tokenizer, limit: int | None) -> list[int]:
    """As ids; with a `limit` only as many of the last turns, after the system message, as keep to it, and always the
    last one."""
    if limit is None:
        return render_prompt(messages, tokenizer)
    system, turns = ([messages[0]], messages[1:]) if messages[0]["role"] == "system" else ([], messages)

    def render(n_dropped: int) -> list[int]:
        return render_prompt([*system, *turns[2 * n_dropped :]], tokenizer)

    n = bisect_left(range(len(turns) // 2), True, key=lambda n_dropped: len(render(n_dropped)) <= limit)
    return render(n)
