"""What to say about a name that does not exist: the nearest one that does. No spelling checker for values."""

import difflib
from collections.abc import Iterable


def suggest(name: str, allowed: Iterable[str], prefix: str = "", otherwise: str | None = None) -> str:
    """The nearest allowed name as a question, or `otherwise` (None: the list of them) if none is near.

    `prefix` stands before each name as the user writes it, and takes no part in the comparison.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    return f"allowed here: {', '.join(names) or 'nothing'}" if otherwise is None else otherwise
