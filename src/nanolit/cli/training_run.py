"""One training run: Trainer, data, network, fit, summary. The steps in order; each can be read alone."""

import importlib.util
import logging
import math
import os
import time
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from nanolit.cli import depth_dial
from nanolit.cli.hydra_app import job_overrides, make
from nanolit.cli.lineage import ancestors, optimizer_state
from nanolit.cli.network import (
    Weights,
    architecture,
    check_optimizer,
    describe,
    is_random,
    make_network,
    restored,
    saver,
)
from nanolit.cli.run_folder import RunFolder, command_line, installed_versions, last_metrics, read_environment, to_try
from nanolit.cli.settings import Settings
from nanolit.cli.stages import StageData, open_stage
from nanolit.cli.train import WORKER_CONFIG
from nanolit.models.accounting import activation_bytes, flops_per_token, parameter_counts
from nanolit.models.config import GPTConfig
from nanolit.models.lora import add_lora
from nanolit.models.network import Network
from nanolit.optim.build import build_optimizer
from nanolit.optim.schedules import scaled, schedule
from nanolit.runtime import allocator, devices, dist
from nanolit.runtime import log as logs
from nanolit.training.callbacks import BestModel, Checkpoint, Evaluate, Interrupt, NonFiniteReport, RunInterrupted
from nanolit.training.callbacks.checkpoint import Resume, newest_valid
from nanolit.training.callbacks.step import find_callback
from nanolit.training.language_model import LanguageModel, NonFiniteLoss
from nanolit.training.silent_profiler import SilentProfiler

log = logging.getLogger("nanolit")


