"""What reinforcement learning minimizes, against plain autograd and the papers' formulas written out."""

import math

import pytest
import torch

from nanolit.evals.pass_at_k import pass_at_k
from nanolit.training.policy_loss import RLConfig, advantages, divergence, policy_loss, token_weights

torch.manual_seed(0)
B, T, V = 4, 5, 7


def setting(dtype=torch.float64):
    logits = torch.randn(B, T, V, dtype=dtype, requires_grad=True)
    targets = torch.randint(V, (B, T))
    trained = torch.rand(B, T) < 0.7
    trained[:, 0] = True
    old = (torch.randn(B, T, dtype=dtype) * 0.1) + logits.detach().log_softmax(-1).gather(2, targets[..., None])[..., 0]
    reference = old + torch.randn(B, T, dtype=dtype) * 0.1
    advantage = torch.tensor([0.75, -0.25, -0.25, -0.25], dtype=dtype)
    return logits, targets, trained, old, reference, advantage


def by_hand(config, logits, targets, trained, old, reference, advantage):
    """Token by token, in Python's loops, from the papers."""
    total = torch.zeros((), dtype=logits.dtype)
    n_trained = int(trained.sum())
    for b in range(B):
        n_row = int(trained[b].sum())
        for t in range(T):
            if not trained[b, t]:
                continue
            logprob = logits[b, t].log_softmax(-1)[targets[b, t]]
            ratio = torch.exp(logprob - old[b, t])
            if config.clip_low is None:
                gain = logprob * advantage[b]
            else:
                high = config.clip_high or config.clip_low
                clipped = ratio.clamp(1 - config.clip_low, 1 + high)
                gain = torch.minimum(ratio * advantage[b], clipped * advantage[b])
            if config.kl:
                gap = reference[b, t] - logprob
                gain = gain - config.kl * (torch.exp(gap) - gap - 1)
            weight = {"token": 1 / n_trained, "sequence": 1 / (B * n_row), "constant": 1 / (B * config.max_new_tokens)}
            total = total - gain * weight[config.loss_over]
    return total


CONFIGS = {
    "reinforce": RLConfig(),
    "grpo": RLConfig(loss_over="sequence", clip_low=0.05, kl=0.04),
    "dr_grpo": RLConfig(loss_over="constant", clip_low=0.05, max_new_tokens=9),
    "dapo": RLConfig(clip_low=0.05, clip_high=0.1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_and_gradient_are_those_of_the_formula(name):
    config = CONFIGS[name]
    logits, targets, trained, old, reference, advantage = setting()
    expected = by_hand(config, logits, targets, trained, old, reference, advantage)
    (gradient,) = torch.autograd.grad(expected, logits)
    logprobs = logits.log_softmax(-1).gather(2, targets[..., None])[..., 0]
    weights = token_weights(trained, config, int(trained.sum()), B)
    loss = policy_loss(logprobs, old, advantage, weights, config, reference if config.kl else None)
    assert torch.allclose(loss, expected, rtol=1e-6)  # weights are float32
    assert torch.allclose(torch.autograd.grad(loss, logits)[0], gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss_over", ["token", "sequence", "constant"])
def test_a_split_changes_nothing(loss_over):
    """Micro-batches add up, rows without anything to learn included."""
    config = RLConfig(loss_over=loss_over)
    logits, targets, trained, old, _, advantage = setting()
    trained[2] = False
    logprobs = logits.log_softmax(-1).gather(2, targets[..., None])[..., 0]

    def loss(rows):
        weights = token_weights(trained[rows], config, int(trained.sum()), B)
        return policy_loss(logprobs[rows], old[rows], advantage[rows], weights, config)

    whole = loss(slice(0, 4))
    assert torch.isfinite(whole)
    assert torch.allclose(sum(loss(slice(i, i + 1)) for i in range(B)), whole)


def test_advantages_compare_within_a_group():
    rewards = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]])
    assert advantages(rewards, group_std=False).tolist() == [[0.75, -0.25, -0.25, -0.25], [0, 0, 0, 0]]
    by_spread = advantages(rewards, group_std=True)
    assert by_spread[0, 0].item() == pytest.approx(0.75 / (0.5 + 1e-4)) and by_spread[1].abs().max() == 0


def test_the_divergence_is_without_bias():
    """Its mean over draws is the exact Kullback-Leibler divergence."""
    p, q = torch.randn(2, 50, dtype=torch.float64).log_softmax(-1)
    drawn = torch.multinomial(p.exp(), 200_000, replacement=True)
    estimates = divergence(p[drawn], q[drawn])
    exact = (p.exp() * (p - q)).sum()
    assert (estimates >= 0).all()
    assert abs(estimates.mean() - exact) < 5 * estimates.std() / math.sqrt(len(drawn))


def test_pass_at_k_is_the_chance_of_a_right_one_among_k_drawn():
    from itertools import combinations

    for n in range(1, 7):
        for right in range(n + 1):
            for k in range(1, n + 1):
                draws = list(combinations(range(n), k))
                share = sum(any(i < right for i in draw) for draw in draws) / len(draws)
                assert pass_at_k(n, right, k) == pytest.approx(share)
    with pytest.raises(ValueError, match=r"^k: got 5, allowed: 1 to the 4 answers"):
        pass_at_k(4, 1, 5)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"n_samples": 1}, "rl.n_samples: got 1"),
        ({"temperature": 0.0}, "rl.temperature: got 0"),
        ({"updates_per_rollout": 2}, "rl.clip_low: not given"),
        ({"kl": -0.1}, "rl.kl: got -0.1"),
    ],
)
def test_what_makes_no_sense_is_refused(values, told):
    with pytest.raises(ValueError, match=told):
        RLConfig(**values)
