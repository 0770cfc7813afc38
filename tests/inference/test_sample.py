"""Filters by their properties, draws by their distribution."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.inference.params import SamplingParams
from nanolit.inference.sample import (
    bias_vector,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_probabilities,
    penalize_repetition,
    penalized,
    row_generators,
    sample,
)

LOGITS = st.lists(st.lists(st.floats(-30, 30, width=32), min_size=9, max_size=9), min_size=1, max_size=4).map(
    torch.tensor
)


def kept(filtered: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Which tokens survived; those that did are unchanged."""
    survived = filtered.isfinite()
    assert torch.equal(filtered[survived], logits[survived])
    # No survivor is less likely than one that was dropped.
    weakest = filtered.masked_fill(~survived, math.inf).amin(dim=-1)
    strongest = logits.masked_fill(survived, -math.inf).amax(dim=-1)
    assert (strongest <= weakest).all()
    return survived


@settings(deadline=None)
@given(LOGITS, st.integers(1, 12))
def test_top_k_keeps_k_and_equals_of_the_last(logits, k):
    survived = kept(keep_top_k(logits, k), logits)
    kth = logits.sort(dim=-1, descending=True).values[:, min(k, 9) - 1 : min(k, 9)]
    assert torch.equal(survived, logits >= kth)


@settings(deadline=None)
@given(LOGITS, st.floats(0.01, 1.0))
def test_top_p_keeps_the_fewest_that_reach_p(logits, p):
    survived = kept(keep_top_p(logits, p), logits)
    probabilities = logits.double().softmax(dim=-1)
    for row, mask in zip(probabilities, survived, strict=True):
        assert row[mask].sum() >= p - 1e-5
        if mask.sum() > 1:
            assert row[mask].sum() - row[mask].min() < p + 1e-5


@settings(deadline=None)
@given(LOGITS, st.floats(0.0, 1.0))
def test_min_p_measures_against_the_likeliest(logits, min_p):
    survived = kept(keep_min_p(logits, min_p), logits)
    relative = (logits - logits.amax(dim=-1, keepdim=True)).double().exp()
    assert survived[relative > min_p * 1.0001].all() and not survived[relative < min_p * 0.9999].any()
    assert survived.any(dim=-1).all()


@settings(deadline=None)
@given(LOGITS, st.floats(0.5, 3.0))
def test_repetition_penalty_touches_history_once(logits, penalty):
    history = torch.tensor([[2, 5, 2]]).repeat(len(logits), 1)
    expected = logits.clone()
    for token in (2, 5):
        expected[:, token] = torch.where(logits[:, token] > 0, logits[:, token] / penalty, logits[:, token] * penalty)
    torch.testing.assert_close(penalize_repetition(logits, history, penalty), expected)


def test_draws_follow_the_probabilities_and_never_hit_zero():
    probabilities = torch.tensor([0.0, 0.1, 0.0, 0.6, 0.3, 0.0])
    n = 4000
    drawn = draw(probabilities.repeat(n, 1), row_generators(SamplingParams(seed=3), range(n)))
    frequencies = torch.bincount(drawn, minlength=6) / n
    assert (frequencies[probabilities == 0] == 0).all()
    torch.testing.assert_close(frequencies, probabilities, rtol=0, atol=0.03)


def test_temperature_zero_is_the_likeliest_and_a_tiny_one_nearly_so():
    logits = torch.randn(5, 20)
    for temperature in (0, 1e-30, 1e-4):
        params = SamplingParams(temperature=temperature, seed=0)
        assert torch.equal(sample(logits, params, row_generators(params, range(5))), logits.argmax(dim=-1))


def test_temperature_scales_logits():
    logits = torch.tensor([[0.0, 1.0]]).repeat(4000, 1)
    params = SamplingParams(temperature=2.0, seed=1)
    ones = sample(logits, params, row_generators(params, range(4000))).float().mean()
    assert ones.item() == pytest.approx(torch.sigmoid(torch.tensor(0.5)).item(), abs=0.03)


def test_a_row_has_its_own_stream():
    params = SamplingParams(seed=9)
    probabilities = torch.ones(6, 1000) / 1000
    together = draw(probabilities, row_generators(params, range(6)))
    alone = [draw(probabilities[:1], row_generators(params, [row])).item() for row in range(6)]
    assert together.tolist() == alone and len(set(alone)) > 1
    unseeded = [draw(probabilities, row_generators(SamplingParams(), range(6))).tolist() for _ in range(2)]
    assert unseeded[0] != unseeded[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: got 0"),
        ({"temperature": -0.1}, "temperature: got -0.1"),
        ({"temperature": math.nan}, "temperature: got nan"),
        ({"top_k": 0}, "top_k: got 0"),
        ({"top_p": 0.0}, "top_p: got 0.0"),
        ({"top_p": 1.1}, "top_p: got 1.1"),
        ({"min_p": 1.5}, "min_p: got 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: got 0.0"),
        ({"stop": ("a", "")}, "stop: got an empty string"),
    ],
)
def test_a_wrong_wish_is_named(fields, message):
    with pytest.raises(ValueError) as error:
        SamplingParams(**fields)
    assert str(error.value).startswith(message)


def test_presence_and_frequency_are_openais():
    """https://platform.openai.com/docs: logit - count * frequency - (count > 0) * presence, of written tokens only."""
    logits, counts = torch.randn(1, 20), {3: 2, 5: 1}
    params = SamplingParams(presence_penalty=0.7, frequency_penalty=-0.4)
    expected = logits[0].clone()
    for token, count in counts.items():
        expected[token] += -0.7 + 0.4 * count
    assert torch.allclose(penalized(logits[0], params, [1, 3, 9], counts), expected)
    assert torch.equal(penalized(logits[0], params, [1, 3, 9], {}), logits[0]), "a prompt does not count"


def test_repetition_is_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    logits = 3 * torch.randn(1, 20)
    theirs = transformers.RepetitionPenaltyLogitsProcessor(1.4)(torch.tensor([[1, 3, 9, 3, 5]]), logits.clone())
    ours = penalized(logits[0], SamplingParams(repetition_penalty=1.4), [1, 3, 9], {3: 1, 5: 1})
    assert torch.allclose(ours, theirs[0])


def test_bias_is_added_last():
    logits = torch.tensor([1.0, -1.0, 0.5])
    params = SamplingParams(repetition_penalty=2.0)
    assert penalized(logits, params, [0, 1], {}, bias_vector({0: -5.0, 2: 1.0}, logits)).tolist() == [-4.5, -2.0, 1.5]


@pytest.mark.parametrize("wishes", [{}, {"top_k": 4}, {"top_p": 0.6}, {"min_p": 0.2, "temperature": 0.5}])
def test_log_probabilities_are_of_what_is_drawn_from(wishes):
    """Compared with how often each token really comes."""
    logits = 2 * torch.randn(1, 12, generator=torch.Generator().manual_seed(0))
    params = SamplingParams(seed=0, **wishes)
    (generator,) = row_generators(params, [0])
    n = 4000
    drawn = torch.bincount(torch.cat([sample(logits, params, [generator]) for _ in range(n)]), minlength=12) / n
    told = log_probabilities(logits, params)[0].exp()
    assert torch.all((drawn - told).abs() < 4 * (told * (1 - told) / n).sqrt() + 1e-9)


def test_at_temperature_zero_one_token_is_certain():
    told = log_probabilities(torch.tensor([[0.0, 2.0, 1.0]]), SamplingParams(temperature=0.0))
    assert told.exp().tolist() == [[0.0, 1.0, 0.0]]