class TrainingRun:
    def __init__(self, settings: Settings, config: dict[str, Any], folder: RunFolder) -> None:
        self.settings, self.config, self.folder = settings, config, folder
        self.t0 = time.monotonic()
        self.notes: list[str] = []  # on the network, told before training
        given = [override for override in job_overrides() if not override.startswith("run_dir=")]
        self.command = command_line([*given, f"run_dir={folder.path}"])

    def execute(self) -> int:
        """The exit code of the command."""
        settings = self.settings
        logs.setup(self.folder.path / "run.log")  # again, now that Lightning's loggers exist
        quiet_lightning()
        torch.set_float32_matmul_precision(settings.run.matmul_precision)
        allocator.keep_freed_memory()
        resume = newest_valid(self.folder.path)
        if resume and resume.step > settings.max_steps:
            raise ValueError(
                f"trainer.max_steps: got {settings.max_steps}, but the run in {self.folder.path} is at step "
                f"{resume.step}; give more to go on, or another run_dir"
            )
        if resume and resume.step == settings.max_steps:
            log.info(
                "finished already: step %d of %d. trainer.max_steps=… trains longer", resume.step, settings.max_steps
            )
            self.folder.mark_finished()
            return self.tell_result()
        if dist.is_main():
            self.folder.remove_leftovers()
        known = self.folder.stored_architecture() if resume and settings.run.init_from else None
        weights = Weights.find(settings.run) if settings.run.init_from and known is None else None
        trainer = self.make_trainer(resume)
        stage = open_stage(settings, self.config, self.folder, weights)
        pl.seed_everything(settings.run.seed, verbose=False)
        vocab_size, may_grow = stage.tokenizer.vocab_size, settings.run.resize_vocabulary
        if known is not None:
            network = restored(known, settings.model, vocab_size)
        else:
            network = make_network(settings.model, self.config["model"], weights, vocab_size, may_grow)
        micro_batch_size = self.split_batch(trainer, network.config)
        data = stage.batches(network.config.block_size, micro_batch_size)
        keeps_state = settings.run.optimizer_state == "kept" and not resume
        module = self.make_module(network, stage, trainer, micro_batch_size, keeps_state)
        if dist.is_main():
            self.write_description(stage, network, weights, micro_batch_size)
        return self.fit(trainer, module, data, stage.size_note(data), resume)

    def write_description(
        self, stage: StageData, network: Network, weights: Weights | None, micro_batch_size: int
    ) -> None:
        environment = devices.describe() | {"packages": installed_versions(), "variables": read_environment()}
        if self.settings.run.init_from:  # hashed once: it says what the run began with
            before = self.folder.stored_environment().get("init_from")
            environment["init_from"] = before or (weights and weights.describe())
            known = self.folder.stored_environment().get("lineage")  # the parent need not be there any more
            environment["lineage"] = known or ancestors(self.settings.run.init_from)
        self.folder.write_description(
            self.config | {"micro_batch_size": micro_batch_size},  # other processes, and a resume, take this one
            stage.describe(),
            environment,
            self.command,
            architecture(network) if self.settings.run.init_from else None,
        )

    def make_trainer(self, resume: Resume | None) -> pl.Trainer:
        arguments = dict(self.settings.trainer)
        profiler = arguments.pop("profiler", None) or SilentProfiler()
        arguments["profiler"] = make(profiler) if isinstance(profiler, dict) else profiler
        if arguments.get("precision") == "auto":
            arguments["precision"] = default_precision(arguments.get("accelerator", "auto"))
        callbacks = [make(node) for node in self.settings.callbacks.values() if node]
        callbacks.sort(key=lambda callback: isinstance(callback, Checkpoint))  # it saves what the others have become
        for callback in callbacks:
            if isinstance(callback, Evaluate) and resume:
                callback.is_due = resume.evaluation_pending
        try:
            return pl.Trainer(
                **arguments,
                logger=self.make_loggers(resume) or False,
                callbacks=[NonFiniteReport(), *callbacks, Interrupt()],
                default_root_dir=self.folder.path,
                num_sanity_val_steps=0,
                check_val_every_n_epoch=None,  # the callback Evaluate decides
                use_distributed_sampler=False,  # the data order knows every process
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                log_every_n_steps=1,
            )
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error

    def make_loggers(self, resume: Resume | None) -> list[Any]:
        """Each is told where the run goes on. (W&B keeps what it was sent: points after the checkpoint come twice.)"""
        loggers = []
        for node in self.settings.logger.values():
            extra: dict[str, Any] = {}
            if node["_target_"].endswith("TensorBoardLogger") and resume:
                extra["purge_step"] = resume.step + 1
            if node["_target_"].endswith("WandbLogger"):
                extra |= {"id": self.folder.run_id, "resume": "allow"}
            loggers.append(make(node, **extra))
        return loggers

    def split_batch(self, trainer: pl.Trainer, model: GPTConfig) -> int:
        """Micro-batch and accumulation from memory and number of processes; but for dropout's masks and rounding, the
        result of a step does not depend on them.
        """
        run = self.settings.run
        if run.batch_size % trainer.world_size:
            raise ValueError(
                f"batch_size: got {run.batch_size}, must be a multiple of the {trainer.world_size} processes"
            )
        share = run.batch_size // trainer.world_size
        allowed = [size for size in range(1, share + 1) if share % size == 0]
        if run.micro_batch_size == "auto":
            before = self.folder.stored_config().get("micro_batch_size")
            n_rows = 2 if run.stage == "dpo" else 1  # of an item of the batch
            one = activation_bytes(model, batch=n_rows, context=model.block_size)
            fits = memory_budget_bytes(trainer, model) // one
            micro = before if before in allowed else max(size for size in allowed if size <= max(fits, 1))
        else:
            micro = run.micro_batch_size
            if micro not in allowed:
                smaller = max((size for size in allowed if size <= micro), default=1)
                raise ValueError(
                    f"micro_batch_size: got {micro}, must divide {share}, which is batch_size={run.batch_size} over "
                    f"{trainer.world_size} process(es); the next smaller is {smaller}"
                )
        trainer.accumulate_grad_batches = share // micro
        return micro

    def make_module(
        self, network: Network, stage: StageData, trainer: pl.Trainer, micro_batch_size: int, keeps_state: bool
    ) -> LanguageModel:
        settings, model = self.settings, network.config
        check_optimizer(network, settings.optimizer)
        device = trainer.strategy.root_device
        self.notes = describe(network, device, compute_dtype(trainer), settings.loader.mask_documents)
        if settings.lora is not None:
            self.notes.append(add_lora(network, settings.lora))
        self.maybe_compile(network, device)
        state = optimizer_state(str(settings.run.init_from)) if keeps_state else None
        peak_dtype = torch.float32 if compute_dtype(trainer) == torch.float32 else torch.bfloat16
        return stage.module(
            network,
            optimizer=partial(build_optimizer, config=settings.optimizer, state=state),
            schedule=scaled(schedule(settings.schedule, settings.max_steps), settings.run.init_lr_frac),
            byte_lengths=torch.from_numpy(stage.tokenizer.byte_lengths()),
            tokens_per_step=settings.run.batch_size * model.block_size,
            seed=settings.run.seed,
            uses_dropout=is_random(network) or (settings.lora is not None and settings.lora.dropout > 0),
            # With LoRA unknown: no gradient of a frozen weight is computed.
            flops_per_token=0.0 if settings.lora else flops_per_token(model, model.block_size),
            peak_flops=trainer.world_size * devices.peak_flops(device, peak_dtype),
            save=saver(network, settings.lora, settings.run.init_from),
            micro_batch_size=micro_batch_size,
        )

    def maybe_compile(self, network: Any, device: torch.device) -> None:
        """In place, so that the names in the state dict stay as they are."""
        wanted = self.settings.run.compile
        if wanted == "auto":
            reason = why_not_compile(device, self.settings.max_steps)
            if self.settings.run.stage in ("dpo", "rl"):
                reason = "answers are of many lengths, and each would be compiled anew"
            if reason:
                log.info("compile=auto: off; %s", reason)
            wanted = reason is None
        if wanted:
            network.compile(dynamic=False)

    def fit(self, trainer: pl.Trainer, module: LanguageModel, data: Any, size: str, resume: Resume | None) -> int:
        self.announce(trainer, module, data, size, resume)
        status, code = "failed", 1
        variables = set(os.environ)
        os.environ[WORKER_CONFIG] = str(self.folder.config_path.absolute())  # for processes that the Trainer starts now
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resume and str(resume.path), weights_only=True)
            status, code = "finished", 0
        except RunInterrupted as stop:
            status, code = "interrupted", 128 + stop.signum
            log.info("stopped at step %d. To go on from the last checkpoint: %s", stop.step, self.command)
        except RuntimeError as error:
            if "loading state_dict" in str(error):
                raise ValueError(f"{resume and resume.path} holds another model: choose another run_dir") from error
            raise
        except NonFiniteLoss as error:
            raise ValueError(
                f"{error}. Stopped; the last good checkpoint is kept, the batch and all norms are in {error.folder}. "
                "Lower optimizer.lr, raise schedule.warmup_steps, or try trainer.precision=32-true"
            ) from error
        finally:
            if trainer.is_global_zero:
                self.summarize(trainer, module, status)
            finish_wandb(trainer)
            leave_processes(variables)
        return self.tell_result() if code == 0 and trainer.is_global_zero else code

    def announce(self, trainer: pl.Trainer, module: LanguageModel, data: Any, size: str, resume: Resume | None) -> None:
        n_parameters = sum(parameter.numel() for parameter in module.network.parameters())
        for line in (*depth_dial.table(self.config, n_parameters), *self.notes, *data.notes()):
            log.info("%s", line)
        log.info(
            "%s: %s parameters, %s, %d x %s tokens a step (%d process(es) x %d micro-batch(es) x %d), %s on %s",
            f"resuming at step {resume.step}" if resume else f"training {self.settings.run.init_from or 'new weights'}",
            f"{n_parameters:,}",
            size,
            data.batch_size,
            module.tokens_per_step // data.batch_size,
            trainer.world_size,
            trainer.accumulate_grad_batches,
            data.micro_batch_size,
            trainer.precision,
            trainer.strategy.root_device.type,
        )

    def summarize(self, trainer: pl.Trainer, module: LanguageModel, status: str) -> None:
        latest = last_metrics(self.folder.path / "metrics.jsonl")
        kept = find_callback(trainer, BestModel)
        best = kept.best if kept and math.isfinite(kept.best["value"]) else None
        self.folder.write_summary(
            {
                "status": status,
                "step": trainer.global_step,
                "tokens": trainer.global_step * module.tokens_per_step,
                "train_seconds": latest.get("seconds"),
                "wall_seconds": round(time.monotonic() - self.t0, 3),
                "peak_memory_bytes": peak_memory_bytes(trainer.strategy.root_device),
                "best": best,
                "metrics": {key: value for key, value in latest.items() if "/" in key},
            }
        )

    def tell_result(self) -> int:
        """The three lines that a run ends with: where it is, how good it is, what to type next."""
        path = self.folder.path
        latest = last_metrics(path / "metrics.jsonl")
        samples = sorted((path / "samples").glob("*.txt"))
        if samples:
            print(samples[-1].read_text(encoding="utf-8"), flush=True)
        print(f"run         {path}")
        if "val/loss" in latest:
            told = f"loss {latest['val/loss']:.4f}"
            if "val/bpb" in latest:
                told += f", {latest['val/bpb']:.4f} bits per byte"
            if "val/margin" in latest:
                told += f", the better answer ahead in {latest['val/accuracy']:.1%} of the pairs"
            if "val/exact" in latest:
                told += f", {latest['val/exact']:.1%} of the answers exact"
            print(f"validation  {told} after {latest['step']} steps and {latest['seconds']:.0f} s of training")
        elif "rl/reward" in latest:
            print(f"reward      {latest['rl/reward']:.3f} after {latest['step']} steps, {latest['seconds']:.0f} s")
        else:
            print("validation  none was made (trainer.limit_val_batches)")
        print(f"next        {to_try(path)}", flush=True)
        return 0


