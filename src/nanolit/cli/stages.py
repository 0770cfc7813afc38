"""What a stage learns from, behind one face: the training run asks it for a tokenizer, batches, a module and what to
write down. Text and conversations are prepared shards.
"""

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import torch

from nanolit.cli.network import Weights, saver
from nanolit.cli.open_model import is_foreign, locate
from nanolit.cli.run_folder import RunFolder
from nanolit.cli.settings import Settings, Stage
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.data.sources.preferences import read_pairs
from nanolit.data.sources.task_source import identity
from nanolit.datamodules.preferences import PreferenceData
from nanolit.datamodules.pretrain import PretrainData
from nanolit.datamodules.prompts import PromptData
from nanolit.models.directory import load_model
from nanolit.models.lora import merged
from nanolit.models.network import Network
from nanolit.runtime import dist
from nanolit.runtime.files import atomic_folder
from nanolit.tasks.build import make_mixture
from nanolit.tokenizers.chat import has_chat_tokens
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.training.language_model import LanguageModel
from nanolit.training.policy import Policy
from nanolit.training.preference import Preference
from nanolit.training.rollouts import Prompt

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
        if settings.data.order_of_tasks == "sequence":
            require_order(settings)
        self.prepared = self._prepare(config, weights)
        self.tokenizer = self.prepared.tokenizer

    def _prepare(self, config: dict[str, Any], weights: Weights | None) -> Prepared:
        settings = self.settings

        accepted: set[str] = set()  # asked before the text is read, and again in case it had been read already

        def accept(found: Tokenizer) -> None:
            if weights and found.fingerprint not in accepted:
                accepted.add(found.fingerprint)
                weights.accept(found, settings.run.resize_vocabulary)
            if settings.run.stage != "pretrain" and settings.data.render != "completion":
                require_chat_tokens(found, settings)

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
        shared.pop("micro_batch_size")
        return LanguageModel(network, **shared)

    def size_note(self, data: PretrainData) -> str:
        return "training tokens not yet counted" if data.n_tokens is None else f"{data.n_tokens:,} training tokens"


class Questions:
    """Tasks whose questions the policy answers: stage rl. Nothing is prepared."""

    def __init__(self, settings: Settings, config: dict[str, Any], folder: RunFolder, weights: Weights | None) -> None:
        self.settings, self.folder, self.weights = settings, folder, weights
        if settings.data.kind != "tasks" or settings.data.tasks is None:
            raise ValueError(
                f"data.kind: got {settings.data.kind}, stage=rl asks questions of tasks; give data=village_rl"
            )
        self.tokenizer = own_tokenizer(folder, weights)
        require_chat_tokens(self.tokenizer, settings)
        self.mixture = make_mixture(settings.data.tasks, settings.data.order_of_tasks)
        for name, task in zip(self.mixture.names, self.mixture.tasks, strict=True):
            if task.kind == "chat":
                raise ValueError(f"data.tasks.{name}: its answers have no reward; take tasks that judge them")

    def describe(self) -> dict[str, Any]:
        return {"folder": "tasks", "source": identity(self.settings.data, [self.mixture]), "marks": {}, "splits": {}}

    def batches(self, block_size: int, micro_batch_size: int) -> PromptData:
        run, rl = self.settings.run, self.settings.rl
        assert rl is not None
        if run.batch_size % (rl.n_samples * dist.world_size()):
            raise ValueError(
                f"batch_size: got {run.batch_size} answers a step, must be a multiple of rl.n_samples={rl.n_samples} "
                f"times {dist.world_size()} process(es)"
            )
        return PromptData(
            self.mixture,
            self.tokenizer,
            block_size,
            run.batch_size,
            micro_batch_size,
            rl.n_samples,
            rl.resample,
            run.seed,
            Prompt,
        )

    def module(self, network: Network, **shared: Any) -> Policy:
        rl = self.settings.rl
        assert rl is not None
        longest = self.settings.run.batch_size * rl.max_new_tokens
        shared |= {"tokens_per_step": longest, "flops_per_token": 0.0}
        micro = shared.pop("micro_batch_size")
        reference = kept_reference(self.folder, network, self.weights) if rl.kl else None
        return Policy(network, rl=rl, tokenizer=self.tokenizer, micro_batch_size=micro, reference=reference, **shared)

    def size_note(self, data: PromptData) -> str:
        return f"{len(self.mixture):,} questions"


