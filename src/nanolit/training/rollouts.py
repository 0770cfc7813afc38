"""Answers of the policy to questions, written by the engine in this process with the very weights that are trained, and
what they are worth. No gradients; policy_loss.py learns from them.

R answers   T tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nanolit.inference.engine import Engine
from nanolit.inference.params import EngineSettings, SamplingParams
from nanolit.inference.request import Request, Row
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


def write_answers(
    network: Network, tokenizer: Tokenizer, prompts: Sequence[Prompt], config: RLConfig, seed: int
) -> list[list[Answer]]:
    """A group for each prompt. Sample i of a prompt is the same whichever others are drawn beside it."""
    longest = max(len(prompt.ids) for prompt in prompts)
    max_len = min(longest + config.max_new_tokens, network.config.block_size)
    settings = EngineSettings(n_slots=config.n_slots, max_len=max_len, n_guesses=0, reuse_prefixes=False)
    was_training = network.training
    network.eval()
    try:
        engine = Engine(network, settings, n_ids=tokenizer.vocab_size)
        groups = [
            engine.submit(_request(prompt, tokenizer, config, derive(seed, "prompt", i)))
            for i, prompt in enumerate(prompts)
        ]
        told = _run(engine)
    finally:
        network.train(was_training)
        torch.clear_autocast_cache()  # weights that were cast without gradients must not be taken for training
    return [
        [_answer(prompt, row, told[id(row)], tokenizer) for row in rows]
        for prompt, rows in zip(prompts, groups, strict=True)
    ]


def _request(prompt: Prompt, tokenizer: Tokenizer, config: RLConfig, seed: int) -> Request:
    n_new = min(config.max_new_tokens, prompt.task.max_new_tokens)
    params = SamplingParams(n_new, config.temperature, config.top_k, seed=seed % 2**62)
    tools = tools_by_name(prompt.task.tools)
    return Request(
        prompt.ids,
        params,
        range(config.n_samples),
        frozenset([tokenizer.specials[ASSISTANT_END]]),
        logprobs=0,
        interject=ToolCalls(tokenizer, tools) if tools else None,
    )


class _Told:
    """What the engine tells of a row as it grows."""

    def __init__(self) -> None:
        self.ids, self.is_drawn, self.logprobs, self.finish = list[int](), list[bool](), list[float](), ""


def _run(engine: Engine) -> dict[int, _Told]:
    told: dict[int, _Told] = {}
    rows: list[Row] = []  # so that no identity is given twice
    while not engine.is_idle:
        for event in engine.step():
            row = told.get(id(event.row))
            if row is None:
                row = told[id(event.row)] = _Told()
                rows.append(event.row)
            row.ids.append(event.token)
            row.is_drawn.append(not event.is_forced)
            row.logprobs.append(event.scores.logprob if event.scores else 0.0)
            row.finish = event.finish or row.finish
    return told


def _answer(prompt: Prompt, row: Row, told: _Told, tokenizer: Tokenizer) -> Answer:
    is_whole = told.finish == "stop"
    text = text_said(told.ids, tokenizer)
    reward = prompt.task.reward(prompt.example, text) if is_whole else 0.0
    return Answer(prompt, told.ids, told.is_drawn, told.logprobs, is_whole, text, reward)


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
