"""Answers of the policy to questions, what they are worth, and as rows to learn from. No gradients; policy_loss.py has
the loss.

R answers   T tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nanolit.evals.generative import Question, Written, write_answers
from nanolit.inference.params import SamplingParams
from nanolit.inference.tool_calls import ToolCalls
from nanolit.inference.tools import tools_by_name
from nanolit.models.network import Network
from nanolit.runtime.seeds import derive
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.chat import ASSISTANT_END, text_said
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.training.policy_loss import RLConfig

IGNORE = -1  # of a target that is not learnt


class Prompt(NamedTuple):
    ids: Sequence[int]
    task_name: str
    task: Task
    example: Example


class Answer(NamedTuple):
    """One sample; `logprobs` are the sampler's, of drawn tokens only."""

    prompt: Prompt
    ids: list[int]
    is_drawn: list[bool]  # or forced by a tool
    logprobs: list[float]
    is_whole: bool  # it has ended, not been cut off
    text: str
    reward: float


@dataclass
class Rollouts:
    inputs: Tensor  # (R, T)
    targets: Tensor  # (R, T), IGNORE where nothing is learnt
    sampled: Tensor  # (R, T) log-probabilities of the targets when they were drawn
    advantages: Tensor  # (R,)

    lengths: list[int]  # of each row, so that no part is wider than its longest

    def part(self, start: int, stop: int) -> "Rollouts":
        lengths = self.lengths[start:stop]
        width = max(lengths)
        inputs, targets, sampled = (g[start:stop, :width] for g in (self.inputs, self.targets, self.sampled))
        return Rollouts(inputs, targets, sampled, self.advantages[start:stop], lengths)

    def to(self, device: torch.device) -> "Rollouts":
        inputs, targets, sampled = self.inputs.to(device), self.targets.to(device), self.sampled.to(device)
        return Rollouts(inputs, targets, sampled, self.advantages.to(device), self.lengths)

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("inputs", "targets", "sampled", "advantages", "lengths")}


def roll_out(
    network: Network, tokenizer: Tokenizer, prompts: Sequence[Prompt], config: RLConfig, seed: int
) -> list[list[Answer]]:
    """A group for each prompt, rewarded. What was cut off is worth nothing: to end is to be learnt too."""
    end = frozenset([tokenizer.specials[ASSISTANT_END]])
    questions = []
    for i, prompt in enumerate(prompts):
        n_new = min(config.max_new_tokens, prompt.task.max_new_tokens)
        params = SamplingParams(n_new, config.temperature, config.top_k, seed=derive(seed, "prompt", i) % 2**62)
        tools = tools_by_name(prompt.task.tools)
        interject = ToolCalls(tokenizer, tools) if tools else None
        questions.append(Question(list(prompt.ids), params, end, interject, config.n_samples, with_logprobs=True))
    written = write_answers(network, tokenizer, questions, config.n_slots)
    return [
        [_answer(prompt, sample, tokenizer) for sample in samples]
        for prompt, samples in zip(prompts, written, strict=True)
    ]


def _answer(prompt: Prompt, written: Written, tokenizer: Tokenizer) -> Answer:
    text, is_whole = text_said(written.ids, tokenizer), written.finish == "stop"
    reward = prompt.task.reward(prompt.example, text) if is_whole else 0.0
    return Answer(prompt, written.ids, written.is_drawn, written.logprobs, is_whole, text, reward)


def as_rows(groups: Sequence[Sequence[Answer]], advantages: Tensor, device: torch.device) -> Rollouts:
    """One row for each answer, the short ones first, so that a part of them is of like length; `advantages`: (G,N)."""
    answers = [answer for group in groups for answer in group]
    gains = advantages.flatten().tolist()
    order = sorted(range(len(answers)), key=lambda i: len(answers[i].prompt.ids) + len(answers[i].ids))
    answers, gains = [answers[i] for i in order], [gains[i] for i in order]
    lengths = [len(answer.prompt.ids) + len(answer.ids) - 1 for answer in answers]
    shape = len(answers), max(lengths)
    inputs, targets = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORE)
    sampled = torch.zeros(shape)
    for row, (answer, n) in enumerate(zip(answers, lengths, strict=True)):
        ids = torch.tensor([*answer.prompt.ids, *answer.ids])
        first = len(answer.prompt.ids) - 1  # predicts the first token of the answer
        is_drawn = torch.tensor(answer.is_drawn)
        inputs[row, :n] = ids[:-1]
        targets[row, first:n] = torch.where(is_drawn, ids[first + 1 :], IGNORE)
        sampled[row, first:n] = torch.tensor(answer.logprobs) * is_drawn
    return Rollouts(inputs, targets, sampled, torch.tensor(gains), lengths).to(device)
