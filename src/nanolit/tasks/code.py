"""Answers that are programs: what of a text is code, and whether the tests pass when it is run in the sandbox."""

import re
from collections.abc import Sequence

from nanolit.runtime import sandbox
from nanolit.tasks.task import Task

BLOCK = re.compile(r"```(?:python)?\s*\n(.*?)(?:\n```|\Z)", re.DOTALL)
TIMEOUT_S = 5.0


def extract(text: str) -> str:
    """The first block of code, else all of it."""
    found = BLOCK.search(text)
    return found[1] if found else text


def imports_of(prompt: str) -> str:
    """The lines at its beginning that import something."""
    lines = [line for line in prompt.split("\n") if line.strip()]
    kept = []
    for line in lines:
        if not line.startswith(("import ", "from ")):
            break
        kept.append(line)
    return "\n".join(kept)


class Code(Task):
    """`sandbox=none` runs programs with nothing but limits of time and memory (docs/sandbox.md)."""

    kind = "generative"
    extractor = "the first block of code, run with the tests"

    def __init__(self, how: sandbox.How, timeout_s: float = TIMEOUT_S) -> None:
        if how not in ("auto", "none"):
            raise ValueError(f"sandbox: got {how!r}, allowed: auto, none")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s: got {timeout_s}, must be positive")
        self.how, self.timeout_s = how, timeout_s

    def passes(self, parts: Sequence[str]) -> bool:
        """Does the program of these parts, one below the other, run to its end?"""
        return sandbox.run("\n\n".join(parts), timeout_s=self.timeout_s, how=self.how).ok