class Pairs:
    """A better and a worse answer to each question: stage dpo. They are held in memory."""

    def __init__(self, settings: Settings, config: dict[str, Any], folder: RunFolder, weights: Weights | None) -> None:
        self.settings, self.folder, self.weights = settings, folder, weights
        if settings.data.kind != "preferences":
            raise ValueError(f"data.kind: got {settings.data.kind}, stage=dpo compares answers; give data=preferences")
        self.tokenizer = own_tokenizer(folder, weights)
        require_chat_tokens(self.tokenizer, settings)
        self.pairs, self._hash = read_pairs(settings.data)

    def describe(self) -> dict[str, Any]:
        source = {"kind": "preferences", "sha256": self._hash, "val_fraction": self.settings.data.val_fraction}
        return {"folder": str(self.settings.data.source), "source": source, "marks": {}, "splits": {}}

    def batches(self, block_size: int, micro_batch_size: int) -> PreferenceData:
        run = self.settings.run
        return PreferenceData(self.pairs, self.tokenizer, block_size, run.batch_size, micro_batch_size, run.seed)

    def module(self, network: Network, **shared: Any) -> Preference:
        assert self.settings.dpo is not None
        shared.pop("micro_batch_size")
        reference = None if self.settings.lora else kept_reference(self.folder, network, self.weights)
        shared |= {"tokens_per_step": 2 * shared["tokens_per_step"], "flops_per_token": 0.0}
        return Preference(network, dpo=self.settings.dpo, reference=reference, **shared)

    def size_note(self, data: PreferenceData) -> str:
        return f"{len(data.rows['train']):,} pairs"


def kept_reference(folder: RunFolder, network: Network, weights: Weights | None) -> Any:
    """The parent as it was, kept in the run: when that goes on (there are no `weights` then), the parent need not be
    there any more.
    """
    path = folder.path / "reference"
    if weights is not None:  # `network` is the parent
        plain = merged(network)
        if dist.is_main():
            with atomic_folder(path) as temporary:
                saver(network)(temporary, plain, {})
        return copy.deepcopy(plain).eval()
    if not path.exists():
        raise ValueError(f"{path}: is gone, the run is measured from it; restore it, or begin again in another run_dir")
    if is_foreign(path):
        from nanolit.interop.causal_lm import CausalLM

        reference: Any = CausalLM.load(path, torch.float32)
    else:
        reference = load_model(path, dtype=torch.float32)
    return copy.deepcopy(
        reference
    ).eval()  # out of the file's memory, where products sum in another order (cli/network.py)


def own_tokenizer(folder: RunFolder, weights: Weights | None) -> Tokenizer:
    """The parent's, of which the run keeps a copy."""
    path = folder.path / "tokenizer"
    if weights is None:
        return load_tokenizer(path)
    tokenizer = load_tokenizer(weights.folder)
    if dist.is_main():
        with atomic_folder(path) as temporary:
            tokenizer.save(temporary)
    return tokenizer


STAGES: dict[Stage, type[Text] | type[Questions] | type[Pairs]] = {
    "pretrain": Text,
    "midtrain": Text,
    "sft": Text,
    "dpo": Pairs,
    "rl": Questions,
}


def open_stage(settings: Settings, config: dict[str, Any], folder: RunFolder, weights: Weights | None) -> StageData:
    stage: StageData = STAGES[settings.run.stage](settings, config, folder, weights)
    if dist.is_main():
        folder.check_data(stage.describe(), settings.run.force_resume)
    return stage


def require_order(settings: Settings) -> None:
    """Rows are served in the order of the documents."""
    loader = settings.loader
    if loader.shuffle or loader.packing.startswith("best_fit"):
        raise ValueError(
            f"data.order_of_tasks: got sequence, but data.loader.shuffle={str(loader.shuffle).lower()} with packing="
            f"{loader.packing} mixes rows; give data.loader.shuffle=false data.loader.packing=stream"
        )


def require_chat_tokens(tokenizer: Tokenizer, settings: Settings) -> None:
    if not has_chat_tokens(tokenizer):
        raise ValueError(
            f"parent: {settings.run.init_from} has a tokenizer without chat tokens, which stage={settings.run.stage} "
            "renders conversations with; pretrain with tokenizer=bpe_chat"
        )
