"""Reads the user's own text: a file, a folder or a glob of .txt, .md, .jsonl and source code; not archives or tables.

Large files come in parts, cut where no tokenizer of ours looks across, so that the parts give the ids of the whole.
"""

import codecs
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from nanolit.runtime.files import read_json, sha256_file, write_json

SUFFIXES = (
    *(".txt", ".md", ".rst", ".tex", ".jsonl", ".html", ".css", ".xml", ".toml", ".yaml", ".yml", ".sql", ".sh"),
    *(".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cs", ".go", ".java", ".js", ".jsx", ".ts", ".tsx"),
    *(".jl", ".kt", ".lua", ".php", ".pl", ".r", ".rb", ".rs", ".scala", ".swift"),
)
CHUNK_BYTES = 1 << 20
RACY_S = 2.0  # a file changed less than this ago may change again without a new time stamp


class TextFile(NamedTuple):
    path: Path
    name: str  # relative to the folder that was given, so that moving the folder changes nothing
    n_bytes: int
    sha256: str


class Document(NamedTuple):
    sha256: str
    parts: Iterable[tuple[str, bool]]  # text, and whether the document ends with it


def find(source: str, root: Path) -> list[TextFile]:
    """The non-empty files that `source` (a file, a folder, a glob) means, in the order of their names."""
    path = Path(source).expanduser()
    if path.is_file():
        base, paths = path.parent, [path]
    elif path.is_dir():
        visible = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
        base, paths = path, [p for p in visible if p.suffix.lower() in SUFFIXES and p.is_file()]
    else:
        fixed = list(takewhile(lambda part: not set(part) & set("*?["), path.parts))
        base = Path(*fixed)
        pattern = "/".join(path.parts[len(fixed) :])
        paths = [p for p in base.glob(pattern) if p.is_file()] if pattern else []
    if not paths and path.is_dir():
        raise ValueError(f"data.source={source}: no text in this folder; files that count end in {' '.join(SUFFIXES)}")
    if not paths:
        raise ValueError(f"data.source={source}: no such file, and no file fits it as a pattern; check the path")
    filled = [p for p in paths if p.stat().st_size]
    if not filled:
        what = "the file is" if len(paths) == 1 else f"all {len(paths)} files are"
        raise ValueError(f"data.source={source}: {what} empty; put text into it or give another path")
    return hashed(base, filled, root)


def hashed(base: Path, paths: Iterable[Path], root: Path) -> list[TextFile]:
    """Describes the files among `paths`; a hash is remembered under `root` for as long as size and time stand still."""
    memory_path = root / ".file-hashes.json"
    memory: dict[str, list] = read_json(memory_path) if memory_path.is_file() else {}
    files, learnt = [], False
    for path in sorted(path for path in paths if path.is_file()):
        status = path.stat()
        known = memory.get(str(path.absolute()))
        if known is None or known[:2] != [status.st_size, status.st_mtime_ns]:
            known = [status.st_size, status.st_mtime_ns, sha256_file(path)]
            if time.time() - status.st_mtime > RACY_S:
                memory[str(path.absolute())] = known
                learnt = True
        files.append(TextFile(path, path.relative_to(base).as_posix(), status.st_size, known[2]))
    if learnt:
        write_json(memory_path, memory)
    return files


def documents(files: Iterable[TextFile], encoding: str, text_field: str) -> Iterator[Document]:
    """A document per file, or per line of a .jsonl file."""
    for file in files:
        if file.path.suffix == ".jsonl":
            yield from _rows(file.path, text_field)
        else:
            yield Document(file.sha256, _in_parts(_decoded(file.path, encoding)))


def _rows(path: Path, text_field: str) -> Iterator[Document]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:  # covers UnicodeDecodeError too
                raise ValueError(f"{path}:{number}: not JSON ({error}); mend or remove the line") from error
            text = row.get(text_field) if isinstance(row, dict) else None
            if not isinstance(text, str):
                keys = ", ".join(row) if isinstance(row, dict) else type(row).__name__
                raise ValueError(
                    f"{path}:{number}: no text under {text_field!r} (it has: {keys}); name the right data.text_field"
                )
            if text:
                # JSON can spell half a surrogate pair, which is no text.
                text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                yield Document(hashlib.sha256(text.encode()).hexdigest(), [(text, True)])


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    """The text in chunks, line ends as they are; a byte order mark at the start is no text."""
    decoder = codecs.getincrementaldecoder("utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding)()
    n_read = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK_BYTES)
            n_pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                position = n_read - n_pending + error.start
                raise ValueError(
                    f"{path}: byte {position} (0x{error.object[error.start]:02x}) is not {encoding}; convert the file, "
                    "give its data.encoding (for example latin-1), or leave it out"
                ) from error
            n_read += len(chunk)
            if text:
                yield text
            if not chunk:
                return


def _in_parts(chunks: Iterable[str]) -> Iterator[tuple[str, bool]]:
    text = ""
    for chunk in chunks:
        if at := _last_cut(text):
            yield text[:at], False
            text = text[at:]
        text += chunk
    yield text, True


def _last_cut(text: str) -> int:
    """The last place in `text` that splits no token: after a line end between a non-space and a letter or digit.

    All split patterns of `tokenizers` end a token at such a line end, whether text follows or not; 0 if there is none.
    """
    at = text.rfind("\n")
    while at > 0:
        if not text[at - 1].isspace() and text[at + 1 : at + 2].isalnum():
            return at + 1
        at = text.rfind("\n", 0, at)
    return 0
