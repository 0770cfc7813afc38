"""Text files that hold many documents, with a line such as <|endoftext|> between two of them; no other files."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from nanolit.data.sources.files import DataFile, Span
from nanolit.data.sources.formats import Document
from nanolit.data.sources.plain_text import CHUNK_BYTES, decoded, in_parts, is_utf8


def spans(files: Iterable[DataFile], target_bytes: int, encoding: str, separator: str) -> list[Span]:
    """The files in parts of about `target_bytes` that end after a separator."""
    return [span for file in files for span in _spans(file, target_bytes, encoding, separator)]


def _spans(file: DataFile, target_bytes: int, encoding: str, separator: str) -> list[Span]:
    edges = [0]
    if not file.compression and is_utf8(encoding):
        n_spans = max(1, round(file.n_bytes / target_bytes))
        for i in range(1, n_spans):
            wanted = i * file.n_bytes // n_spans
            if wanted <= edges[-1]:
                continue
            at = _after_separator(file, wanted, separator)
            if at >= file.n_bytes:
                break
            edges.append(at)
    return [Span(file, start, stop, stop - start) for start, stop in pairwise([*edges, file.n_bytes])]


def _after_separator(file: DataFile, wanted: int, separator: str) -> int:
    """The place after a separator that begins at `wanted` or soon after it, or the end of the file.

    Of separators that overlap, as in ===== where == is one, whoever reads from the start takes only some. So the one
    that is chosen has none right before it.
    """
    pattern = re.compile(_pattern(separator).encode())
    n_longest = len(_longest(separator).encode())
    with file.path.open("rb") as opened:
        first = max(wanted - n_longest + 1, 0)  # the place of `held` in the file
        opened.seek(first)
        held = b""
        clear_from = wanted  # no separator before overlaps one that begins here or later
        while chunk := opened.read(CHUNK_BYTES):
            held += chunk
            at = 0
            while found := pattern.search(held, at):
                if first + found.start() >= clear_from:
                    return first + found.end()
                clear_from = max(clear_from, first + found.start() + n_longest)
                at = found.start() + 1
            kept = min(n_longest - 1, len(held))
            first, held = first + len(held) - kept, held[len(held) - kept :]
    return file.n_bytes


def documents(span: Span, encoding: str, separator: str) -> Iterator[Document]:
    """What is between the separators, without the white space around it; nothing, where there is only that."""
    pattern = re.compile(_pattern(separator))
    n_looked_at = len(_longest(separator)) - 1  # again, with the next chunk: a separator may begin there
    held: list[str] = []  # pieces of a document, so that a long one is not copied with each chunk
    for text in decoded(span, encoding):
        *whole, rest = pattern.split("".join([*held[-1:], text]))
        if whole:
            yield from _documents(["".join([*held[:-1], whole[0]]), *whole[1:]])
            held = []
        seen = max(len(rest) - n_looked_at, 0)
        held[-1:] = [rest[:seen], rest[seen:]]
    yield from _documents(["".join(held)])


def _documents(texts: Iterable[str]) -> Iterator[Document]:
    for text in map(str.strip, texts):
        if text:
            pieces = (text[i : i + CHUNK_BYTES] for i in range(0, len(text), CHUNK_BYTES))
            parts = [(text, True)] if len(text) <= CHUNK_BYTES else in_parts(pieces)
            yield Document(hashlib.sha256(text.encode()).hexdigest(), parts)


def _pattern(separator: str) -> str:
    """The separator as it stands in a file, whose lines may end as those of Windows do."""
    return r"\r?\n".join(map(re.escape, separator.split("\n")))


def _longest(separator: str) -> str:
    return separator.replace("\n", "\r\n")
