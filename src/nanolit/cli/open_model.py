"""What a user names as a model, for every command that takes one: a run folder, a model directory, a folder of Hugging
Face, or a name on its hub. Found, opened and identified here; converted nowhere.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanolit.inference.params import Weights

if TYPE_CHECKING:
    import torch

    from nanolit.models.gpt import GPT
    from nanolit.models.network import Network
    from nanolit.tokenizers.protocol import Tokenizer

MODEL_WANTED = "give a run folder, a model directory or a name on the hub, model=gpt2"


def locate(source: Path | str, setting: str = "model") -> Path:
    """The folder with the model's config.json that `source` means; a name on the hub is downloaded."""
    from nanolit.inference.load import model_directory
    from nanolit.interop import hub

    source = str(source).removeprefix("hf:")  # which says what would be found out anyway
    path = Path(source)
    is_mistyped_path = len(path.parts) > 1 and path.parent.is_dir()
    if path.exists() or is_mistyped_path or hub.full_name(source) is None:
        return model_directory(source, setting)
    try:
        return hub.snapshot(source)
    except ValueError as error:
        raise ValueError(f"{setting}: there is no folder {source}, and on the Hugging Face hub: {error}") from error


def is_foreign(folder: Path) -> bool:
    """Is the model in `folder` none of our families, so that transformers has to compute it?"""
    from nanolit.models.directory import UnknownFamily, read_config

    refuse_pickles(folder)
    try:
        read_config(folder)
    except UnknownFamily:
        return True
    return False


def refuse_pickles(folder: Path) -> None:
    """A model whose only weights are pickled is not opened: unpickling can run any code."""
    files = {path.name for path in folder.iterdir()}
    pickled = sorted(name for name in files if re.fullmatch(r"pytorch_model.*\.bin", name))
    if pickled and not any(name.endswith(".safetensors") for name in files):
        raise ValueError(
            f"{folder}: has its weights as pickle only ({pickled[0]}), which could run code when it is read; "
            f"nanolit import source={folder} out=DIR converts it"
        )


def open_model(
    source: Path | str, device: str = "auto", dtype: "torch.dtype | None" = None
) -> tuple["Network", "Tokenizer"]:
    """The model, in evaluation mode, and its tokenizer; `dtype` None keeps what is stored."""
    from nanolit.inference.load import check_vocabulary, load
    from nanolit.runtime.devices import pick_device
    from nanolit.tokenizers.directory import load_tokenizer

    folder = locate(source)
    if not is_foreign(folder):
        return load(folder, device, dtype)
    from nanolit.interop.causal_lm import CausalLM

    tokenizer = load_tokenizer(folder)
    network = CausalLM.load(folder, dtype).to(pick_device(device)).eval()
    check_vocabulary(folder, tokenizer, network.config)
    return network, tokenizer


@dataclass(frozen=True, kw_only=True)
class WriterConfig:
    """What commands that let a model write are told of the model."""

    model: str  # run folder, model directory, or name on the hub
    device: str = "auto"
    weights: Weights = "auto"
    draft: str | None = None  # a smaller one with the same tokenizer, which guesses ahead

    def open(self) -> "tuple[Network, Tokenizer, GPT | None]":
        """The model as it writes fastest, its tokenizer, and the draft."""
        from nanolit.inference.weights import prepare

        model, tokenizer = open_model(self.model, self.device)
        return prepare(model, self.weights), tokenizer, self._open_draft(tokenizer)

    def _open_draft(self, tokenizer: "Tokenizer") -> "GPT | None":
        from nanolit.inference.weights import prepare
        from nanolit.models.gpt import GPT

        if self.draft is None:
            return None
        model, own = open_model(self.draft, self.device)
        if not isinstance(model, GPT):
            raise ValueError(
                f"draft: {self.draft} is a network of others; allowed: a model that nanolit computes itself"
            )
        if own.fingerprint != tokenizer.fingerprint:
            raise ValueError(
                f"draft: {self.draft} cuts text into other tokens than the model; take one with its tokenizer"
            )
        prepare(model, self.weights)
        return model


def hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Of the files that decide what a model computes."""
    from nanolit.runtime.files import sha256_file

    files = [path for path in sorted(folder.iterdir()) if path.suffix == ".safetensors" or path.name == "config.json"]
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in files}
