"""DPO (Rafailov et al. 2023, arXiv 2305.18290) as a LightningModule: of two answers the better one shall become
likelier, measured from what the parent thought of both.

A batch has the better answers in its even rows and the worse ones in its odd rows: {"inputs", "targets": (2B, T),
"step_pairs": pairs of the whole optimizer step}. The parent is a frozen copy, or with LoRA the network itself without.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nanolit.models.lora import lora_layers, without_lora
from nanolit.runtime.seeds import derive
from nanolit.training.language_model import LanguageModel


@dataclass(frozen=True)
class DPOConfig:
    beta: float = 0.1  # how much a difference from the parent counts
    label_smoothing: float = 0.0  # the share of pairs that may be the wrong way round

    def __post_init__(self) -> None:
        if self.beta <= 0 or not 0 <= self.label_smoothing < 0.5:
            raise ValueError(
                f"dpo.beta, dpo.label_smoothing: got {self.beta} and {self.label_smoothing}, must be positive, and "
                "from 0 to below 0.5"
            )


def dpo_losses(margins: Tensor, config: DPOConfig) -> Tensor:
    """(B,) from by how much more the better answer has gained than the worse one (B,)."""
    logits = config.beta * margins
    keep = 1 - config.label_smoothing
    return -keep * F.logsigmoid(logits) - config.label_smoothing * F.logsigmoid(-logits)


class Preference(LanguageModel):
    has_known_length = False

    def __init__(self, network: Any, *, dpo: DPOConfig, reference: Any = None, **shared: Any) -> None:
        super().__init__(network, **shared)
        self.dpo = dpo
        self._reference = (reference,)  # hidden from torch: it is neither trained nor saved
        assert reference is not None or lora_layers(network)

    def on_fit_start(self) -> None:
        if self._reference[0] is not None:
            self._reference[0].to(self.device).eval().requires_grad_(False)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.uses_dropout:
            torch.manual_seed(derive(self.seed, "dropout", batch_idx, self.global_rank))
        found = self._logprobs(batch)
        gains = found[0] - found[1]  # (2, B)
        margins = gains[0] - gains[1]  # (B,)
        trainer = self.trainer
        scale = trainer.accumulate_grad_batches * trainer.world_size / batch["step_pairs"]
        loss = dpo_losses(margins, self.dpo).sum() * scale  # the Trainer divides by the first two again
        told = {"margin": margins, "accuracy": (margins > 0).float()}
        told |= {"chosen_gain": gains[0], "rejected_gain": gains[1]}
        told |= {"chosen_logprob": found[0, 0], "rejected_logprob": found[0, 1]}
        means = torch.stack([value.detach().mean() for value in told.values()])
        means = trainer.strategy.reduce(means, reduce_op="mean")  # of all processes
        self.more_metrics.append({f"dpo/{key}": mean for key, mean in zip(told, means, strict=True)})
        self._micro_losses.append(loss.detach())
        return loss

    def _logprobs(self, batch: dict[str, Any]) -> Tensor:
        """(2,2,B): by the network and by its parent, of the better and of the worse answers, in nats."""
        now = -self.network(batch["inputs"], batch["targets"]).sum(dim=1)  # (2B,)
        with torch.no_grad():
            before = -self._parents_nll(batch).sum(dim=1)
        return torch.stack((now, before)).view(2, -1, 2).transpose(1, 2)

    def _parents_nll(self, batch: dict[str, Any]) -> Tensor:
        """Without dropout: what the parent thought does not change from step to step."""
        reference, is_training = self._reference[0], self.network.training
        if reference is not None:
            return reference(batch["inputs"], batch["targets"])  # (2B, T)
        self.network.eval()
        with without_lora(self.network):
            nll = self.network(batch["inputs"], batch["targets"])
        self.network.train(is_training)
        return nll

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        self._sums = [torch.zeros(6, dtype=torch.float64, device=self.device)]

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        now, before = self._logprobs(batch).double()  # (2, B)
        counts = batch["counts"].double()  # (B,): 0 for pairs that only fill up
        margins = (now - before)[0] - (now - before)[1]
        told = dpo_losses(margins, self.dpo), (margins > 0).double(), margins, now[0], now[1], torch.ones_like(margins)
        self._sums[0] += torch.stack(told) @ counts

    def on_validation_epoch_end(self) -> None:
        *sums, n = self.trainer.strategy.reduce(self._sums[0], reduce_op="sum").tolist()
        if n:
            names = ("loss", "accuracy", "margin", "chosen_logprob", "rejected_logprob")
            self.evaluation = {f"val/{name}": total / n for name, total in zip(names, sums, strict=True)}
            self.log_dict(self.evaluation, logger=False)
