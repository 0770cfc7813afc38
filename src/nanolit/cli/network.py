"""The network of a run: new, or with the weights that `init_from` names; a GPT or a foreign one (models/network.py)."""

import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nanolit.cli.hydra_app import make
from nanolit.cli.open_model import hashes, is_foreign, locate
from nanolit.cli.settings import ForeignModel, Model, PretrainedModel, RunConfig, with_vocabulary
from nanolit.models.adapter import save_adapter
from nanolit.models.attention import describe_backend
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model, save_model
from nanolit.models.families import family_of, why_none
from nanolit.models.gpt import GPT
from nanolit.models.lora import LoRAConfig, merged
from nanolit.models.network import Network, refuse_documents
from nanolit.models.surgery import MAY_CHANGE, adapted, resize_vocabulary
from nanolit.optim.build import EMBEDDING, HEAD, MuonConfig, OptimizerConfig, build_optimizer
from nanolit.runtime.typed import build
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

log = logging.getLogger("nanolit")


@dataclass(frozen=True)
class Weights:
    """What a run starts from, found on this machine."""

    source: str
    folder: Path
    setting: str = "init_from"  # by which the user has named them

    @classmethod
    def find(cls, run: RunConfig) -> "Weights":
        assert run.init_from is not None
        setting = "init_from" if run.parent is None else "parent"
        return cls(run.init_from, locate(run.init_from, setting), setting)

    def describe(self) -> dict[str, Any]:
        """Where the run comes from. Every byte of the weights is hashed: a few seconds for a gigabyte or two."""
        return {"source": self.source, "folder": str(self.folder.absolute()), "files": hashes(self.folder)}

    def accept(self, tokenizer: Tokenizer, may_grow: bool) -> None:
        """Refuses the tokens of another tokenizer than the model's; with `may_grow` it may have more of them."""
        if not (self.folder / "tokenizer.json").is_file():
            log.warning("%s has no tokenizer.json: whether its tokens are those of the data is not known", self.folder)
            return
        own = load_tokenizer(self.folder)
        if tokenizer.fingerprint == own.fingerprint or (may_grow and begins_as(tokenizer, own)):
            return
        raise ValueError(
            f"{self.setting}: {self.source} reads the tokens of its own tokenizer ({own.kind}, {own.vocab_size} ids, "
            f"fingerprint {own.fingerprint[:12]}), the data has those of another ({tokenizer.kind}, "
            f"{tokenizer.vocab_size} ids, {tokenizer.fingerprint[:12]}); give tokenizer=folder "
            f"tokenizer.path={self.source}"
        )


def begins_as(tokenizer: Tokenizer, other: Tokenizer) -> bool:
    """Has `tokenizer` all tokens of `other` under the same ids, and more?"""
    ids = range(other.vocab_size)
    return tokenizer.vocab_size > other.vocab_size and all(
        tokenizer.token_bytes(i) == other.token_bytes(i) for i in ids
    )


def make_network(
    model: Model, given: dict[str, Any], weights: Weights | None, vocab_size: int, may_grow: bool = False
) -> Network:
    """In training mode, on the CPU, in float32; `given` is the section `model` of the configuration."""
    if isinstance(model, GPTConfig):
        return GPT(with_vocabulary(model, vocab_size, given))
    if isinstance(model, ForeignModel):
        start = {} if weights is None else {"weights": weights.folder}
        network = make(model.node, **start, **({} if "vocab_size" in model.node else {"vocab_size": vocab_size}))
    else:
        assert weights is not None
        network = _pretrained(model, weights.folder)
    setting = "model.vocab_size" if weights is None else "init_from"
    return _with_room(network, vocab_size, setting, may_grow).train()


def architecture(network: Network) -> dict[str, Any] | None:
    """What `restored` makes the same network of, as plain JSON; None of a network that cannot say it."""
    if isinstance(network, GPT):
        return {"kind": "gpt", "config": asdict(network.config)}
    told = getattr(network, "architecture", None)
    return {"kind": "transformers", **told()} if told else None


def restored(architecture: dict[str, Any], model: Model, vocab_size: int) -> Network:
    """The network of a run that goes on, for its checkpoint to fill: what it began with need not be there any more."""
    given = model.given if isinstance(model, PretrainedModel) else {}
    if architecture["kind"] == "gpt":
        config = build(GPTConfig, architecture["config"], "model")
        network: Any = adapted(GPT(config), {name: given[name] for name in MAY_CHANGE if name in given})
    else:
        from nanolit.interop.causal_lm import CausalLM

        network = CausalLM.from_architecture(architecture)
    return _with_room(network, vocab_size, "init_from", may_grow=False).train()


