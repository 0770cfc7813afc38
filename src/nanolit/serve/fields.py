"""The fields of a JSON object, taken one by one and checked; what is left in the end is refused."""

import json
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

from nanolit.runtime.suggest import suggest
from nanolit.serve.errors import Refusal
from nanolit.tokenizers.messages import named


class Fields:
    """A field that is null counts as absent, as with OpenAI. `where` stands before its name in what is told."""

    def __init__(self, values: Any, where: str = "") -> None:
        if not isinstance(values, Mapping):
            raise Refusal(f"{where}: got {named(values)}, allowed: an object", where or None)
        self._left = {name: value for name, value in values.items() if value is not None}
        self._taken: set[str] = set()
        self.where = where

    def take(self, name: str) -> Any:
        self._taken.add(name)
        return self._left.pop(name, None)

    def ignore(self, names: Collection[str]) -> None:
        for name in names:
            self.take(name)

    def place(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def refuse(self, name: str, told: str, code: str | None = None) -> Refusal:
        return Refusal(f"{self.place(name)}: {told}", self.place(name), code=code)

    def boolean(self, name: str) -> bool:
        value = self.take(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.refuse(name, f"got {shown(value)}, allowed: true or false")
        return value

    def string(self, name: str) -> str | None:
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, f"got {named(value)}, allowed: a string")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.refuse(name, f"got {shown(value)}, allowed: a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refuse(name, f"got {shown(value)}, allowed: a whole number from {low} to {high}")
        return value

    def refuse_unable(self, unable: Mapping[str, tuple[Any, ...]]) -> None:
        """Fields that would change the answer in a way that we cannot, unless their value asks for nothing."""
        for name, neutral in unable.items():
            value = self.take(name)
            if value is not None and value not in neutral:
                told = f"; allowed: {json.dumps(neutral[0])}" if neutral else ""
                raise self.refuse(name, f"this server cannot do that; leave it out{told}", "unsupported_parameter")

    def refuse_rest(self) -> None:
        for name in self._left:
            told = (
                f"no such parameter; {suggest(name[:60], self._taken, prefix=self.place(''), otherwise='leave it out')}"
            )
            raise Refusal(f"{self.place(name[:60])}: {told}", self.place(name[:60]), code="unknown_parameter")


def shown(value: Any) -> str:
    """A value as JSON spells it, cut."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return named(value)
    return reprlib.repr(value)
