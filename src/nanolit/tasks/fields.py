"""What stands in a row of a data set: there, and of the kind that the task reads, or else one line says where not."""

from typing import Any, TypeVar

from nanolit.tokenizers.messages import named

T = TypeVar("T")
KINDS: dict[type, str] = {str: "a string", int: "a whole number", list: "an array", dict: "an object"}


def field(row: Any, key: str, where: str, kind: type[T]) -> T:
    """A value that must be there, and be a `kind`."""
    if not isinstance(row, dict) or row.get(key) is None:
        known = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{where}: has no {key} (it has {known}); is this the right data set?")
    value = row[key]
    if not isinstance(value, kind) or isinstance(value, bool):  # True is an int
        raise ValueError(f"{where}: its {key} is {named(value)}, allowed: {KINDS[kind]}; mend or remove the row")
    return value


def texts(row: Any, key: str, where: str) -> list[str]:
    """An array of strings, which must be there."""
    found: list[Any] = field(row, key, where, list)
    for value in found:
        if not isinstance(value, str):
            raise ValueError(f"{where}: its {key} hold {named(value)}, allowed: strings; mend or remove the row")
    return found
