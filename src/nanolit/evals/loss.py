"""How well a model predicts tokens: loss, perplexity, bits per byte, accuracy and the part of examples that are right
from end to end, all from seven sums over the targets.

Sums, so that neither batch size nor number of processes can change a metric. Not a Trainer and not a loader: whoever
calls brings batches of data/serving/rows.py, as tensors.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nanolit.models.network import Network, documents_of


def no_sums(device: torch.device) -> Tensor:
    """Of nats, targets, correct ones, nats of text, bytes, examples, correct ones: where adding up begins."""
    return torch.zeros(7, dtype=_sum_dtype(device), device=device)


def batch_sums(
    nll: Tensor, correct: Tensor, targets: Tensor, byte_lengths: Tensor, examples: Tensor | None = None
) -> Tensor:
    """The sums of one batch, from what `score` gave (B,T) and (B,T), the bytes of each token's text (V,), and the
    example that each target belongs to (B,T), where there are examples.
    """
    n_bytes = byte_lengths[targets.clamp_min(0)] * (targets >= 0)  # (B, T), 0 for special tokens
    parts = [nll.sum(), (targets >= 0).sum(), correct.sum(), nll[n_bytes > 0].sum(), n_bytes.sum()]
    parts += [nll.new_zeros(()), nll.new_zeros(())] if examples is None else _count_examples(correct, examples)
    return torch.stack([part.to(_sum_dtype(nll.device)) for part in parts])


def _count_examples(correct: Tensor, examples: Tensor) -> list[Tensor]:
    """How many examples there are, and how many of them have every target right. An example is in one row."""
    B, T = examples.shape
    slots = examples + 1 + torch.arange(B, device=examples.device)[:, None] * (T + 1)  # the first of a row: of none
    n_targets = torch.zeros(B * (T + 1), dtype=torch.long, device=examples.device)
    n_right = torch.zeros_like(n_targets)
    n_targets.scatter_add_(0, slots.flatten(), torch.ones_like(slots).flatten())
    n_right.scatter_add_(0, slots.flatten(), correct.long().flatten())
    n_targets, n_right = n_targets.view(B, T + 1)[:, 1:], n_right.view(B, T + 1)[:, 1:]
    return [(n_targets > 0).sum(), ((n_targets > 0) & (n_right == n_targets)).sum()]


def _sum_dtype(device: torch.device) -> torch.dtype:
    """Sums over millions of tokens want float64; MPS has none."""
    return torch.float32 if device.type == "mps" else torch.float64


def metrics(sums: Tensor) -> dict[str, float]:
    """What the sums say; empty without a target. Bits per byte leave special tokens out, which stand for no text."""
    nats, n_targets, n_correct, text_nats, n_bytes, n_examples, n_exact = sums.tolist()
    if n_targets == 0:
        return {}
    loss = nats / n_targets
    return {
        "loss": loss,
        "ppl": math.exp(min(loss, 700.0)),
        "bpb": text_nats / (math.log(2) * n_bytes) if n_bytes else math.nan,
        "accuracy": n_correct / n_targets,
    } | ({"exact": n_exact / n_examples} if n_examples else {})


def standard_error(nats: Tensor, n_targets: Tensor) -> float:
    """Of the loss, from the sums of each window (W,) and (W,): windows count as independent, tokens do not.

    The loss is a ratio of two sums, since a window may be cut short; with equal windows this is the standard deviation
    of their losses divided by sqrt(W).
    """
    n_windows = len(nats)
    if n_windows < 2:
        return math.nan
    residuals = nats - nats.sum() / n_targets.sum() * n_targets
    return math.sqrt(n_windows / (n_windows - 1) * residuals.square().sum()) / n_targets.sum().item()


@dataclass(frozen=True)
class LossReport:
    loss: float  # nats per token
    standard_error: float  # of the loss, over windows
    ppl: float
    bpb: float
    accuracy: float
    n_windows: int
    n_tokens: int  # predicted ones
    n_bytes: int  # of text that they stand for
    seconds: float
    exact: float = math.nan  # part of the examples that are right from end to end

    @property
    def tokens_per_s(self) -> float:
        return self.n_tokens / self.seconds


def evaluate(
    network: Network,
    batches: Iterable[dict[str, Any]],
    byte_lengths: Tensor,
    device: torch.device,
    autocast: torch.dtype | None = None,
    progress: Callable[[int, Tensor], None] | None = None,
) -> LossReport:
    """The metrics over all of `batches`; `progress` is told the number of batches done and their sums.

    Nothing waits for the device before the end, unless `progress` reads the sums.
    """
    network.eval()
    byte_lengths = byte_lengths.to(device)
    sums = no_sums(device)
    nats: list[Tensor] = []  # each (B,)
    n_targets: list[Tensor] = []
    started_at = time.perf_counter()
    context = torch.autocast(device.type, autocast) if autocast else nullcontext()
    with torch.inference_mode(), context:
        for number, batch in enumerate(batches, start=1):
            batch = {key: x.to(device, non_blocking=True) for key, x in batch.items() if isinstance(x, Tensor)}
            targets = batch["targets"]  # (B, T)
            nll, correct = network.score(batch["inputs"], targets, **documents_of(batch))
            sums += batch_sums(nll, correct, targets, byte_lengths, batch.get("examples"))
            nats.append(nll.sum(1))
            n_targets.append((targets >= 0).sum(1))
            if progress:
                progress(number, sums)
    n_tokens, n_bytes = int(sums[1]), int(sums[4])
    seconds = time.perf_counter() - started_at
    if n_tokens == 0:
        raise ValueError("the batches hold no target, so there is nothing to evaluate; give more text")
    window_nats, window_targets = torch.cat(nats).cpu().double(), torch.cat(n_targets).cpu().double()  # (W,), (W,)
    real = window_targets > 0  # rows that only fill up a batch are no windows
    error = standard_error(window_nats[real], window_targets[real])
    return LossReport(
        **metrics(sums),
        standard_error=error,
        n_windows=int(real.sum()),
        n_tokens=n_tokens,
        n_bytes=n_bytes,
        seconds=seconds,
    )
