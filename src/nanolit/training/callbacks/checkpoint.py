"""Checkpoints: everything needed to go on training, and only for that. Written so that a kill at any moment loses none.

Each is `checkpoints/step_00001200.ckpt`, written to a temporary name, synced and renamed, with a sidecar .json that
holds its size and hash. Only files whose sidecar agrees are trusted: `newest_valid` falls back past truncated and
foreign ones and says
so.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl

from nanolit.runtime.files import atomic_path, read_json, sha256_file, write_json
from nanolit.training.cadence import Cadence
from nanolit.training.callbacks.evaluate import evaluation_is_due
from nanolit.training.callbacks.metrics import Metrics
from nanolit.training.callbacks.step import StepCallback, find_callback, is_last_step

log = logging.getLogger("nanolit")


class Checkpoint(StepCallback):
    def __init__(
        self,
        every_steps: int | None = None,
        every_tokens: int | None = None,
        every_minutes: float | None = None,
        keep: int = 2,
    ) -> None:
        if keep < 1:
            raise ValueError(f"callbacks.checkpoint.keep: got {keep}, must be at least 1")
        self.cadence = Cadence(every_steps, every_tokens, every_minutes, where="callbacks.checkpoint")
        self.keep = keep
        self.last_saved_step = -1
        self._after_evaluation = False

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        self.last_saved_step = trainer.global_step

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        if self.cadence.due(trainer, module.tokens_per_step) or is_last_step(trainer):
            if evaluation_is_due(trainer):
                self._after_evaluation = True  # so that the evaluation's record and best model belong to the checkpoint
            else:
                self.save(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        if self._after_evaluation:
            self._after_evaluation = False
            self.save(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        if self.last_saved_step != trainer.global_step:  # stopped early
            self.save(trainer, module)

    def save(self, trainer: pl.Trainer, module: Any) -> None:
        """On every process. Raises before anything is written if a loss since the last look was not finite."""
        if metrics := find_callback(trainer, Metrics):
            metrics.collect(trainer)
        step = trainer.global_step
        path = Path(trainer.default_root_dir) / "checkpoints" / f"step_{step:08d}.ckpt"
        with module.stopwatch.paused():
            if trainer.is_global_zero:
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(path) as temporary:
                    trainer.save_checkpoint(temporary)
                    facts = {"step": step, "bytes": temporary.stat().st_size, "sha256": sha256_file(temporary)}
                write_json(sidecar(path), facts | {"evaluation_pending": evaluation_is_due(trainer)})
                self._prune(path)
            else:
                trainer.save_checkpoint(path)  # takes part in the collective; only the main process writes
            trainer.strategy.barrier("checkpoint")
        self.last_saved_step = step

    def _prune(self, newest: Path) -> None:
        """Keeps the newest ones that can be trusted. A later step's is of a branch that was given up by resuming."""
        trusted = [p for p in newest.parent.glob("step_*.ckpt") if p <= newest and sidecar(p).exists()]
        kept = set(sorted(trusted)[-self.keep :])
        for path in set(newest.parent.glob("step_*.ckpt")) - kept:
            path.unlink()
            sidecar(path).unlink(missing_ok=True)


class Resume(NamedTuple):
    path: Path
    step: int
    evaluation_pending: bool  # the run was interrupted between this step and the evaluation due with it


def sidecar(path: Path) -> Path:
    return path.with_suffix(".json")


def newest_valid(run_dir: Path) -> Resume | None:
    """The checkpoint to go on from, or None if there never was one. Raises if none of several can be trusted."""
    paths = sorted((run_dir / "checkpoints").glob("*.ckpt"), reverse=True)
    rejected: list[str] = []
    for path in paths:
        reason = why_invalid(path)
        if reason is None:
            facts = read_json(sidecar(path))
            for message in rejected:
                log.warning("checkpoint %s; falling back to %s", message, path.name)
            return Resume(path, facts["step"], facts["evaluation_pending"])
        rejected.append(f"{path.name} {reason}")
    if rejected:
        raise ValueError(
            f"no usable checkpoint in {run_dir / 'checkpoints'}: {'; '.join(rejected)}. "
            "Move that folder away to start again, or choose another run_dir"
        )
    return None


def why_invalid(path: Path) -> str | None:
    if not sidecar(path).exists():
        return "was not finished or is not ours (it has no .json beside it)"
    try:
        facts = read_json(sidecar(path))
        n_bytes, digest = facts["bytes"], facts["sha256"]
    except (ValueError, KeyError, TypeError):
        return "has an unreadable .json beside it"
    if path.stat().st_size != n_bytes:
        return f"is truncated or replaced ({path.stat().st_size} bytes, {n_bytes} were written)"
    if sha256_file(path) != digest:
        return "is damaged (its hash is not the one that was written)"
    return None
