"""The files of a tokenizer folder, and what they say beyond ids: special tokens, chat template, post-processor.

They are carried unchanged from loading to saving, so that `transformers` finds in a saved folder what the first one
held. Nothing here encodes; code that lies beside the files (`auto_map`) is neither run nor carried.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanolit.runtime.files import atomic_path, read_json, write_json
from nanolit.tokenizers.vocabulary import END_OF_TEXT

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
BESIDE = ("special_tokens_map.json", "added_tokens.json")
KNOWN_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|bos|>")  # the last one is nanochat's delimiter


@dataclass(frozen=True)
class Origin:
    """A tokenizer folder as it was read. `specials` maps the names that no text may become to their ids."""

    text: str  # tokenizer.json
    config: dict[str, Any]  # tokenizer_config.json with the chat template, without `kind` and `fingerprint`
    beside: dict[str, str]  # the other files that `transformers` reads
    kind: str | None  # what nanolit wrote: None in a folder that is not ours
    fingerprint: str | None
    specials: dict[str, int]
    eot_id: int | None
    bos_id: int | None

    @property
    def digest(self) -> str:
        """SHA-256 over all that a saved copy carries."""
        carried = json.dumps([self.text, self.config, self.beside], sort_keys=True)
        return hashlib.sha256(carried.encode("utf-8", "surrogatepass")).hexdigest()

    def write(self, folder: Path, kind: str, fingerprint: str) -> None:
        for name, text in {TOKENIZER: self.text, **self.beside}.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
        write_json(folder / CONFIG, {"kind": kind, "fingerprint": fingerprint, **self.config})


def read_origin(folder: Path | str) -> tuple[Origin, dict[str, Any]]:
    """The folder, and its tokenizer.json as Python values (they are large: whoever has used them lets go of them)."""
    folder = Path(folder)
    if not (folder / TOKENIZER).is_file():
        raise ValueError(f"{folder}: no {TOKENIZER} in it, so it is not a tokenizer folder; {_remedy(folder)}")
    content = read_json(folder / TOKENIZER)
    _check(content, folder / TOKENIZER)
    text = _read_text(folder / TOKENIZER)
    beside = {name: _read_text(folder / name) for name in BESIDE if (folder / name).is_file()}
    try:
        named = _named(read_json(folder / BESIDE[0]) if BESIDE[0] in beside else {})
        return _origin(text, content, _read_config(folder), beside, named), content
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _origin(
    text: str, content: dict[str, Any], config: dict[str, Any], beside: dict[str, str], named: dict[str, str]
) -> Origin:
    kind, fingerprint = config.pop("kind", None), config.pop("fingerprint", None)
    told = named | _named(config)
    marked = {token["content"]: token["id"] for token in added_of(content) if token["special"]}
    ids = marked | {name: i for name in told.values() if (i := _id_of(content, name)) is not None}
    begin, end = told.get("bos_token"), told.get("eos_token")
    if end not in ids:
        end = next((name for name in KNOWN_ENDS if name in marked), None)
    bos_id = _leading_id(content)
    if bos_id is None and config.get("add_bos_token") is True and begin is not None:
        bos_id = ids.get(begin)
    if config.pop("auto_map", None) or "tokenizer_class" not in config:
        begin = next((name for name, i in ids.items() if i == bos_id), end if end == END_OF_TEXT else None)
        config = {"bos_token": begin, "eos_token": end, **config, "tokenizer_class": "PreTrainedTokenizerFast"}
    eot_id = None if end is None else ids[end]
    ordinary = _ordinary(content, ids)
    specials = {name: ids[name] for name in sorted(ids, key=ids.__getitem__) if name not in ordinary}
    return Origin(text, config, beside, kind, fingerprint, specials, eot_id, bos_id)


def added_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return content.get("added_tokens") or []


def words_of(content: dict[str, Any]) -> list[str]:
    """The entries of a vocabulary that is a table, in the order of their ids."""
    vocabulary = content["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.__getitem__)


def n_ids(folder: Path | str) -> int:
    """How many ids a model needs for the tokenizer in `folder`; only its vocabulary is looked at."""
    path = Path(folder) / TOKENIZER
    content = read_json(path)
    _check(content, path)
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary.values()) if isinstance(vocabulary, dict) else len(vocabulary) - 1
    return max(last, *(token["id"] for token in added_of(content)), -1) + 1


def merges_of(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The pairs of a BPE; older files write each as one string."""
    for merge in model.get("merges") or ():
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if len(pair) != 2:
            raise ValueError(f"tokenizer.json: the merge {merge!r} is not of two parts; restore the file")
        yield pair[0], pair[1]


