"""Reinforcement learning as a LightningModule: the policy answers, is rewarded, and learns from it in the same step.

A batch says which optimizer step it is of, which part of that step's answers it is, and, with the first part, the
questions. It is the language model's module with another loss; optimizer, schedule, clipping and checkpoints are the
same. What the engine draws depends on (seed, step, place of the question) alone, so a run goes on bit for bit.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanolit.evals.pass_at_k import pass_at_k
from nanolit.runtime.seeds import derive
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.training.language_model import LanguageModel
from nanolit.training.policy_loss import RLConfig, advantages, divergence, policy_loss, token_weights
from nanolit.training.rollouts import IGNORE, Answer, Prompt, Rollouts, as_rows, roll_out, together

Group = list[Answer]


class Policy(LanguageModel):
    has_known_length = False  # of its steps, in tokens

    def __init__(
        self,
        network: Any,
        *,
        rl: RLConfig,
        tokenizer: Tokenizer,
        micro_batch_size: int,
        reference: Any = None,
        **shared: Any,
    ) -> None:
        super().__init__(network, **shared)
        self.rl, self.tokenizer, self.micro_batch_size = rl, tokenizer, micro_batch_size
        self._reference = (reference,)  # hidden from torch: it is neither trained nor saved
        self._rollouts: Rollouts | None = None
        self._counts = (0, 0)  # trained tokens and answers of the step, over all ranks
        self.answers: list[Group] = []  # of the last rollout of this rank, to be looked at

    def on_fit_start(self) -> None:
        if self._reference[0] is not None:
            self._reference[0].to(self.device).eval().requires_grad_(False)
        if self._rollouts is not None:  # of a checkpoint
            self._rollouts = self._rollouts.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if batch["part"] == 0 and batch["step"] % self.rl.updates_per_rollout == 0:
            self._roll_out(batch["prompts"], batch["step"])
        assert self._rollouts is not None
        if self.uses_dropout:
            torch.manual_seed(derive(self.seed, "dropout", batch_idx, self.global_rank))
        first = batch["part"] * self.micro_batch_size
        rows = self._rollouts.part(first, first + self.micro_batch_size)
        trained = rows.targets != IGNORE  # (B, T)
        logprobs = -self.network(rows.inputs, rows.targets)  # (B, T)
        reference = self._by_reference(rows)
        weights = token_weights(trained, self.rl, *self._counts) * rows.times[:, None]
        loss = policy_loss(logprobs, rows.sampled, rows.advantages, weights, self.rl, reference)
        if first < len(self._rollouts.lengths):  # else it is the row that counts nothing
            self._note(logprobs.detach(), rows.sampled, reference, trained * rows.times[:, None])
        trainer = self.trainer
        loss = loss * (trainer.accumulate_grad_batches * trainer.world_size)  # what the Trainer will divide by
        self._micro_losses.append(loss.detach())
        return loss

    def _by_reference(self, rows: Rollouts) -> Tensor | None:
        if not self.rl.kl:
            return None
        with torch.no_grad():
            return -self._reference[0](rows.inputs, rows.targets)

    # Answers

    def _roll_out(self, prompts: list[Prompt], step: int) -> None:
        """`prompts`: those of the step, then spare ones that may take their places, round by round."""
        n = len(prompts) // (1 + self.rl.resample)
        groups = self._answer(prompts[:n], step)
        told = self._describe(groups)
        for first in range(n, len(prompts), n):
            places = [i for i, group in enumerate(groups) if _is_dull(group)]
            again = self._answer([prompts[first + i] for i in places], step) if places else []
            for place, group in zip(places, again, strict=True):
                groups[place] = group
        told["rl/zero_variance_left"] = sum(map(_is_dull, groups)) / n
        self.answers = groups
        rewards = torch.tensor([[answer.reward for answer in group] for group in groups], dtype=torch.float32)  # (G, N)
        gains = advantages(rewards, self.rl.group_std)
        self._rollouts = as_rows(groups, gains, with_dull=self.rl.kl > 0, device=self.device)
        n_drawn = sum(sum(answer.is_drawn) for group in groups for answer in group)
        here = torch.tensor([n_drawn, rewards.numel()], device=self.device)
        everywhere = self.trainer.strategy.reduce(here, reduce_op="sum").tolist()
        self._counts = int(everywhere[0]), int(everywhere[1])
        values = torch.tensor(list(told.values()), device=self.device, dtype=torch.float64)
        reduced = self.trainer.strategy.reduce(values, reduce_op="mean").tolist()
        self.more_metrics.append(dict(zip(told, reduced, strict=True)))

    def _answer(self, prompts: list[Prompt], step: int) -> list[Group]:
        return roll_out(self.network, self.tokenizer, prompts, self.rl, derive(self.seed, "rollout", step))

    def _describe(self, groups: list[Group]) -> dict[str, float]:
        """Of the questions as they came, before any has taken another's place."""
        answers = [answer for group in groups for answer in group]
        drawn = [
            (logprob, drawn_from)
            for a in answers
            for logprob, drawn_from, is_drawn in zip(a.logprobs, a.drawn_logprobs, a.is_drawn, strict=True)
            if is_drawn
        ]
        right = [sum(answer.is_right for answer in group) for group in groups]
        n = self.rl.n_samples
        told = {
            "rl/reward": sum(answer.reward for answer in answers) / len(answers),
            "rl/zero_variance": sum(map(_is_dull, groups)) / len(groups),
            "rl/length": sum(len(answer.ids) for answer in answers) / len(answers),
            "rl/cut_off": sum(not answer.is_whole for answer in answers) / len(answers),
            # Estimates from what was drawn; the second is 0 where that is the policy itself.
            "rl/entropy": -sum(logprob for logprob, _ in drawn) / len(drawn),
            "rl/sampler_kl": sum(drawn_from - logprob for logprob, drawn_from in drawn) / len(drawn),
        }
        for k in (k for k in (1, 2, 4, 8, 16, 32, 64) if k <= n):
            told[f"rl/pass@{k}"] = sum(pass_at_k(n, c, k) for c in right) / len(right)
        return told

    def _note(self, logprobs: Tensor, sampled: Tensor, reference: Tensor | None, times: Tensor) -> None:
        """How far the policy is from the one that drew the answers, and from its parent; stays on the device. `times`:
        (B,T), how often a token is learnt."""
        gap, n = (logprobs - sampled).abs(), times.sum().clamp(min=1)
        told = {"rl/logprob_gap": (gap * times).sum() / n, "rl/logprob_gap_max": (gap * (times > 0)).max()}
        if self.rl.bounds is not None:
            low, high = self.rl.bounds
            ratio = (logprobs - sampled).exp()
            told["rl/clipped"] = (((ratio < 1 - low) | (ratio > 1 + high)) * times).sum() / n
        if reference is not None:
            told["rl/kl"] = (divergence(logprobs, reference) * times).sum() / n
        self.more_metrics.append(told)

    # Checkpoints: answers that are not used up yet

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self._rollouts is not None and self.trainer.global_step % self.rl.updates_per_rollout:
            checkpoint["rollouts"] = {"rows": self._of_all_processes(), "counts": self._counts}

    def _of_all_processes(self) -> list[dict[str, Any]]:
        """One process writes the checkpoint, and each has answers of its own."""
        assert self._rollouts is not None
        mine = self._rollouts.to(torch.device("cpu")).state()
        if self.trainer.world_size == 1:
            return [mine]
        everyones: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(everyones, mine)
        return everyones

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if kept := checkpoint.get("rollouts"):
            shares = [Rollouts(**rows) for rows in kept["rows"]]
            n, rank = self.trainer.world_size, self.trainer.global_rank
            self._rollouts = shares[rank] if len(shares) == n else together(shares).of_process(rank, n)
            self._counts = tuple(kept["counts"])

    def write_samples(self, path: Path) -> None:
        """The last answers, to be read: a group after the other."""
        path.write_text("\n\n".join(map(_shown, self.answers)) + "\n", encoding="utf-8")


def _is_dull(group: Group) -> bool:
    """All are worth the same, so nothing is learnt from them."""
    return len({answer.reward for answer in group}) == 1


def _shown(group: Group) -> str:
    prompt = group[0].prompt
    question = prompt.example.messages[-2]["content"]
    lines = [f"[{answer.reward:g}] {answer.text}" for answer in group]
    return "\n".join([f"{prompt.task_name}: {question}", *lines])
