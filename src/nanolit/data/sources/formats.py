"""Files to rows and documents, in memory bounded by the longest of them: JSON, CSV, Parquet, Arrow and plain text.

Which files there are says `files`; how bytes become text and where text may be cut says `plain_text`. Nothing here
tokenizes or splits. Spans and rows are plain values, so that a worker process can be sent its part.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from nanolit.data.sources import tables
from nanolit.data.sources.files import DataFile, Span
from nanolit.data.sources.plain_text import CHUNK_BYTES, chunks, cut, decoded, in_parts, is_utf8, lines, lines_before

TABLES = ("parquet", "arrow")
MAX_FIELD_CHARS = 1 << 30  # of CSV, whose own limit of 131072 is less than a book
BLANK = re.compile(r"[ \t\r\n]*")


class Document(NamedTuple):
    key: str  # SHA-256 of the whole document: of a file of text its bytes, of a row its text in UTF-8
    parts: Iterable[tuple[str, bool]]  # text, and whether the document ends with it


class Place(NamedTuple):
    """Where a row stands, for messages: what its span does not tell is counted only when this is printed."""

    span: Span
    number: int  # of the line or row in the span, from 1

    def __str__(self) -> str:
        file = self.span.file
        if file.kind in TABLES:
            return f"{file.path} row {tables.rows_before(self.span) + self.number}"
        return f"{file.path}:{lines_before(self.span) + self.number}"


# --- spans -----------------------------------------------------------------------------------------------------------


def spans(files: Iterable[DataFile], target_bytes: int, encoding: str) -> list[Span]:
    """The files in parts of about `target_bytes` where their format lets a reader begin in the middle, in order."""
    assert target_bytes > 0
    return [span for file in files for span in _spans(file, target_bytes, encoding)]


def _spans(file: DataFile, target_bytes: int, encoding: str) -> list[Span]:
    whole = Span(file, 0, file.n_bytes, file.n_bytes)
    if file.compression:
        return [whole]
    if file.kind in ("text", "jsonl") and is_utf8(encoding):
        return cut(file, target_bytes)
    if file.kind in TABLES and (sizes := tables.sizes(file)) is not None:
        return _grouped(file, sizes, target_bytes)
    return [whole]


def _grouped(file: DataFile, sizes: list[int], target_bytes: int) -> list[Span]:
    """Neighbours together until they reach `target_bytes`."""
    found, start, n_bytes = [], 0, 0
    for i, size in enumerate(sizes, start=1):
        n_bytes += size
        if n_bytes >= target_bytes or i == len(sizes):
            found.append(Span(file, start, i, n_bytes))
            start, n_bytes = i, 0
    return found


# --- documents -------------------------------------------------------------------------------------------------------


def documents(span: Span, encoding: str, text_field: str) -> Iterator[Document]:
    """A document per row, or a file of text as one: a span that does not reach its end leaves it open, for the next.

    The parts of a document must be taken before the next document is.
    """
    if span.file.kind == "text":
        yield from _text_document(span, encoding)
        return
    for place, row in rows(span, encoding, [text_field]):
        text = text_of(row, text_field, place)
        if text:
            pieces = (text[i : i + CHUNK_BYTES] for i in range(0, len(text), CHUNK_BYTES))
            parts = [(text, True)] if len(text) <= CHUNK_BYTES else in_parts(pieces)
            yield Document(hashlib.sha256(text.encode()).hexdigest(), parts)


def _text_document(span: Span, encoding: str) -> Iterator[Document]:
    texts = decoded(span, encoding)
    first = next(texts, None)
    if first is None:  # nothing but a byte order mark, or nothing that was compressed
        return
    reaches_end = span.stop == span.file.n_bytes
    parts = ((text, last and reaches_end) for text, last in in_parts(chain([first], texts)))
    yield Document(_digest(span) if span.file.compression else span.file.sha256, parts)


def _digest(span: Span) -> str:
    """Of what was compressed: compressing it again may give other bytes."""
    digest = hashlib.sha256()
    for chunk in chunks(span):
        digest.update(chunk)
    return digest.hexdigest()


def text_of(row: Any, text_field: str, place: Place) -> str | None:
    """The text of a row, None where it is null; a row without that field, or with another thing in it, is an error."""
    if isinstance(row, dict) and text_field in row:
        text = row[text_field]
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:  # JSON can spell half a surrogate pair, which is no text
                text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if text is None or isinstance(text, str):
            return text
        raise ValueError(
            f"{place}: {text_field!r} holds {type(text).__name__}, not text; name the right data.text_field"
        )
    if not isinstance(row, dict):
        raise ValueError(f"{place}: a row that is {type(row).__name__} and no object has no fields; mend or remove it")
    names = list(row) or column_names(place.span.file) or ["nothing"]
    if place.span.file.kind == "csv" and len(names) == 1 and ";" in names[0]:
        raise ValueError(
            f"{place}: fields are separated by ';', allowed in .csv: ','; convert it, or name it .tsv with tabs"
        )
    raise ValueError(
        f"{place}: no text under {text_field!r} (it has: {', '.join(names)}); name the right data.text_field"
    )


# --- rows ------------------------------------------------------------------------------------------------------------


def rows(span: Span, encoding: str = "utf-8", columns: Sequence[str] | None = None) -> Iterator[tuple[Place, Any]]:
    """The rows with their places: a dict each, but in JSON whatever stands there. Of Parquet and Arrow only `columns`
    are read, those that there are.
    """
    kind = span.file.kind
    if kind == "text":
        raise ValueError(
            f"{span.file.path}: plain text has no rows; give a file that ends in .jsonl, .json, .csv, .tsv, "
            ".parquet or .arrow"
        )
    if kind in TABLES:
        numbered: Iterator[tuple[int, Any]] = _table_rows(span, columns)
    else:
        texts = decoded(span, encoding)
        if kind == "jsonl":
            numbered = _jsonl_rows(span, texts)
        elif kind == "json":
            numbered = _json_rows(span, texts)
        else:
            numbered = _csv_rows(span, texts)
    return ((Place(span, number), row) for number, row in numbered)


def count_rows(span: Span, encoding: str = "utf-8") -> int:
    """How many rows `rows` gives, as cheaply as the format allows."""
    if span.file.kind in TABLES:
        return tables.count_rows(span)
    if span.file.kind == "jsonl":
        return sum(bool(line) and not line.isspace() for line in lines(decoded(span, encoding)))
    return sum(1 for _ in rows(span, encoding))


def column_names(file: DataFile, encoding: str = "utf-8") -> list[str] | None:
    """The fields of all rows of a file, where the format says them."""
    if file.kind in TABLES:
        return tables.column_names(file)
    if file.kind in ("csv", "tsv"):
        whole = Span(file, 0, file.n_bytes, file.n_bytes)
        return next((fields for _, fields in _csv_records(whole, decoded(whole, encoding))), [])
    return None


# --- JSON ------------------------------------------------------------------------------------------------------------


def _jsonl_rows(span: Span, texts: Iterator[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines(texts), start=1):
        if line and not line.isspace():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _not_json(Place(span, number), error) from error


def _json_rows(span: Span, texts: Iterator[str]) -> Iterator[tuple[int, Any]]:
    """The elements of an array; or, as JSON lines have them, one value after the other."""
    values = _Values(span, texts)
    if values.peek() != "[":
        while values.peek():
            yield values.line, values.take()
        return
    values.skip()
    if values.peek() != "]":
        yield values.line, values.take()
        while values.peek() == ",":
            values.skip()
            values.peek()
            yield values.line, values.take()
    if values.peek() != "]":
        raise _not_json(Place(span, values.line), "the array goes on without ',' or has no end")
    values.skip()
    if values.peek():
        raise _not_json(Place(span, values.line), "something follows the array")


def _not_json(place: Place, reason: object) -> ValueError:
    return ValueError(f"{place}: not JSON ({reason}); mend or remove it, or leave the file out")


class _Values:
    """JSON values out of chunks of text, one by one: never holds more than about twice the longest."""

    def __init__(self, span: Span, texts: Iterator[str]) -> None:
        self.line = 1
        self._span, self._texts = span, texts
        self._text, self._at = "", 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no blank, empty at the end."""
        while True:
            blank = BLANK.match(self._text, self._at)
            assert blank
            self._go_to(blank.end())
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        self._go_to(self._at + 1)

    def take(self) -> Any:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # A value that is cut short goes wrong where the text ends, or in the string that has no end yet.
                cut_short = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - 16
                if cut_short and self._more():
                    continue
                line = self.line + self._text.count("\n", self._at, error.pos)
                raise _not_json(Place(self._span, line), error.msg) from error
            except (ValueError, RecursionError) as error:
                raise _not_json(Place(self._span, self.line), error) from error
            if end > len(self._text) - 3 and self._more():  # a number may go on: 1 with .5 or e+3
                continue
            self._go_to(end)
            return value

    def _go_to(self, at: int) -> None:
        self.line += self._text.count("\n", self._at, at)
        self._at = at

    def _more(self) -> bool:
        """Doubles the text, so that a long value is not decoded with each chunk."""
        n_held = len(self._text) - self._at
        pieces, n_new = [self._text[self._at :]], 0
        for text in self._texts:
            pieces.append(text)
            n_new += len(text)
            if n_new >= n_held:
                break
        if n_new:
            self._text, self._at = "".join(pieces), 0
        return n_new > 0


