"""Tokens become text that may be shown: whole UTF-8 characters only, and never a part of a stop string.

It knows nothing of models; it holds bytes and characters back until they can no longer turn out otherwise.
"""

import codecs
from collections.abc import Sequence

from nanolit.tokenizers.protocol import Tokenizer


class TextStream:
    """One row's text. `ended` once a stop string has come; what is pushed after that is ignored."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self.tokenizer, self.stop, self.ended = tokenizer, tuple(stop), False
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    @property
    def n_held_bytes(self) -> int:
        """Of what is not certain yet."""
        return len(self._held.encode()) + len(self._characters.getstate()[0])

    def push(self, token: int) -> str:
        """The text that is certain now."""
        if self.ended:
            return ""
        return self._release(self._characters.decode(self.tokenizer.token_bytes(token)))

    def close(self) -> str:
        """The rest: no more tokens will come. A character that was cut in two shows as U+FFFD."""
        if self.ended:
            return ""
        text = self._release(self._characters.decode(b"", final=True))
        if self.ended:
            return text
        self.ended = True
        return text + self._held

    def _release(self, new: str) -> str:
        text = self._held + new
        found = [at for at in (text.find(stop) for stop in self.stop) if at >= 0]
        if found:
            self.ended, self._held = True, ""
            return text[: min(found)]
        keep = max((_longest_beginning(text, stop) for stop in self.stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def before_stop(text: str, stop: Sequence[str]) -> str:
    """A whole text up to the first of the stop strings."""
    return min((text.partition(end)[0] for end in stop), key=len, default=text)


def _longest_beginning(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
