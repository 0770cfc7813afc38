"""What a conversation is, in nanochat's schema, and the check that every conversation passes; no other formats
(data/sources/conversations.py reads those), no ids (chat.py).

    [{"role": "system", "content": "Be brief."},                          the first message only, and not needed
     {"role": "user", "content": "What is 6 * 7?"},
     {"role": "assistant", "content": [{"type": "text", "text": "I calculate: "},
                                       {"type": "python", "text": "6 * 7"},
                                       {"type": "python_output", "text": "42"},
                                       {"type": "text", "text": "It is 42."}]}]
"""

import reprlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

ROLES = ("user", "assistant", "system")
PART_TYPES = ("text", "python", "python_output")


class Part(TypedDict):
    type: str
    text: str


class Message(TypedDict):
    role: str
    content: str | list[Part]


Conversation = Sequence[Message]


def check(messages: Any, ignore: Collection[str] = ()) -> list[Message]:
    """The conversation in its plainest spelling: neighbouring texts are one, and content is a string where it can be.

    A fault is one line that begins with its place. Keys in `ignore`, and keys without a value, are passed over.
    """
    if not isinstance(messages, list | tuple):
        raise ValueError(f"messages: got {named(messages)}, allowed: an array of messages; put them into one")
    if not messages:
        raise ValueError("messages: got none, allowed: 2 or more; remove the row")
    checked = [_message(message, f"message {i}", ignore) for i, message in enumerate(messages, start=1)]
    _check_order([message["role"] for message in checked])
    return checked


def merge_system(conversation: Conversation) -> Conversation:
    """There is no token for a system message: it becomes the beginning of the first user message."""
    if conversation[0]["role"] != "system":
        return conversation
    system, user, *rest = conversation
    return [Message(role="user", content=f"{system['content']}\n\n{user['content']}"), *rest]


def as_pair(conversation: Conversation) -> tuple[str, str] | None:
    """Prompt and answer, if one text and one text in answer are all there is."""
    contents = [message["content"] for message in merge_system(conversation)]
    texts = [content for content in contents if isinstance(content, str)]
    return (texts[0], texts[1]) if len(texts) == len(contents) == 2 else None


def texts_of(message: Message) -> list[str]:
    content = message["content"]
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def named(value: Any) -> str:
    """The type of `value` as JSON calls it, for messages to the user."""
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def fields(
    value: Any, where: str, required: Sequence[str], ignore: Collection[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The fields of an object. A key without a value counts as absent: tables write one for every column."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: got {named(value)}, allowed: an object with {' and '.join(required)}; mend the row")
    allowed = [*required, *optional]
    found = {key: item for key, item in value.items() if item is not None and (key in allowed or key not in ignore)}
    if missing := [key for key in required if key not in found]:
        raise ValueError(
            f"{where}: got an object with {reprlib.repr(list(found))}, allowed: {' and '.join(required)}; "
            f"give its {missing[0]}"
        )
    if unknown := [key for key in found if key not in allowed]:
        raise ValueError(
            f"{where}: unknown key {reprlib.repr(unknown[0])}, allowed: {', '.join(allowed)}; rename it, remove it, "
            "or name it in data.ignore_keys"
        )
    return found


def text(value: Any, where: str) -> str:
    """A string that says something. JSON can spell half a surrogate pair, which is no text and becomes "?"."""
    if not isinstance(value, str):
        raise ValueError(f"{where}: got {named(value)}, allowed: a string; put the text into quotes")
    if not value or value.isspace():
        raise ValueError(f"{where}: is empty, allowed: text; fill it or remove the row")
    return _whole(value)


def _whole(value: str) -> str:
    return value if value.isascii() else value.encode("utf-8", errors="replace").decode()


def _message(message: Any, where: str, ignore: Collection[str]) -> Message:
    found = fields(message, where, ("role", "content"), ignore)
    role, content = found["role"], found["content"]
    if role not in ROLES:
        raise ValueError(f"{where}: role is {reprlib.repr(role)}, allowed: {', '.join(ROLES)}; rename it")
    if isinstance(content, list | tuple):
        return Message(role=role, content=_content(role, content, where, ignore))
    if not isinstance(content, str):
        raise ValueError(
            f"{where}: content: got {named(content)}, allowed: a string or an array of parts; mend the row"
        )
    return Message(role=role, content=text(content, f"{where}: content"))


def _content(role: str, content: Sequence[Any], where: str, ignore: Collection[str]) -> str | list[Part]:
    parts: list[Part] = []
    for i, item in enumerate(content, start=1):
        part = _part(item, f"{where}: part {i}", ignore)
        previous = parts[-1]["type"] if parts else None
        if part["type"] != "text" and role != "assistant":
            raise ValueError(
                f"{where}: part {i}: type {part['type']!r} in a {role} message, allowed: text; only the assistant "
                "calls python"
            )
        if part["type"] == "python_output" and previous != "python":
            raise ValueError(
                f"{where}: part {i}: a python_output that follows {previous or 'nothing'}, allowed: after python; "
                "put the call before its output"
            )
        if part["type"] == previous == "text":
            parts[-1] = Part(type="text", text=parts[-1]["text"] + part["text"])
        elif part["text"] or part["type"] == "python_output":  # a call may print nothing
            parts.append(part)
    if all(part["type"] == "text" for part in parts):
        return text("".join(part["text"] for part in parts), f"{where}: content")
    return parts


def _part(part: Any, where: str, ignore: Collection[str]) -> Part:
    found = fields(part, where, ("type", "text"), ignore)
    kind, content = found["type"], found["text"]
    if kind not in PART_TYPES:
        raise ValueError(f"{where}: type is {reprlib.repr(kind)}, allowed: {', '.join(PART_TYPES)}; rename it")
    if kind == "python":
        return Part(type=kind, text=text(content, f"{where}: text"))
    if not isinstance(content, str):
        raise ValueError(f"{where}: text: got {named(content)}, allowed: a string; put the text into quotes")
    return Part(type=kind, text=_whole(content))


def _check_order(roles: Sequence[str]) -> None:
    """Users and assistants take turns, the user first; a system message may stand before all."""
    first = 1 if roles[0] == "system" else 0
    for i, role in enumerate(roles[first:]):
        expected = ROLES[i % 2]
        if role != expected:
            at = f"message {first + i + 1}: role is {role!r}, allowed here: {expected!r}"
            if role == "system":
                raise ValueError(f"{at}; only the first message may be of the system")
            if i == 0:
                raise ValueError(f"{at}; a conversation starts with the user")
            raise ValueError(f"{at}; user and assistant must take turns, so join or remove messages")
    if len(roles) == first:
        raise ValueError("a system message alone, allowed: one before a user message; add what the user says")