# --- CSV -------------------------------------------------------------------------------------------------------------


def _csv_rows(span: Span, texts: Iterator[str]) -> Iterator[tuple[int, dict[str, str]]]:
    names: list[str] | None = None
    for number, fields in _csv_records(span, texts):
        if names is None:
            names = fields
        elif len(fields) == len(names):
            yield number, dict(zip(names, fields, strict=True))
        else:
            raise ValueError(
                f"{Place(span, number)}: {len(fields)} fields, but the first line names {len(names)} "
                f"({', '.join(names)}); mend or remove it"
            )


def _csv_records(span: Span, texts: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row that is not blank, with the line that it begins in."""
    csv.field_size_limit(MAX_FIELD_CHARS)
    dialect = "excel-tab" if span.file.kind == "tsv" else "excel"
    reader = csv.reader((f"{line}\n" for line in lines(texts)), dialect, strict=True)
    number = 1
    try:
        for fields in reader:
            if fields:
                yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{Place(span, number)}: not CSV ({error}); quote fields that hold quotes or line ends, or mend the line"
        ) from error


# --- Parquet and Arrow -----------------------------------------------------------------------------------------------


def _table_rows(span: Span, columns: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 1
    for batch in tables.batches(span, columns):
        step = tables.n_rows_of(tables.BATCH_BYTES, batch.nbytes, batch.num_rows)
        for start in range(0, batch.num_rows, step):
            part = batch.slice(start, step)
            try:
                found = part.to_pylist()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{Place(span, number)}, or one of the {part.num_rows - 1} rows after it: {error.object[:20]!r} is "
                    "not UTF-8; fetch the file again or leave it out"
                ) from error
            yield from enumerate(found, start=number)
            number += part.num_rows
