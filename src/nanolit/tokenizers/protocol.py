"""What every tokenizer can do; not a base class (that is `vocabulary.Vocabulary`)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np


class Tokenizer(Protocol):
    """Ids are below `vocab_size`; text that spells a special token is plain text to `encode`."""

    @property
    def kind(self) -> str: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def specials(self) -> Mapping[str, int]:
        """The ids that no text gives, by name."""

    @property
    def eot_id(self) -> int | None:
        """End of text; None where the vocabulary has no such token."""

    @property
    def bos_id(self) -> int | None:
        """What must stand before every text, by the rules of the folder that the tokenizer came from; mostly None.
        `encode` does not write it."""

    @property
    def fingerprint(self) -> str:
        """Equal for two tokenizers exactly if they give the same ids for every text."""

    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]: ...

    @property
    def puts_before(self) -> bool:
        """May `encode` write something before a text, as SentencePiece's space?"""

    def encode_rest(self, text: str) -> np.ndarray:
        """Of a text that has begun before, cut where no token is: without what `encode` puts before a text."""

    def decode(self, ids: Iterable[int]) -> str: ...

    def token_bytes(self, token_id: int) -> bytes: ...

    def byte_lengths(self) -> np.ndarray: ...

    def save(self, folder: Path | str) -> None: ...
