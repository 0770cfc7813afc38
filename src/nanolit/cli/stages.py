"""What a stage learns from, behind one face: the training run asks it for a tokenizer, batches, a module and what to
write down. Text and conversations are prepared shards.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl

from nanolit.cli.network import Weights
from nanolit.cli.open_model import locate
from nanolit.cli.run_folder import RunFolder
from nanolit.cli.settings import Settings
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.datamodules.pretrain import PretrainData
from nanolit.models.network import Network
from nanolit.runtime import dist
from nanolit.tokenizers.chat import has_chat_tokens
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.training.language_model import LanguageModel

log = logging.getLogger("nanolit")


class StageData(Protocol):
    tokenizer: Tokenizer

    def describe(self) -> dict[str, Any]:
        """For data.json: equal if and only if a run that goes on learns from the same."""

    def batches(self, block_size: int, micro_batch_size: int) -> pl.LightningDataModule: ...

    def module(self, network: Network, **shared: Any) -> LanguageModel: ...

    def size_note(self, data: Any) -> str:
        """How much there is to learn from, told before training."""


class Text:
    """Shards of tokens: stages pretrain, midtrain, sft."""

    def __init__(self, settings: Settings, config: dict[str, Any], folder: RunFolder, weights: Weights | None) -> None:
        self.settings, self.folder = settings, folder
        self.prepared = self._prepare(config, weights)
        self.tokenizer = self.prepared.tokenizer
        if settings.run.stage != "pretrain" and settings.data.render != "completion":
            require_chat_tokens(self.tokenizer, settings)

    def _prepare(self, config: dict[str, Any], weights: Weights | None) -> Prepared:
        settings = self.settings

        accepted: set[str] = set()  # asked before the text is read, and again in case it had been read already

        def accept(found: Tokenizer) -> None:
            if weights and found.fingerprint not in accepted:
                accepted.add(found.fingerprint)
                weights.accept(found, settings.run.resize_vocabulary)

        tokenizer = settings.tokenizer
        if tokenizer.path and not Path(tokenizer.path).exists():
            # A run that goes on has a copy; else it is a name on the hub.
            kept = self.folder.stored_tokenizer(config["tokenizer"])
            tokenizer = replace(tokenizer, path=str(kept or locate(tokenizer.path, "tokenizer.path")))
        prepared = Prepared.open(prepare(settings.data, tokenizer, settings.data_root, accept=accept))
        accept(prepared.tokenizer)
        return prepared

    def describe(self) -> dict[str, Any]:
        return {"folder": str(self.prepared.folder), **self.prepared.manifest}

    def batches(self, block_size: int, micro_batch_size: int) -> PretrainData:
        run = self.settings.run
        return PretrainData(self.prepared, block_size, run.batch_size, micro_batch_size, run.seed, self.settings.loader)

    def module(self, network: Network, **shared: Any) -> LanguageModel:
        return LanguageModel(network, **shared)

    def size_note(self, data: PretrainData) -> str:
        return "training tokens not yet counted" if data.n_tokens is None else f"{data.n_tokens:,} training tokens"


def open_stage(settings: Settings, config: dict[str, Any], folder: RunFolder, weights: Weights | None) -> StageData:
    stage: StageData = Text(settings, config, folder, weights)
    if dist.is_main():
        folder.check_data(stage.describe(), settings.run.force_resume)
    return stage


def require_chat_tokens(tokenizer: Tokenizer, settings: Settings) -> None:
    if not has_chat_tokens(tokenizer):
        raise ValueError(
            f"parent: {settings.run.init_from} has a tokenizer without chat tokens, which stage={settings.run.stage} "
            "renders conversations with; pretrain with tokenizer=bpe_chat"
        )