def default_precision(accelerator: str) -> str:
    """What is fast and safe on the device: on a CPU mixed precision is slower than float32."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "32-true"


def compute_dtype(trainer: pl.Trainer) -> torch.dtype:
    """In which the matrices are multiplied."""
    kinds = {"bf16": torch.bfloat16, "16-m": torch.float16, "16-t": torch.float16}
    return kinds.get(str(trainer.precision)[:4], torch.float32)


def memory_budget_bytes(trainer: pl.Trainer, model: GPTConfig) -> float:
    """What the activations of one pass may take: most of what weights, gradients and optimizer leave of a GPU, a modest
    share of a CPU's memory. From what the device has, not from what is free now: every process must find the same.
    """
    device = trainer.strategy.root_device
    if device.type == "cuda":
        held = 16 * parameter_counts(model)["total"]
        return 0.8 * (torch.cuda.get_device_properties(device).total_memory - held)
    return 0.25 * (devices.describe()["memory_bytes"] or 8 * 2**30) / trainer.world_size


def peak_memory_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def why_not_compile(device: torch.device, n_steps: int) -> str | None:
    """Compiling takes about a minute; None where that comes back."""
    if device.type != "cuda":
        return f"on {device.type} compiling costs more than a short run gains"
    if torch.cuda.get_device_capability(device) < (7, 0):
        return "this GPU is older than what the compiler supports (compute capability 7.0)"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return f"{n_steps} steps are over before it pays" if n_steps < 1000 else None


def finish_wandb(trainer: pl.Trainer) -> None:
    """Without it all jobs of a sweep end up in one W&B run."""
    if any(type(logger).__name__ == "WandbLogger" for logger in trainer.loggers):
        import wandb

        wandb.finish()


def leave_processes(variables_before: set[str]) -> None:
    """What the Trainer leaves behind of several processes: the next job of a sweep would take itself for a child."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", WORKER_CONFIG}:
        if name not in variables_before:
            os.environ.pop(name, None)


def quiet_lightning() -> None:
    """Its notes on cost and progress repeat what we print, or advise against what is meant."""
    import warnings

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*overridden `transfer_batch_to_device`.*",  # it does what the data module would do
        ".*in eval mode.*",
        ".*Experiment logs directory.*",
        ".*sync_dist=True.*",  # the sums behind the metrics have been added up over the processes already
        ".*treespec.*is deprecated.*",
        ".*have no `val_dataloader`.*",  # reinforcement learning looks at rewards
    ):
        warnings.filterwarnings("ignore", message)
