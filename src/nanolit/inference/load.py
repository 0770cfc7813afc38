"""A path that a user types becomes a model of ours and its tokenizer. Other people's families: cli/open_model.py."""

from pathlib import Path

import torch

from nanolit.models.config import GPTConfig
from nanolit.models.directory import CONFIG, load_model
from nanolit.models.gpt import GPT
from nanolit.runtime.devices import pick_device
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer


def load(path: Path | str, device: str = "auto", dtype: torch.dtype | None = None) -> tuple[GPT, Tokenizer]:
    """From a model directory, or a run folder (its `model/`); the model is ready for use on `device`."""
    folder = model_directory(path)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, pick_device(device), dtype)
    check_vocabulary(folder, tokenizer, model.config)
    return model, tokenizer


def check_vocabulary(folder: Path, tokenizer: Tokenizer, model: GPTConfig) -> None:
    if tokenizer.vocab_size > model.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, the model only {model.vocab_size}; "
            "they do not belong together"
        )


def model_directory(path: Path | str, setting: str = "model") -> Path:
    """Where the model lies that `path`, the value of `setting`, means."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{setting}: {path} does not exist; give a run folder or a model directory")
    if not path.is_dir():
        raise ValueError(
            f"{setting}: {path} is a file; give the folder that it lies in, or, if it is a checkpoint of other code, "
            f"what nanolit import source={path} out=DIR makes of it"
        )
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    found = ", ".join(sorted(entry.name for entry in path.iterdir())) or "nothing"
    if (path / "config.yaml").is_file():
        raise ValueError(f"{setting}: the run {path} has saved no model yet (no model/{CONFIG}); found: {found}")
    raise ValueError(
        f"{setting}: {path} is neither a model directory ({CONFIG}) nor a run folder (model/); found: {found}"
    )
