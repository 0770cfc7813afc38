"""The LightningModule: one network, one optimizer, one schedule. It trains on whatever batches arrive.

A batch is {"inputs": (B, T), "targets": (B, T) with -1 for "not supervised", "step_targets": how many targets the whole
optimizer step has}, and "documents": (B, T) where attention is to be kept within them. It knows no dataset, writes no
files and logs nothing by itself: callbacks read `step_losses`, `grad_norms` and `evaluation`. Nothing in a training
step waits for the device.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nanolit.evals.loss import batch_sums, metrics, no_sums
from nanolit.models.directory import save_model
from nanolit.models.network import Network, documents_of
from nanolit.runtime.seeds import derive
from nanolit.training.losses import step_loss
from nanolit.training.stopwatch import Stopwatch

EVALUATED = ("val", "train_eval")  # what the Trainer's loaders for validation are called in the metrics
OptimizerFactory = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]


class NonFiniteLoss(Exception):
    """The loss, or the gradient, of an optimizer step is not a number. Steps count from 1."""

    def __init__(self, step: int, loss: float, norm: float = math.nan) -> None:
        super().__init__(f"step {step}: the loss is {loss}, the norm of the gradient {norm}")
        self.step, self.loss, self.norm = step, loss, norm
        self.folder: Path | None = None  # where the callback NonFiniteReport has written what it knows


class LanguageModel(pl.LightningModule):
    has_known_length = True  # is every step of `tokens_per_step` tokens, or of at most so many?
    byte_lengths: Tensor
    network: Any  # a Network, models/network.py

    def __init__(
        self,
        network: Network,
        optimizer: OptimizerFactory,
        schedule: Callable[[int], float],
        byte_lengths: Tensor,
        tokens_per_step: int,
        seed: int = 0,
        uses_dropout: bool = False,
        flops_per_token: float = 0.0,
        peak_flops: float = 0.0,
        save: Callable[[Path, Any, dict[str, Any]], None] = save_model,
    ) -> None:
        super().__init__()
        self.network = network
        self.save_network = save  # save(folder, network, extra) makes a model directory of it
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.tokens_per_step = tokens_per_step
        self.seed = seed
        self.uses_dropout = uses_dropout
        self.flops_per_token, self.peak_flops = flops_per_token, peak_flops  # 0: unknown, no MFU
        self.stopwatch = Stopwatch()
        self.register_buffer("byte_lengths", byte_lengths, persistent=False)  # (vocab,) bytes of each token's text
        self.step_losses: list[Tensor] = []  # one per finished optimizer step since the last flush, this rank's share
        self.grad_norms: list[Tensor] = []
        self.evaluation: dict[str, float] = {}
        self.more_metrics: list[dict[str, Any]] = []  # what else there is to tell since the last record, of any step
        self._micro_losses: list[Tensor] = []
        self._sums: list[Tensor] = []  # of each split that is evaluated

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes which hook is running some forty times a step; nn.Module's way there takes 0.1 ms of it."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Training

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.uses_dropout:
            # Dropout is a pure function of (seed, micro-batch, rank): nothing to save, and no evaluation or sample
            # can shift it.
            torch.manual_seed(derive(self.seed, "dropout", batch_idx, self.global_rank))
        nll = self.network(batch["inputs"], batch["targets"], **documents_of(batch))  # (B, T)
        trainer = self.trainer
        loss = step_loss(nll, batch["step_targets"], trainer.accumulate_grad_batches, trainer.world_size)
        self._micro_losses.append(loss.detach())
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Called once per optimizer step with unscaled gradients, whatever the precision."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if gradient_clip_algorithm == "value" and gradient_clip_val:
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
            gradient_clip_val = None
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        losses = self._micro_losses
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        losses.clear()
        if self.device.type == "cpu":
            # Seen before anything is scaled by it. Elsewhere looking means waiting, so there Metrics looks later.
            skips_overflow = (
                getattr(self.trainer.precision_plugin, "scaler", None) is not None
            )  # float16: it is routine
            if not math.isfinite(loss.item()) or not (skips_overflow or math.isfinite(norm.item())):
                raise NonFiniteLoss(self.trainer.global_step + 1, loss.item(), norm.item())
        if gradient_clip_val:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        self.grad_norms.append(norm)
        self.step_losses.append(loss)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable | None = None
    ) -> None:
        scale = self.schedule(self.trainer.global_step)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * scale
        optimizer.step(closure=optimizer_closure)

    def configure_optimizers(self) -> Optimizer:
        trained = ((name, p) for name, p in self.network.named_parameters() if p.requires_grad)
        optimizer = self.make_optimizer(trained)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return optimizer

    # Evaluation: sums over the whole split, so that neither batch size nor number of ranks can change a metric

    def on_validation_epoch_start(self) -> None:
        self._sums = [no_sums(self.device) for _ in EVALUATED]

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        targets = batch["targets"]  # (B, T)
        nll, correct = self.network.score(batch["inputs"], targets, **documents_of(batch))
        self._sums[dataloader_idx] += batch_sums(nll, correct, targets, self.byte_lengths, batch.get("examples"))

    def on_validation_epoch_end(self) -> None:
        sums = self.trainer.strategy.reduce(torch.stack(self._sums), reduce_op="sum")
        found = {
            f"{split}/{name}": value
            for split, of_split in zip(EVALUATED, sums, strict=True)
            for name, value in metrics(of_split).items()
        }
        if not found:
            return
        self.evaluation = found
        self.log_dict(
            self.evaluation, logger=False
        )  # for third-party callbacks, which look in trainer.callback_metrics

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["nanolit"] = {"format": 1, "step": self.trainer.global_step}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The clock is the optimizer step: Lightning's count of micro-batches is rewritten to this accumulation."""
        n_batches = checkpoint["nanolit"]["step"] * self.trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for scope in ("total", "current"):
            done = progress[scope]["completed"] - progress[scope]["ready"]  # -1 when saved inside on_train_batch_end
            progress[scope].update(ready=n_batches, started=n_batches, processed=n_batches, completed=n_batches + done)
