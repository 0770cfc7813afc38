"""From a configuration and named parameters to the optimizer; which parameter is in which group is stated only here."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from nanolit.optim.groups import Rule, group_parameters
from nanolit.optim.mixed import MixedOptimizer
from nanolit.runtime.typed import build

EMBEDDING = r"embed|wte|wpe"
VALUE_EMBEDDING = r"(^|\.)value_embeddings\."
HEAD = r"(^|\.)(lm_)?head\."
QKV = r"(^|\.)qkv\.weight$"  # GPT's own; beside it stands the matrix `out`, which reads what the queries gathered


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW for everything; only matrices decay."""

    lr: float = 6e-4
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check_non_negative(self, "lr", "weight_decay", "eps")
        _check_betas(self.betas)

    def rules(self) -> list[Rule]:
        settings = {"kind": "adamw", "lr": self.lr, "betas": self.betas, "eps": self.eps}
        return [
            Rule("matrices", {**settings, "weight_decay": self.weight_decay}, matrix=True),
            Rule("vectors", {**settings, "weight_decay": 0.0}, matrix=False, optional=True),
        ]


@dataclass(frozen=True)
class MuonConfig:
    """Muon for the matrices inside the blocks; AdamW, with a rate for each part, for embeddings, head and vectors."""

    lr: float = 0.02
    weight_decay: float = 0.0  # of the block matrices
    momentum: float = 0.95
    momentum_start: float = 0.85
    momentum_warmup_steps: int = 300
    nesterov: bool = True
    ns_steps: int = 5
    adjust_lr: Literal["original", "match_rms_adamw"] = "original"
    embedding_lr: float = 0.2
    value_embedding_lr: float | None = None  # None: half of embedding_lr, nanochat's choice
    head_lr: float = 0.004  # of an untied head
    vector_lr: float = 0.02
    reference_width: int | None = None  # at which embedding_lr and head_lr hold; they fall as 1 / sqrt(width)
    betas: tuple[float, float] = (0.8, 0.95)
    eps: float = 1e-10

    def __post_init__(self) -> None:
        _check_non_negative(
            self, "lr", "weight_decay", "embedding_lr", "head_lr", "vector_lr", "eps", "momentum_warmup_steps"
        )
        if self.value_embedding_lr is not None:
            _check_non_negative(self, "value_embedding_lr")
        _check_betas(self.betas)
        if self.reference_width is not None and self.reference_width < 1:
            raise ValueError(f"optimizer.reference_width: got {self.reference_width}, must be at least 1, or null")
        for name in ("momentum", "momentum_start"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optimizer.{name}: got {getattr(self, name)}, must be at least 0 and below 1")
        if not 1 <= self.ns_steps <= 20:
            raise ValueError(f"optimizer.ns_steps: got {self.ns_steps}, must be from 1 to 20 (5 is usual)")

    def at_width(self, width: int) -> "MuonConfig":
        """With the rates that hold for a network of this width."""
        if self.reference_width is None:
            return self
        factor = (width / self.reference_width) ** -0.5
        value_lr = None if self.value_embedding_lr is None else factor * self.value_embedding_lr
        rates = {"embedding_lr": factor * self.embedding_lr, "head_lr": factor * self.head_lr}
        return replace(self, **rates, value_embedding_lr=value_lr, reference_width=None)

    def rules(self, qkv_split: tuple[int, ...] | None) -> list[Rule]:
        adamw = {"kind": "adamw", "betas": self.betas, "eps": self.eps}
        muon = {name: getattr(self, name) for name in ("lr", "weight_decay", "momentum", "momentum_start")}
        muon |= {name: getattr(self, name) for name in ("momentum_warmup_steps", "nesterov", "ns_steps", "adjust_lr")}
        muon["kind"] = "muon"
        value_lr = self.embedding_lr / 2 if self.value_embedding_lr is None else self.value_embedding_lr
        return [
            Rule("vectors", {**adamw, "lr": self.vector_lr}, matrix=False, optional=True),
            Rule("value embeddings", {**adamw, "lr": value_lr}, VALUE_EMBEDDING, optional=True),
            Rule("embeddings", {**adamw, "lr": self.embedding_lr}, EMBEDDING),
            Rule("head", {**adamw, "lr": self.head_lr}, HEAD, optional=True),
            Rule("qkv", {**muon, "split": qkv_split}, QKV, optional=True),
            Rule("block matrices", muon),
        ]


OptimizerConfig = AdamWConfig | MuonConfig
KINDS: dict[str, type[AdamWConfig] | type[MuonConfig]] = {"adamw": AdamWConfig, "muon": MuonConfig}


def optimizer_config(values: Mapping[str, Any], where: str = "optimizer") -> OptimizerConfig:
    """The configuration that `kind` names, from the remaining values."""
    kind = values.get("kind")
    if kind not in KINDS:
        raise ValueError(f"{where}.kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    return build(KINDS[kind], {name: value for name, value in values.items() if name != "kind"}, where)


def build_optimizer(
    named_parameters: Iterable[tuple[str, Tensor]], config: OptimizerConfig, state: Mapping[str, Any] | None = None
) -> MixedOptimizer:
    """The optimizer that `config` describes, for these parameters; it goes on from `state`, that of another one."""
    named = list(named_parameters)
    if isinstance(config, MuonConfig):
        rules = config.at_width(_width(named)).rules(_qkv_split(named))
    else:
        rules = config.rules()
    optimizer = MixedOptimizer(group_parameters(named, rules))
    if state is not None:
        optimizer.take_state(state)
    return optimizer


def _qkv_split(named: list[tuple[str, Tensor]]) -> tuple[int, ...] | None:
    """Rows of query, key and value in a fused matrix: as many query rows as `out` has columns, the rest shared.

    None where a foreign network names a matrix so and has no such `out`: it is taken as a whole.
    """
    shapes = {name: parameter.shape for name, parameter in named}
    for name, shape in shapes.items():
        out = shapes.get(re.sub(QKV, r"\1out.weight", name))
        if out is not None and re.search(QKV, name):
            return out[1], (shape[0] - out[1]) // 2, (shape[0] - out[1]) // 2
    return None


def _check_non_negative(config: OptimizerConfig, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= 0:
            raise ValueError(f"optimizer.{name}: got {getattr(config, name)}, must be at least 0")


def _check_betas(betas: tuple[float, float]) -> None:
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"optimizer.betas: got {list(betas)}, each must be at least 0 and below 1")


def _width(named: list[tuple[str, Tensor]]) -> int:
    """Of what an embedding gives."""
    return next((p.size(-1) for name, p in named if p.dim() == 2 and re.search(EMBEDDING, name)), 1)
