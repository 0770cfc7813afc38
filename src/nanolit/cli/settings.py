"""The composed configuration as checked values, before anything heavy starts. What a value may be is said by the
dataclass it ends in.
"""

import inspect
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from nanolit.cli.depth_dial import without_dial
from nanolit.data.config import DataConfig
from nanolit.datamodules.pretrain import LoaderConfig
from nanolit.models.config import GPTConfig
from nanolit.models.lora import LoRAConfig
from nanolit.models.surgery import MAY_CHANGE
from nanolit.optim.build import MuonConfig, OptimizerConfig, optimizer_config
from nanolit.optim.schedules import ScheduleConfig, schedule
from nanolit.runtime.suggest import suggest
from nanolit.runtime.typed import build
from nanolit.tokenizers.directory import TokenizerConfig
from nanolit.training.policy_loss import RLConfig
from nanolit.training.preference import DPOConfig

# The Trainer's arguments that other settings decide.
DECIDED_ELSEWHERE = {
    "accumulate_grad_batches": "batch_size and micro_batch_size",
    "max_epochs": "trainer.max_steps: the clock is the optimizer step",
    "min_epochs": "trainer.min_steps: the clock is the optimizer step",
    "max_time": "trainer.max_steps",
    "val_check_interval": "callbacks.evaluate.every_steps",
    "check_val_every_n_epoch": "callbacks.evaluate.every_steps",
    "log_every_n_steps": "callbacks.metrics.every_steps",
    "default_root_dir": "run_dir",
    "callbacks": "the group callbacks",
    "logger": "the group logger",
    "overfit_batches": "data.loader.overfit_steps",
    "limit_train_batches": "trainer.max_steps, or data.loader.overfit_steps to repeat the first steps for ever",
    "reload_dataloaders_every_n_epochs": "nothing: the data has no end, so no epoch begins anew",
    "fast_dev_run": "debug=limit",
    "barebones": "nothing: it would switch off what a run writes",
    "use_distributed_sampler": "nothing: the data order already knows every process",
    "enable_checkpointing": "callbacks.checkpoint",
    "enable_progress_bar": "callbacks.progress",
    "enable_model_summary": "nothing: a run begins by telling its number of parameters",
    "num_sanity_val_steps": "callbacks.evaluate.at_start",
}


