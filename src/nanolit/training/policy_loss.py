"""What reinforcement learning minimizes, as pure functions of log-probabilities and rewards; no network, no rollouts.

nanochat's REINFORCE, GRPO (arXiv 2402.03300), Dr. GRPO (arXiv 2503.20783) and DAPO (arXiv 2503.14476) are choices of
the fields of `RLConfig`; conf/rl has them by name.

G groups, of one prompt each   N samples of a group   B rows   T tokens
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class RLConfig:
    n_samples: int = 16  # answers to each question, a group
    max_new_tokens: int = 256  # of an answer; a task may want fewer
    temperature: float = 1.0
    top_k: int | None = 50
    n_slots: int | None = None  # answers written at once; None: as many as the engine takes by itself
    group_std: bool = False  # divide advantages by the spread of the group's rewards
    loss_over: Literal["token", "sequence", "constant"] = "token"  # what every one of has the same weight
    # How far the policy may move from the one that wrote the answers; None: no bound, and so one update only
    clip_low: float | None = None
    clip_high: float | None = None  # None: as clip_low
    kl: float = 0.0  # weight of the divergence from the parent
    updates_per_rollout: int = 1  # optimizer steps that learn from the same answers
    resample: int = 0  # at most so many times, new questions take the place of groups whose rewards are all the same

    def __post_init__(self) -> None:
        for name in ("n_samples", "max_new_tokens", "updates_per_rollout"):
            if getattr(self, name) < 1:
                raise ValueError(f"rl.{name}: got {getattr(self, name)}, must be at least 1")
        if self.n_samples < 2:
            raise ValueError("rl.n_samples: got 1; an answer is compared with others to its question, give 2 or more")
        for name in ("temperature", "kl", "resample"):
            if getattr(self, name) < 0:
                raise ValueError(f"rl.{name}: got {getattr(self, name)}, must not be negative")
        if self.temperature == 0:
            raise ValueError("rl.temperature: got 0, with which all answers are the same; give 1")
        if self.clip_low is None and (self.clip_high is not None or self.updates_per_rollout > 1):
            raise ValueError(
                "rl.clip_low: not given; without a bound only one update of each rollout is sound, so give a bound, "
                "as 0.2, or leave clip_high and updates_per_rollout out"
            )

    @property
    def bounds(self) -> tuple[float, float] | None:
        if self.clip_low is None:
            return None
        return self.clip_low, self.clip_low if self.clip_high is None else self.clip_high


def advantages(rewards: Tensor, group_std: bool) -> Tensor:
    """(G,N): how much better an answer is than the mean of its group."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True) + 1e-4) if group_std else centred


def token_weights(trained: Tensor, config: RLConfig, n_trained: int, n_rows: int) -> Tensor:
    """(B,T) from the mask of trained tokens (B,T). `n_trained`, `n_rows`: tokens and answers of the whole step, over
    all micro-batches and ranks, so that a split changes nothing.
    """
    mask = trained.float()
    if config.loss_over == "token":
        return mask / max(n_trained, 1)
    if config.loss_over == "sequence":
        return mask / (n_rows * mask.sum(dim=1, keepdim=True).clamp(min=1))
    return mask / (n_rows * config.max_new_tokens)


def policy_loss(
    logprobs: Tensor, old: Tensor, advantage: Tensor, weights: Tensor, config: RLConfig, reference: Tensor | None = None
) -> Tensor:
    """The sum over (B,T) of what each token adds. `old`: by the policy that wrote it; `advantage`: (B,)."""
    gain = advantage[:, None]  # (B, 1)
    if config.bounds is None:
        objective = logprobs * gain
    else:
        low, high = config.bounds
        ratio = (logprobs - old).exp()
        objective = torch.minimum(ratio * gain, ratio.clamp(1 - low, 1 + high) * gain)
    if config.kl:
        assert reference is not None
        objective = objective - config.kl * divergence(logprobs, reference)
    return -(objective * weights).sum()


def divergence(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Of the policy from the reference at each token: never negative, and without bias (Schulman's k3)."""
    gap = reference - logprobs
    return gap.exp() - gap - 1
