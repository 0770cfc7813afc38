"""Answers as rows: what is computed once, or not at all, has the gradient of all rows computed one by one."""

import pytest
import torch

from nanolit.training.policy_loss import RLConfig, advantages, policy_loss, token_weights
from nanolit.training.rollouts import IGNORE, Answer, Prompt, Rollouts, as_rows

CPU = torch.device("cpu")
V = 11
CONFIGS = {
    "reinforce": RLConfig(),
    "grpo": RLConfig(loss_over="sequence", clip_low=0.1, group_std=True, kl=0.04),
    "dr_grpo": RLConfig(loss_over="constant", clip_low=0.1, max_new_tokens=9),
}


def answer(prompt: list[int], ids: list[int], reward: float, forced: int | None = None) -> Answer:
    is_drawn = [i != forced for i in range(len(ids))]
    logprobs = [-0.1 * (1 + token) if drawn else 0.0 for token, drawn in zip(ids, is_drawn, strict=True)]
    asked = Prompt(prompt, "task", None, None)  # type: ignore[arg-type]
    return Answer(asked, ids, is_drawn, logprobs, True, "", reward > 0, reward, logprobs)


def some_groups() -> list[list[Answer]]:
    """Twice the same, a token that a tool has said, all alike in worth, all alike in words."""
    a, b, c = [1, 2, 3], [4, 5], [1, 2, 3, 4]
    return [
        [answer(a, [7, 8], 1), answer(a, [7, 8], 1), answer(a, [9, 8], 0), answer(a, [9, 6, 8], 0, forced=1)],
        [answer(b, [3, 8], 1), answer(b, [2, 8], 1), answer(b, [2, 8], 1), answer(b, [5, 5, 8], 1)],
        [answer(c, [8], 0), answer(c, [7, 8], 1), answer(c, [7, 8], 1), answer(c, [7, 8], 1)],
    ]


def gains_of(groups: list[list[Answer]], config: RLConfig) -> torch.Tensor:
    rewards = torch.tensor([[a.reward for a in group] for group in groups], dtype=torch.float32)
    return advantages(rewards, config.group_std)


class Bigrams(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.logits = torch.nn.Parameter(torch.randn(V, V, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found = self.logits[inputs].log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
        return found * (targets != IGNORE)


def gradient_of_rows(rows: Rollouts, groups: list[list[Answer]], config: RLConfig, size: int) -> torch.Tensor:
    answers = [a for group in groups for a in group]
    n_trained = sum(sum(a.is_drawn) for a in answers)
    model = Bigrams()
    for start in range(0, len(answers), size):
        part = rows.part(start, start + size)
        weights = token_weights(part.targets != IGNORE, config, n_trained, len(answers)) * part.times[:, None]
        logprobs, reference = model(part.inputs, part.targets), torch.zeros_like(part.sampled)
        policy_loss(logprobs, part.sampled, part.advantages, weights, config, reference).backward()
    return model.logits.grad


def gradient_of_answers(groups: list[list[Answer]], config: RLConfig) -> torch.Tensor:
    """One by one, each a row of its own."""
    n = sum(map(len, groups))
    n_trained = sum(sum(a.is_drawn) for group in groups for a in group)
    model = Bigrams()
    for group, gains in zip(groups, gains_of(groups, config), strict=True):
        for a, gain in zip(group, gains, strict=True):
            ids = torch.tensor([[*a.prompt.ids, *a.ids]])
            before = len(a.prompt.ids) - 1
            said = torch.tensor([[False] * before + a.is_drawn])
            old = torch.tensor([[0.0] * before + a.logprobs])
            logprobs = model(ids[:, :-1], torch.where(said, ids[:, 1:], IGNORE))
            weights = token_weights(said, config, n_trained, n)
            policy_loss(logprobs, old, gain[None], weights, config, torch.zeros_like(old)).backward()
    return model.logits.grad


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_is_that_of_every_answer_alone(name, size):
    config, groups = CONFIGS[name], some_groups()
    rows = as_rows(groups, gains_of(groups, config), with_dull=config.kl > 0, device=CPU)
    found, wanted = gradient_of_rows(rows, groups, config, size), gradient_of_answers(groups, config)
    assert wanted.abs().max() > 0.001
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)


def test_only_answers_that_differ_and_teach_are_computed():
    groups = some_groups()
    rows = as_rows(groups, gains_of(groups, RLConfig()), with_dull=False, device=CPU)
    assert sorted(rows.times.tolist()) == [1, 1, 1, 2, 3]
    assert rows.lengths == sorted(rows.lengths)
    everything = as_rows(groups, gains_of(groups, RLConfig()), with_dull=True, device=CPU)
    assert sum(everything.times.tolist()) == 12 and len(everything.times) == 8


def test_where_nothing_teaches_a_row_without_a_gradient_is_left():
    groups = some_groups()[1:2]
    rows = as_rows(groups, gains_of(groups, RLConfig()), with_dull=False, device=CPU)
    assert len(rows.times) == 1
    assert not gradient_of_rows(rows, groups, RLConfig(), 2).any()


def test_what_is_saved_is_all_there_is():
    groups = some_groups()
    rows = as_rows(groups, gains_of(groups, RLConfig()), with_dull=True, device=CPU)
    again = Rollouts(**rows.state())
    assert all(
        torch.equal(torch.as_tensor(x), torch.as_tensor(y))
        for x, y in zip(rows.state().values(), again.state().values(), strict=True)
    )
