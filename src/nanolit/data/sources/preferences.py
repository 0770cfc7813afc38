"""Rows of preferences become pairs of conversations that differ in the last answer only.

{"prompt": "…", "chosen": "…", "rejected": "…"}                     texts
{"prompt": [messages], "chosen": [message], "rejected": [message]}  or a text each
{"chosen": [messages], "rejected": [messages]}                      whole conversations
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nanolit.data.config import DataConfig
from nanolit.tokenizers.messages import Message, check, fields, named


class Pair(NamedTuple):
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]


def read_pairs(config: DataConfig) -> tuple[dict[str, list[Pair]], str]:
    """By split, and a hash of all; which split a pair is of is decided by its content."""
    assert config.source is not None
    path = Path(config.source)
    if not path.is_file():
        raise ValueError(f"data.source: there is no file {path}; give a .jsonl with prompt, chosen and rejected")
    splits: dict[str, list[Pair]] = {"train": [], "val": []}
    digest = hashlib.sha256()
    for where, row in _rows(path):
        pair = parse(row, where)
        key = hashlib.sha256(json.dumps(pair, sort_keys=True).encode()).hexdigest()
        digest.update(key.encode())
        splits["val" if int(key[:16], 16) < config.val_fraction * 2**64 else "train"].append(pair)
    if not splits["train"] and not splits["val"]:
        raise ValueError(f"data.source: {path} has no rows; give a file with pairs")
    return splits, digest.hexdigest()


def parse(row: Any, where: str) -> Pair:
    try:
        return _pair(row)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _pair(row: Any) -> Pair:
    if not isinstance(row, Mapping):
        raise ValueError(f"got {named(row)}, allowed: an object with chosen and rejected; mend the row")
    found = fields(row, "the row", ("chosen", "rejected"), ("id", "source", "score"), optional=("prompt",))
    prompt = found.get("prompt")
    if texts := [key for key in ("chosen", "rejected") if prompt is None and isinstance(found[key], str)]:
        raise ValueError(f"prompt: not given, and {texts[0]} is a text; give the question that it answers")
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt or []
    chosen, rejected = (tuple(check([*before, *_answer(found[key], key)])) for key in ("chosen", "rejected"))
    for key, messages in (("chosen", chosen), ("rejected", rejected)):
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise ValueError(f"{key}: ends without an answer, allowed: an assistant's message last; add it")
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("chosen, rejected: answer different questions; the same messages must stand before both")
    if chosen[-1] == rejected[-1]:
        raise ValueError("chosen, rejected: are the same answer; remove the row")
    return Pair(chosen, rejected)


def _answer(value: Any, key: str) -> list[Any]:
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    if isinstance(value, list | tuple):
        return list(value)
    raise ValueError(f"{key}: got {named(value)}, allowed: a text or an array of messages; mend the row")


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line.decode())
                except json.JSONDecodeError as error:
                    raise ValueError(f"{path}:{number}: is no JSON ({error.msg}); mend or remove the line") from error
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{path}:{number}: is no UTF-8 ({error.reason}); store the file as UTF-8"
                    ) from error
