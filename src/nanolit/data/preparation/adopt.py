"""Token files of other programs as prepared data: the folder made here holds the tokenizer, where documents begin, and
a manifest that points at the files. They stay where they are, as they are.
"""

from pathlib import Path
from typing import Any

import numpy as np

from nanolit.data.config import DataConfig, Split
from nanolit.data.foreign_shards import detect, open_foreign
from nanolit.data.preparation.manifest import FORMAT, folder_name, versions, with_tokenizer
from nanolit.data.sources.files import DataFile, hashed
from nanolit.runtime.files import atomic_folder, locked, write_json
from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer, identity
from nanolit.tokenizers.protocol import Tokenizer


def adopt(data: DataConfig, config: TokenizerConfig, root: Path) -> Path:
    """The folder under `root` through which the files of `data` are used, made if it is not there."""
    with locked(root, f"{data.name}-tokens"):  # of processes that begin at once, one reads the files
        return _adopted(data, config, root)


def _adopted(data: DataConfig, config: TokenizerConfig, root: Path) -> Path:
    assert data.train is not None and data.val is not None
    found: dict[Split, list[DataFile]] = {
        "train": _find(data.train, "data.train", root),
        "val": _find(data.val, "data.val", root),
    }
    listed = {split: [[str(file.path.absolute()), file.sha256] for file in files] for split, files in found.items()}
    decisive = {
        "format": FORMAT,
        "source": {"kind": "tokens", "dtype": data.dtype, "files": listed},
        "tokenizer": identity(config),
    }
    folder = root / folder_name(data, decisive)
    if not (folder / "manifest.json").is_file():
        tokenizer = build_tokenizer(config, _refuse_to_train)
        with atomic_folder(folder) as temporary:
            tokenizer.save(temporary / "tokenizer")
            splits = {split: _entries(files, split, tokenizer, data, temporary) for split, files in found.items()}
            paths = [file.path for files in found.values() for file in files]
            write_json(temporary / "manifest.json", _manifest(decisive, splits, tokenizer, paths))
    return folder


def _find(pattern: str, setting: str, root: Path) -> list[DataFile]:
    path = Path(pattern).expanduser().absolute()
    paths = [path] if path.is_file() else sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    files = [path for path in paths if path.is_file()]
    if not files:
        raise ValueError(f"{setting}={pattern}: no such file, and no file fits it as a pattern; check the path")
    return hashed(Path(path.anchor), files, root)


def _entries(
    files: list[DataFile], split: Split, tokenizer: Tokenizer, data: DataConfig, folder: Path
) -> dict[str, Any]:
    shards, n_documents, continues = [], 0, False
    for number, file in enumerate(files):
        shard = open_foreign(
            file.path,
            tokenizer.fingerprint,
            tokenizer.vocab_size,
            data.dtype,
            sha256=file.sha256,
            eot_id=tokenizer.eot_id,
            continues=continues,
        )
        continues = int(shard.tokens[-1]) != tokenizer.eot_id
        starts = f"{split}-{number:05d}.starts.npy"
        np.save(folder / starts, shard.starts)
        n_documents += len(shard.starts)
        where = {"file": str(file.path.absolute()), "foreign": {"dtype": shard.tokens.dtype.name, "starts": starts}}
        shards.append({**where, "tokens": len(shard.tokens), "sha256": file.sha256})
    return {"documents": n_documents, "tokens": sum(s["tokens"] for s in shards), "bytes": None, "shards": shards}


def _manifest(
    decisive: dict[str, Any], splits: dict[Split, Any], tokenizer: Tokenizer, paths: list[Path]
) -> dict[str, Any]:
    has_eot = tokenizer.eot_id is not None
    leading = [path for path in paths if detect(path) == "llmc"]
    if 0 < len(leading) < len(paths):
        raise ValueError(
            f"data.train, data.val: {leading[0]} has a header of llm.c, others have none; their documents are told "
            "apart in different ways: give files of one kind"
        )
    leads = has_eot and bool(leading)
    return {
        **with_tokenizer(decisive, tokenizer),
        "on_the_fly": None,
        "marks": {"append_eot": has_eot and not leads, "prepend_bos": leads},
        "splits": splits,
        "versions": versions(),
    }


def _refuse_to_train() -> Any:
    raise ValueError(
        "tokenizer: token files hold no text to learn one from; name the one that made them: tokenizer=gpt2, "
        "tokenizer=char tokenizer.characters=…, or tokenizer=folder tokenizer.path=PATH"
    )
