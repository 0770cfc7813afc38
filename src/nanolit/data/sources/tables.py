"""Parquet and Arrow files as record batches, a part of a file at a time; what a row means says `formats`.

Memory is bounded by a few MiB and the longest row in Parquet, by the largest record batch in Arrow.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from nanolit.data.sources.files import DataFile, Span
from nanolit.data.sources.plain_text import CHUNK_BYTES, chunks, readable

BATCH_BYTES = 4 << 20  # what is decoded, and what is made into Python objects, at a time
BATCH_ROWS = 1024
ARROW_FILE = b"ARROW1\0\0"  # begins the file format, after which the stream format follows


def sizes(file: DataFile) -> list[int] | None:
    """Bytes of the parts that can be read alone: row groups, record batches; None where the format has no index."""
    if file.compression:
        return None
    if file.kind == "parquet":
        with _open_parquet(file) as opened:
            groups = [opened.metadata.row_group(i) for i in range(opened.num_row_groups)]
            return [sum(group.column(i).total_compressed_size for i in range(group.num_columns)) for group in groups]
    with _open_arrow(file) as opened:
        if isinstance(opened, pa.RecordBatchFileReader):
            n_batches = opened.num_record_batches  # their sizes are not told
            return [file.n_bytes // max(1, n_batches)] * n_batches
    return None


def column_names(file: DataFile) -> list[str]:
    if file.kind == "parquet":
        with _open_parquet(file) as opened:
            return opened.schema_arrow.names
    with _open_arrow(file) as opened:
        return opened.schema.names


def rows_before(span: Span) -> int:
    """How many rows of its file stand before a span."""
    return count_rows(span._replace(start=0, stop=span.start)) if span.start else 0


def count_rows(span: Span) -> int:
    if span.file.kind == "parquet":
        with _open_parquet(span.file) as opened:
            groups = range(span.start, min(span.stop, opened.num_row_groups))
            return sum(opened.metadata.row_group(i).num_rows for i in groups)
    return sum(batch.num_rows for batch in _arrow_batches(span, None))


def batches(span: Span, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """The record batches of a span, of `columns` those that there are; None: all."""
    return (_parquet_batches if span.file.kind == "parquet" else _arrow_batches)(span, columns)


def n_rows_of(wanted_bytes: int, n_bytes: int, n_rows: int) -> int:
    """How many rows make about `wanted_bytes` where `n_rows` have `n_bytes`."""
    return max(1, min(BATCH_ROWS, wanted_bytes * n_rows // max(1, n_bytes)))


def _parquet_batches(span: Span, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with _open_parquet(span.file) as opened:
        kept = _known(columns, opened.schema_arrow)
        for i in range(span.start, min(span.stop, opened.num_row_groups)):
            group = opened.metadata.row_group(i)
            n_rows = n_rows_of(BATCH_BYTES, group.total_byte_size, group.num_rows)
            yield from opened.iter_batches(n_rows, row_groups=[i], columns=kept, use_threads=False)


def _arrow_batches(span: Span, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with _open_arrow(span.file) as opened:
        kept = _known(columns, opened.schema)
        found: Iterable[pa.RecordBatch] = opened
        if isinstance(opened, pa.RecordBatchFileReader):
            found = (opened.get_batch(i) for i in range(span.start, min(span.stop, opened.num_record_batches)))
        for batch in found:
            yield batch if kept is None else batch.select(kept)


def _known(columns: Sequence[str] | None, schema: pa.Schema) -> list[str] | None:
    return None if columns is None else [name for name in columns if name in schema.names]


@contextmanager
def _open_parquet(file: DataFile) -> Iterator[pq.ParquetFile]:
    """A buffer for each column, instead of the whole columns of a row group, which may be hundreds of MB."""
    with (
        _seekable(file) as source,
        readable(file.path, "parquet"),
        pq.ParquetFile(source, buffer_size=CHUNK_BYTES, pre_buffer=False) as opened,
    ):
        yield opened


@contextmanager
def _seekable(file: DataFile) -> Iterator[str | BinaryIO]:
    """Parquet begins at its end: what is compressed as a whole has to be unpacked first."""
    if not file.compression:
        yield str(file.path)
        return
    with tempfile.TemporaryFile() as unpacked:
        for chunk in chunks(Span(file, 0, file.n_bytes, file.n_bytes)):
            unpacked.write(chunk)
        unpacked.seek(0)
        yield unpacked


@contextmanager
def _open_arrow(file: DataFile) -> Iterator[pa.RecordBatchFileReader | pa.RecordBatchStreamReader]:
    options = pa.ipc.IpcReadOptions(use_threads=False)
    with readable(file.path, "arrow"):
        with pa.input_stream(str(file.path), compression=file.compression) as source:
            is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
        with pa.input_stream(str(file.path), compression=file.compression) as source:
            if is_file and not file.compression:
                yield pa.ipc.open_file(source, options=options)
            else:
                if is_file:
                    source.read(len(ARROW_FILE))
                yield pa.ipc.open_stream(source, options=options)