Stage = Literal["pretrain", "midtrain", "sft", "dpo", "rl"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class RunConfig:
    """The settings that belong to no group."""

    name: str
    run_dir: Path
    batch_size: int
    stage: Stage = "pretrain"
    init_from: str | None = None  # weights to begin with: a model directory or run, or a name on the hub
    parent: str | None = None  # the same, of a later stage: `with_parent` has written it into init_from
    optimizer_state: Literal["fresh", "kept"] = "fresh"  # kept: that of the parent's last checkpoint
    init_lr_frac: float = 1.0  # of the optimizer's rates, at which this run begins
    resize_vocabulary: bool = False  # of these weights, if the tokenizer has more ids
    seed: int = 1337
    force_resume: bool = False
    micro_batch_size: int | Literal["auto"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    matmul_precision: Literal["high", "highest", "medium"] = "high"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size: got {self.batch_size}, must be at least 1")
        if self.micro_batch_size != "auto" and self.micro_batch_size < 1:
            raise ValueError(f"micro_batch_size: got {self.micro_batch_size}, must be at least 1, or auto")
        if self.stage != "pretrain" and self.init_from is None:
            raise ValueError(f"parent: not given; stage={self.stage} goes on from a model, give parent=RUN")
        if self.optimizer_state == "kept" and self.init_from is None:
            raise ValueError("optimizer_state=kept: of which run? Give parent=RUN, or leave it out")
        if not 0 < self.init_lr_frac <= 1:
            raise ValueError(f"init_lr_frac: got {self.init_lr_frac}, must be above 0 and at most 1")
        if self.resize_vocabulary and self.init_from is None:
            raise ValueError("resize_vocabulary: only weights can be resized; give init_from, or leave it out")


@dataclass(frozen=True)
class ForeignModel:
    """A network that is not a GPT: what `_target_` names is called with the other values and the vocabulary's size."""

    node: dict[str, Any]


@dataclass(frozen=True)
class PretrainedModel:
    """The architecture of the weights in `init_from`; `given` must agree with it, or change what may change."""

    given: dict[str, Any]


Model = GPTConfig | ForeignModel | PretrainedModel


@dataclass(frozen=True)
class Settings:
    run: RunConfig
    model: Model  # the vocabulary is the tokenizer's, once that is known
    tokenizer: TokenizerConfig
    data: DataConfig
    loader: LoaderConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    trainer: dict[str, Any]
    logger: dict[str, Any]
    callbacks: dict[str, Any]
    data_root: Path
    rl: RLConfig | None = None  # of stage rl
    dpo: DPOConfig | None = None  # of stage dpo
    lora: LoRAConfig | None = None

    @property
    def max_steps(self) -> int:
        return self.trainer["max_steps"]


def with_parent(config: dict[str, Any]) -> dict[str, Any]:
    """A later stage names its parent; what it begins with are the parent's weights."""
    if config.get("parent") is None:
        return config
    if config.get("init_from") not in (None, config["parent"]):
        raise ValueError("init_from: is what parent= gives already; leave one of the two out")
    return config | {"init_from": config["parent"]}


def read_settings(config: dict[str, Any]) -> Settings:
    groups = {"paths", "model", "tokenizer", "data", "optimizer", "schedule", "trainer", "logger", "callbacks"}
    groups |= {"rl", "dpo", "lora"}
    run = build(RunConfig, {key: value for key, value in config.items() if key not in {*groups, "by_depth"}}, "")
    data = dict(config["data"])
    trainer = check_trainer(config["trainer"])  # first: its max_steps is what a schedule's length follows
    settings = Settings(
        run=run,
        model=read_model(config["model"], run.init_from),
        tokenizer=build(TokenizerConfig, config["tokenizer"], "tokenizer"),
        loader=build(LoaderConfig, data.pop("loader", {}), "data.loader"),
        data=build(DataConfig, data, "data"),
        optimizer=optimizer_config(config["optimizer"]),
        schedule=build(ScheduleConfig, config["schedule"], "schedule"),
        trainer=trainer,
        logger=config["logger"] or {},
        callbacks=config["callbacks"] or {},
        data_root=Path(config["paths"]["data_root"]),
        rl=of_stage("rl", RLConfig, config, run.stage),
        dpo=of_stage("dpo", DPOConfig, config, run.stage),
        lora=None if config.get("lora") is None else build(LoRAConfig, config["lora"], "lora"),
    )
    if settings.lora is not None and isinstance(settings.optimizer, MuonConfig):
        raise ValueError("lora: optimizer.kind=muon trains whole matrices by their names; give optimizer=adamw")
    if settings.lora is not None and run.init_from is None:
        raise ValueError("lora: adds to a model that has learnt already; give parent=RUN")
    if settings.lora is not None and run.optimizer_state == "kept":
        raise ValueError("optimizer_state=kept: what lora adds is new and has no state; give fresh, or leave it out")
    schedule(settings.schedule, settings.max_steps)  # their lengths must fit together
    return settings


T = TypeVar("T")


def of_stage(name: str, cls: type[T], config: dict[str, Any], stage: Stage) -> T | None:
    """The section that only the stage of its name reads."""
    values = config.get(name)
    if stage != name and values is not None:
        raise ValueError(f"{name}: stage={stage} does not read it; leave it out, or give stage={name}")
    return build(cls, values or {}, name) if stage == name else None


def read_model(values: dict[str, Any], init_from: str | None) -> Model:
    if "_target_" in values:
        return ForeignModel(values)
    values = without_dial(values)
    if init_from is None:
        if not values.keys() - {*MAY_CHANGE}:
            raise ValueError(
                "init_from: not given, and model=pretrained takes everything from there; give init_from=PATH or "
                "init_from=gpt2, or another model"
            )
        return build(GPTConfig, values, "model")
    known = {field.name for field in fields(GPTConfig)}
    build(GPTConfig, {key: value for key, value in values.items() if key not in known}, "model")  # refuses them
    return PretrainedModel(values)  # checked against the weights, once they are found


def check_trainer(values: dict[str, Any]) -> dict[str, Any]:
    """The values as arguments of Lightning's Trainer."""
    from lightning.pytorch import Trainer

    allowed = set(inspect.signature(Trainer.__init__).parameters) - {"self"} - set(DECIDED_ELSEWHERE)
    for key in values:
        if key in DECIDED_ELSEWHERE:
            raise ValueError(f"trainer.{key}: is decided elsewhere; use {DECIDED_ELSEWHERE[key]}")
        if key not in allowed:
            hint = suggest(key, allowed, "trainer.", otherwise="see the arguments of lightning.pytorch.Trainer")
            raise ValueError(f"trainer.{key}: no such setting; {hint}")
    max_steps = values.get("max_steps")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"trainer.max_steps: got {max_steps!r}, must be a whole number of optimizer steps, at least 1")
    clip = values.get("gradient_clip_val")
    if clip is not None and (isinstance(clip, str | bool) or clip <= 0):
        raise ValueError(f"trainer.gradient_clip_val: got {clip!r}, must be a positive number, or null for none")
    return dict(values)


def with_vocabulary(model: GPTConfig, vocab_size: int, given: dict[str, Any]) -> GPTConfig:
    """The model for this tokenizer. A vocabulary that the user chose may be larger, never smaller."""
    if "vocab_size" not in given:
        return replace(model, vocab_size=vocab_size)
    if model.vocab_size < vocab_size:
        raise ValueError(
            f"model.vocab_size: got {model.vocab_size}, the tokenizer has {vocab_size}; leave it out to take that"
        )
    return model