def open_library(text: str) -> "HuggingFaceTokenizer":
    """The tokenizer.json `text` as an object of the `tokenizers` library."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library has no narrower one
        raise ValueError(
            f"tokenizer.json: the tokenizers library cannot read it ({error}); restore the file"
        ) from error


def _remedy(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder; check the path"
    if any((folder / name).is_file() for name in ("tokenizer.model", "vocab.json", "vocab.txt", "tokenizer.pkl")):
        return (
            "it holds an older format: open it with transformers (AutoTokenizer.from_pretrained) and "
            "save_pretrained it, which writes tokenizer.json"
        )
    return "give one that has it"


def _check(content: Any, path: Path) -> None:
    """That what is read here is there; the rest is the library's to check."""
    model = content.get("model") if isinstance(content, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    is_table = isinstance(vocabulary, dict) and all(type(token_id) is int for token_id in vocabulary.values())
    is_list = isinstance(vocabulary, list) and all(isinstance(entry, list) and len(entry) == 2 for entry in vocabulary)
    if not vocabulary or not (is_table or is_list):
        raise ValueError(f"{path}: holds no model with a vocabulary; restore the file")
    for token in added_of(content):
        if not isinstance(token, dict) or not {"id", "content", "special"} <= token.keys():
            raise ValueError(f"{path}: added token {token!r} lacks its id, content or special; restore the file")


def _ordinary(content: dict[str, Any], names: Iterable[str]) -> set[str]:
    """Names of special tokens that text is made of too, as when a BPE's "!" is used for padding."""
    wanted = set(names)
    found = {name for name in wanted if len(name) == 1 and "merges" in content["model"]}
    for left, right in merges_of(content["model"]):
        found |= wanted & {left, right, left + right}
    return found


def _read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")  # not read_text, which would change line ends


def _read_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, or nothing; chat templates from files of their own go before its own, and into it."""
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG}: holds {type(config).__name__}, expected settings; restore the file")
    files = {path.stem: path for path in sorted(folder.glob("additional_chat_templates/*.jinja"))}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = folder / "chat_template.jinja"
    templates = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    if templates.keys() == {"default"}:
        config["chat_template"] = templates["default"]
    elif templates:
        config["chat_template"] = [{"name": name, "template": text} for name, text in templates.items()]
    return config


def _named(config: dict[str, Any]) -> dict[str, str]:
    """Which token begins and which ends a text; each is a string, or a description with its `content`."""
    tokens = {key: config.get(key) for key in ("bos_token", "eos_token")}
    names = {key: token.get("content") if isinstance(token, dict) else token for key, token in tokens.items()}
    return {key: name for key, name in names.items() if isinstance(name, str)}


def _id_of(content: dict[str, Any], name: str) -> int | None:
    for token in added_of(content):
        if token["content"] == name:
            return token["id"]
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return vocabulary.get(name)
    return next((i for i, (spelling, _) in enumerate(vocabulary) if spelling == name), None)


def _leading_id(content: dict[str, Any]) -> int | None:
    """The one id that the file's post-processor puts before a text; the library is asked, which knows every kind."""
    post_processor = content.get("post_processor")
    if post_processor is None:
        return None
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    asked = open_library(json.dumps({"version": "1.0", "model": model, "post_processor": post_processor})).encode("a")
    leading = asked.ids[: asked.special_tokens_mask.index(0)]
    return leading[0] if len(leading) == 1 else None