def _pretrained(model: PretrainedModel, folder: Path) -> Network:
    if not is_foreign(folder):
        start = load_model(folder, dtype=torch.float32)
        network = adapted(start, model.given)
        for parameter in network.parameters():
            # A file's tensors begin anywhere, ours at multiples of 64 bytes, where products sum in another order: a run
            # that goes on from a checkpoint would differ in the last bits from one that was never interrupted.
            parameter.data = parameter.data.clone()
        if network.config.block_size > start.config.block_size:
            log.warning(
                "model.block_size=%d is more than the %d that the weights have seen: rotary positions reach there, but "
                "nothing has been learnt about them yet",
                network.config.block_size,
                start.config.block_size,
            )
        return network
    from nanolit.interop.causal_lm import CausalLM

    if wrong := sorted(model.given.keys() - {"block_size"}):
        raise ValueError(
            f"model.{wrong[0]}: {folder} is computed by transformers as its config.json says; leave it out "
            f"(of {', '.join(MAY_CHANGE)} only block_size may be given here)"
        )
    return CausalLM.load(folder, torch.float32, model.given.get("block_size"))


def _with_room(network: Any, vocab_size: int, setting: str, may_grow: bool) -> Any:
    """The network with an embedding for every id of the tokenizer."""
    has = network.config.vocab_size
    if vocab_size <= has:
        return network
    if not may_grow:
        remedy = "leave it out to take that"
        if setting == "init_from":
            remedy = "take the model's own, or give resize_vocabulary=true: the rows of the others begin as the mean"
        raise ValueError(f"{setting}: the model has {has} ids, the tokenizer {vocab_size}; {remedy}")
    log.info("resize_vocabulary: %d ids become %d", has, vocab_size)
    if isinstance(network, GPT):
        return resize_vocabulary(network, vocab_size)
    if not hasattr(network, "resize_vocabulary"):
        raise ValueError("resize_vocabulary: this network cannot; give model=pretrained")
    network.resize_vocabulary(vocab_size)
    return network


def saver(
    network: Network, lora: LoRAConfig | None = None, parent: str | None = None
) -> Callable[[Path, Any, dict[str, Any]], None]:
    """How it becomes a model directory: save(folder, network, extra). With LoRA what was added is in the weights, and
    once more alone, to be added to `parent`.
    """
    if lora is not None:
        assert parent is not None
        path = Path(parent)
        base = str((path / "model" if (path / "model").is_dir() else path).absolute()) if path.exists() else parent
        plain = saver(network)

        def save(folder: Path, trained: Any, extra: dict[str, Any]) -> None:
            plain(folder, merged(trained), extra)
            save_adapter(trained, lora, folder / "adapter", base.removeprefix("hf:"))

        return save
    if isinstance(network, GPT):
        return save_model
    return lambda folder, foreign, extra: foreign.save(folder, extra)


def describe(network: Network, device: torch.device, dtype: torch.dtype, documents: bool = False) -> list[str]:
    """Before training: what computes attention (within `documents`), and who will be able to open the model."""
    if not isinstance(network, GPT):
        refuse_documents(True if documents else None)
        return [f"model: {type(getattr(network, 'model', network)).__name__}; its directory opens in transformers"]
    config = network.config
    windows = any(config.layer_window(layer) for layer in range(config.n_layer))
    attention = describe_backend(
        config.attention, device, windows=windows, documents=documents, dropout_p=config.dropout, dtype=dtype
    )
    family = family_of(config)
    if family is None:
        opens = f"model: of no family that transformers knows, so it cannot be exported; {why_none(config)}"
    else:
        opens = f"model: {family.architecture}; its directory opens in transformers"
    return [attention, opens]


def is_random(network: Network) -> bool:
    """Does training draw random numbers? Of a foreign network one cannot tell."""
    return network.config.dropout > 0 or not isinstance(network, GPT)


def check_optimizer(network: Any, optimizer: OptimizerConfig) -> None:
    """Before anything is written: can this optimizer train this network?

    Muon's groups go by the names of parameters, and other people's networks have other names.
    """
    build_optimizer(network.named_parameters(), optimizer)
    if not isinstance(optimizer, MuonConfig) or not hasattr(network, "model"):
        return
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    table, head = network.model.get_input_embeddings(), network.model.get_output_embeddings()
    own_head = head is not None and head.weight is not table.weight
    embedding_name, head_name = names[id(table.weight)], names[id(head.weight)] if own_head else "head."
    is_plain = re.search(EMBEDDING, embedding_name) and re.search(HEAD, head_name)
    if not is_plain or re.search(EMBEDDING, head_name):
        raise ValueError(
            "optimizer.kind=muon: tells embedding, head and blocks apart by their names, and this network calls them "
            f"{embedding_name} and {head_name}; take optimizer=adamw"
        )
