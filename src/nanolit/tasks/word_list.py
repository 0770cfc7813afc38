"""The English words that spelling_bee.py asks about: dwyl/english-words, a file of one's own, or the village's list."""

import os
from functools import cache
from pathlib import Path

from nanolit.runtime import download
from nanolit.village.draw import is_held_out
from nanolit.village.words import WORDS

URL = "https://raw.githubusercontent.com/dwyl/english-words/master/words_alpha.txt"
HELD_OUT_PER_MILLE = 50


def downloaded() -> Path:
    """Beside prepared data, wherever DATA_ROOT puts it: a path in the settings would make them differ by machine."""
    file = Path(os.environ.get("DATA_ROOT", "data")) / "words" / "words_alpha.txt"
    try:
        return download.fetch(URL, file)
    except ValueError as error:
        raise ValueError(f"path: not given, and {error}, or give path= a list of words, or words=village") from error


@cache
def read_words(path: str | None, held_out: bool) -> tuple[str, ...]:
    """Those of a split; None: of the village's own list."""
    if path is None:
        words: tuple[str, ...] = WORDS
    else:
        if not Path(path).is_file():
            raise ValueError(f"path: there is no {path}; give a file with a word in each line, or words=village")
        try:
            words = tuple(line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"path: {path} cannot be read ({error}); give a list of words") from error
    found = tuple(w for w in words if w.isalpha() and is_held_out(("spelling", w), HELD_OUT_PER_MILLE) == held_out)
    if not found:
        raise ValueError(f"path: {path} has no words for this split; give a longer list")
    return found
