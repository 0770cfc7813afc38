"""Answers of the policy to questions, what they are worth, and as rows to learn from. No gradients; policy_loss.py has
the loss.

R answers   T tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nanolit.evals.generative import Question, Written, write_answers
from nanolit.inference.params import SamplingParams
from nanolit.inference.text import before_stop
from nanolit.inference.tool_calls import ToolCalls
from nanolit.inference.tools import tools_by_name
from nanolit.models.network import Network
from nanolit.runtime.seeds import derive
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.chat import ends_of_answer, text_said
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.training.policy_loss import RLConfig

IGNORE = -1  # of a target that is not learnt


class Prompt(NamedTuple):
    ids: Sequence[int]
    task_name: str
    task: Task
    example: Example
    place: int = 0  # among all questions of the step, of every process: what is drawn depends on it and on no process


class Answer(NamedTuple):
    """One sample."""

    prompt: Prompt
    ids: list[int]
    is_drawn: list[bool]  # or forced by a tool
    logprobs: list[float]  # by the policy when it was drawn, of drawn tokens only
    is_whole: bool  # it has ended, not been cut off
    text: str
    is_right: bool
    reward: float
    drawn_logprobs: list[float]  # by what was drawn from, which is the policy itself at temperature 1 without top_k


@dataclass
class Rollouts:
    inputs: Tensor  # (R, T)
    targets: Tensor  # (R, T), IGNORE where nothing is learnt
    sampled: Tensor  # (R, T) log-probabilities of the targets when they were drawn
    advantages: Tensor  # (R,)
    times: Tensor  # (R,) how often a row counts: an answer that was given twice is computed once
    lengths: list[int]  # of each row, so that no part is wider than its longest

    def part(self, start: int, stop: int) -> "Rollouts":
        """Never empty, for each process takes part in every backward pass: beyond the end a row that counts nothing."""
        if start >= len(self.lengths):
            last = self.part(len(self.lengths) - 1, len(self.lengths))
            return replace(last, times=torch.zeros_like(last.times))
        lengths = self.lengths[start:stop]
        width = max(lengths)
        inputs, targets, sampled = (g[start:stop, :width] for g in (self.inputs, self.targets, self.sampled))
        return Rollouts(inputs, targets, sampled, self.advantages[start:stop], self.times[start:stop], lengths)

    def of_process(self, rank: int, world_size: int) -> "Rollouts":
        """Every so-many-th row; one that counts nothing, if there are fewer rows than processes."""
        mine = slice(rank, None, world_size)
        if rank >= len(self.lengths):
            return self.part(len(self.lengths), len(self.lengths) + 1)
        tensors = self.inputs, self.targets, self.sampled, self.advantages, self.times
        inputs, targets, sampled, advantages, times = (g[mine] for g in tensors)
        return Rollouts(inputs, targets, sampled, advantages, times, self.lengths[mine])

    def to(self, device: torch.device) -> "Rollouts":
        tensors = self.inputs, self.targets, self.sampled, self.advantages, self.times
        inputs, targets, sampled, advantages, times = (g.to(device) for g in tensors)
        return Rollouts(inputs, targets, sampled, advantages, times, self.lengths)

    def state(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def roll_out(
    network: Network, tokenizer: Tokenizer, prompts: Sequence[Prompt], config: RLConfig, seed: int
) -> list[list[Answer]]:
    """A group for each prompt, rewarded. What was cut off is worth nothing: to end is to be learnt too."""
    end = ends_of_answer(tokenizer)
    questions = []
    for prompt in prompts:
        task = prompt.task
        n_new, drawn_by = min(config.max_new_tokens, task.max_new_tokens), derive(seed, "prompt", prompt.place) % 2**62
        params = SamplingParams(n_new, config.temperature, config.top_k, stop=task.stop, seed=drawn_by)
        tools = tools_by_name(task.tools)
        interject = ToolCalls(tokenizer, tools) if tools else None
        questions.append(Question(list(prompt.ids), params, end, interject, config.n_samples, with_logprobs=True))
    written = write_answers(network, tokenizer, questions, config.n_slots)
    return [
        [_answer(prompt, sample, tokenizer) for sample in samples]
        for prompt, samples in zip(prompts, written, strict=True)
    ]


def _answer(prompt: Prompt, written: Written, tokenizer: Tokenizer) -> Answer:
    text, is_whole = before_stop(text_said(written.ids, tokenizer), prompt.task.stop), written.finish == "stop"
    is_right, reward = prompt.task.judge(prompt.example, text) if is_whole else (False, 0.0)
    drawn = written.drawn_logprobs
    return Answer(prompt, written.ids, written.is_drawn, written.logprobs, is_whole, text, is_right, reward, drawn)


def together(shares: Sequence[Rollouts]) -> Rollouts:
    """Of all processes."""
    width = max(share.inputs.size(1) for share in shares)

    def joined(name: str, filling: float) -> Tensor:
        tensors = [getattr(share, name) for share in shares]
        return torch.cat([F.pad(g, (0, width - g.size(1)), value=filling) for g in tensors])

    inputs, targets, sampled = joined("inputs", 0), joined("targets", IGNORE), joined("sampled", 0)
    gains, times = (torch.cat([getattr(share, name) for share in shares]) for name in ("advantages", "times"))
    return Rollouts(inputs, targets, sampled, gains, times, [n for share in shares for n in share.lengths])


def as_rows(groups: Sequence[Sequence[Answer]], advantages: Tensor, with_dull: bool, device: torch.device) -> Rollouts:
    """One row for each answer that differs from the others to its question, the short ones first, so that a part of
    them is of like length. `advantages`: (G,N); what is neither better nor worse than its group has no gradient and is
    left out, unless `with_dull`.
    """
    times: dict[tuple[int, float, tuple[int, ...]], int] = {}
    said: dict[tuple[int, float, tuple[int, ...]], Answer] = {}
    for i, (group, gains) in enumerate(zip(groups, advantages.tolist(), strict=True)):
        for answer, gain in zip(group, gains, strict=True):
            key = i, gain, tuple(answer.ids)
            times[key] = times.get(key, 0) + 1
            said.setdefault(key, answer)
    keys = [key for key in times if with_dull or key[1]] or [next(iter(times))]  # of nothing there is no loss
    keys.sort(key=lambda key: len(said[key].prompt.ids) + len(key[2]))
    answers, lengths = [said[key] for key in keys], [len(said[key].prompt.ids) + len(key[2]) - 1 for key in keys]
    shape = len(keys), max(lengths)
    inputs, targets = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORE)
    sampled = torch.zeros(shape)
    for row, (answer, n) in enumerate(zip(answers, lengths, strict=True)):
        ids = torch.tensor([*answer.prompt.ids, *answer.ids])
        first = len(answer.prompt.ids) - 1  # predicts the first token of the answer
        is_drawn = torch.tensor(answer.is_drawn)
        inputs[row, :n] = ids[:-1]
        targets[row, first:n] = torch.where(is_drawn, ids[first + 1 :], IGNORE)
        sampled[row, first:n] = torch.tensor(answer.logprobs) * is_drawn
    gains, counts = torch.tensor([key[1] for key in keys]), torch.tensor([float(times[key]) for key in keys])
    return Rollouts(inputs, targets, sampled, gains, counts, lengths).to(device)
