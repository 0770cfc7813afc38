"""Bytes of a file to text in bounded memory: decompresses, decodes, and cuts where no tokenizer of ours looks across.

Knows no rows and no documents (that is `formats`). What is cut gives, part for part, the token ids of the whole.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from nanolit.data.sources.files import COMPRESSIONS, ROW_KINDS, DataFile, Span

CHUNK_BYTES = 1 << 20
WINDOW_BYTES = 1 << 16
LONGEST_PART_CHARS = 1 << 22  # without a space: more of it in memory at once would cost gigabytes to encode
OVERLAP_BYTES = 16  # more than a line end with the characters on both sides of it
# All split patterns of `tokenizers` end a token at a line end between a non-space and a letter or digit, and before a
# space after a non-space, whether text follows or not. The second is for text without the first (with the line ends of
# Windows, for one): a pattern of one's own may well reach over spaces. Each: a character, how to know it, where to cut.
LINE_CUT = ("\n", re.compile(r"\n(?<=\S\n)(?=[^\W_])"), 1)
SPACE_CUT = (" ", re.compile(r" (?<=\S )"), 0)


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turns what pyarrow says of a broken file into a line for the user; errors of the disk stay what they are."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"{path}: not a readable {kind} file ({reason}); fetch it again or leave it out") from error


def chunks(span: Span) -> Iterator[bytes]:
    """The bytes of a span, decompressed."""
    file = span.file
    if file.compression:
        with (
            readable(file.path, file.compression),
            pa.input_stream(str(file.path), compression=file.compression) as stream,
        ):
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
        return
    with file.path.open("rb", buffering=0) as plain:
        plain.seek(span.start)
        n_left = span.stop - span.start
        while chunk := plain.read(min(CHUNK_BYTES, n_left)):
            n_left -= len(chunk)
            yield chunk


def decoded(span: Span, encoding: str) -> Iterator[str]:
    """The text of a span in chunks, line ends as they are; a byte order mark at the start of the file is no text."""
    decoder = codecs.getincrementaldecoder("utf-8" if is_utf8(encoding) else encoding)()
    n_read, n_lines, begins = span.start, 0, span.start == 0
    for chunk in chain(chunks(span), [b""]):
        n_pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            n_lines += error.object[: error.start].count(b"\n")
            raise _undecodable(span, encoding, error, n_read - n_pending + error.start, n_lines) from error
        n_read += len(chunk)
        n_lines += text.count("\n")
        if text and begins:
            begins = False
            text = text.removeprefix("\ufeff")
        if text:
            yield text


def _undecodable(span: Span, encoding: str, error: UnicodeDecodeError, position: int, n_lines: int) -> ValueError:
    file, byte = span.file, error.object[error.start]
    if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and position < 2:
        return ValueError(f"{file.path}: begins as UTF-16 does; give data.encoding=utf-16, or convert the file")
    if b"\0" in error.object and is_utf8(encoding):
        endings = " ".join((".txt", *ROW_KINDS, *COMPRESSIONS))
        return ValueError(
            f"{file.path}: no text but binary data (byte {position} is 0x{byte:02x}); leave it out, or, if it is of a "
            f"kind that is read here, give it its ending ({endings})"
        )
    where = file.path if file.kind == "text" else f"{file.path}:{lines_before(span) + n_lines + 1}"
    return ValueError(
        f"{where}: byte {position} (0x{byte:02x}) is not {encoding}; convert the file, "
        "give its data.encoding (for example latin-1), or leave it out"
    )


def lines_before(span: Span) -> int:
    """How many lines of its file stand before a span; reads them."""
    return sum(chunk.count(b"\n") for chunk in chunks(span._replace(start=0, stop=span.start))) if span.start else 0


def lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines without their line feed; only that ends a line, as JSON may hold all other line ends."""
    held: list[str] = []  # pieces of a line, so that a long one is not copied with each chunk
    for text in texts:
        first, *others = text.split("\n")
        held.append(first)
        if others:
            others.insert(0, "".join(held))
            held = [others.pop()]
            yield from others
    if last := "".join(held):
        yield last


def in_parts(texts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Text anew, in parts of about the size of its chunks that end at cuts, and whether a part is the last."""
    held: list[str] = []  # without a cut
    rest = ""
    for text in texts:
        text = rest + text
        if at := last_cut(text):
            yield "".join([*held, text[:at]]), False
            held, rest = [], text[at:]
        else:  # a cut is known by up to two characters before it
            held.append(text[:-2])
            rest = text[-2:]
            if sum(map(len, held)) > LONGEST_PART_CHARS:  # no text that anybody would read: it may lose a token here
                yield "".join(held), False
                held = []
    yield "".join([*held, rest]), True


def last_cut(text: str) -> int:
    """The last place in `text` that splits no token, or nearly the last; 0 if there is none."""
    near_end = max(0, len(text) - WINDOW_BYTES)
    return _last(LINE_CUT, text, near_end) or _last(SPACE_CUT, text, 0) or _last(LINE_CUT, text, 0)


def _last(kind: tuple[str, re.Pattern[str], int], text: str, start: int) -> int:
    character, pattern, shift = kind
    at = text.rfind(character, start)
    while at > 0:
        if pattern.match(text, at):
            return at + shift
        at = text.rfind(character, start, at)
    return 0


def cut(file: DataFile, target_bytes: int) -> list[Span]:
    """Spans of about `target_bytes` of a UTF-8 file: of plain text at cuts, else at line starts. Only their
    surroundings are read.
    """
    n_spans = max(1, round(file.n_bytes / target_bytes))
    search: Callable[[BinaryIO, int], int | None] = _cut_after if file.kind == "text" else _line_after
    edges = [0]
    with file.path.open("rb") as opened:
        for i in range(1, n_spans):
            wanted = i * file.n_bytes // n_spans
            if wanted <= edges[-1]:
                continue
            at = search(opened, wanted)
            if at is None:
                break
            edges.append(at)
    return [Span(file, start, stop, stop - start) for start, stop in pairwise([*edges, file.n_bytes])]


def _line_after(opened: BinaryIO, wanted: int) -> int | None:
    opened.seek(wanted - 1)
    while piece := opened.readline(CHUNK_BYTES):
        if piece.endswith(b"\n"):
            at = opened.tell()
            return at if opened.read(1) else None
    return None


def _cut_after(opened: BinaryIO, wanted: int) -> int | None:
    while True:
        opened.seek(wanted)
        window = opened.read(WINDOW_BYTES + OVERLAP_BYTES)
        inside = next((i for i, byte in enumerate(window[:4]) if byte & 0xC0 != 0x80), 0)  # begins a character
        text = window[inside:].decode("utf-8", errors="surrogateescape")
        for _, pattern, shift in (LINE_CUT, SPACE_CUT):
            if found := pattern.search(text):
                cut_text = text[: found.start() + shift]
                return wanted + inside + len(cut_text.encode("utf-8", errors="surrogateescape"))
        if len(window) < WINDOW_BYTES + OVERLAP_BYTES:
            return None
        wanted += WINDOW_BYTES
