"""The sums behind a loss, against loops over single tokens, and its standard error, against numpy and resampling."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nanolit.data.serving.rows import IGNORE
from nanolit.evals.loss import batch_sums, evaluate, metrics, no_sums, standard_error

CPU = torch.device("cpu")
VOCAB = 11
BYTES = torch.tensor([0, *range(1, VOCAB)])  # id 0 is special: it stands for no text


class Bigrams(nn.Module):
    """Predicts each token from the one before it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Parameter(torch.randn(VOCAB, VOCAB))
        self.dropout = nn.Dropout(0.5)

    def score(self, ids, targets):
        logits = self.dropout(F.embedding(ids, self.table))  # (B, T, V)
        nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none")
        return nll.view_as(targets), logits.argmax(-1) == targets


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """(9, 6) ids and targets; the last row predicts two tokens only."""
    ids = torch.randint(0, VOCAB, (9, 7), generator=torch.Generator().manual_seed(5))
    inputs, targets = ids[:, :-1], ids[:, 1:].clone()
    targets[-1, 2:] = IGNORE
    return inputs, targets


def in_batches(inputs, targets, size):
    return [{"inputs": i, "targets": t} for i, t in zip(inputs.split(size), targets.split(size), strict=True)]


def token_by_token(inputs, targets) -> dict[str, float]:
    table = Bigrams().table.detach().double().numpy()
    nats, text_nats, n_bytes, hits, n = 0.0, 0.0, 0, 0, 0
    for before, target in zip(inputs.flatten().tolist(), targets.flatten().tolist(), strict=True):
        if target == IGNORE:
            continue
        nll = -math.log(np.exp(table[before, target]) / np.exp(table[before]).sum())
        nats, n, hits = nats + nll, n + 1, hits + int(table[before].argmax() == target)
        if target != 0:
            text_nats, n_bytes = text_nats + nll, n_bytes + int(BYTES[target])
    bpb = text_nats / math.log(2) / n_bytes
    return {"loss": nats / n, "ppl": math.exp(nats / n), "bpb": bpb, "accuracy": hits / n}


def test_metrics_equal_a_loop_over_tokens(rows):
    inputs, targets = rows
    assert (targets == 0).any(), "a special token among the targets"
    nll, correct = Bigrams().eval().score(inputs, targets)
    assert metrics(batch_sums(nll, correct, targets, BYTES)) == pytest.approx(token_by_token(*rows), rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_the_batch_size_changes_nothing(rows, size):
    inputs, targets = rows
    report = evaluate(Bigrams(), in_batches(inputs, targets, size), BYTES, CPU)
    found = {name: getattr(report, name) for name in ("loss", "ppl", "bpb", "accuracy")}
    assert found == pytest.approx(token_by_token(*rows), rel=1e-6)
    assert (report.n_tokens, report.n_windows) == (8 * 6 + 2, 9)
    assert report.n_bytes == sum(int(BYTES[t]) for t in targets.flatten().tolist() if t != IGNORE)
    whole = evaluate(Bigrams(), in_batches(inputs, targets, 9), BYTES, CPU)
    assert report.standard_error == pytest.approx(whole.standard_error, rel=1e-6)
    assert report.tokens_per_s == report.n_tokens / report.seconds > 0


def test_rows_that_fill_up_a_batch_count_for_nothing(rows):
    inputs, targets = rows
    filled = F.pad(inputs, (0, 0, 0, 3)), F.pad(targets, (0, 0, 0, 3), value=IGNORE)
    full, bare = (evaluate(Bigrams(), in_batches(*pair, 4), BYTES, CPU) for pair in (filled, rows))
    assert (full.n_windows, full.n_tokens) == (bare.n_windows, bare.n_tokens) == (9, 50)
    assert (full.loss, full.standard_error) == pytest.approx((bare.loss, bare.standard_error), rel=1e-9)


def test_the_standard_error_of_equal_windows_is_that_of_their_mean():
    losses = np.random.default_rng(0).gamma(3.0, size=200)
    nats, n_targets = torch.from_numpy(losses * 32), torch.full((200,), 32.0, dtype=torch.float64)
    assert standard_error(nats, n_targets) == pytest.approx(losses.std(ddof=1) / math.sqrt(200), rel=1e-12)


def test_the_standard_error_of_unequal_windows_is_what_resampling_finds():
    draw = np.random.default_rng(1)
    n_targets = draw.choice([1, 64], size=400)
    nats = n_targets * draw.gamma(3.0, size=400)
    picks = draw.integers(0, 400, size=(4000, 400))
    resampled = (nats[picks].sum(1) / n_targets[picks].sum(1)).std()
    found = standard_error(torch.from_numpy(nats), torch.from_numpy(n_targets).double())
    assert found == pytest.approx(resampled, rel=0.05)
    assert abs(found - (nats / n_targets).std() / 20) > 0.1 * found, "a mean of means would be another number"


def test_one_window_has_no_standard_error(rows):
    inputs, targets = rows
    assert math.isnan(evaluate(Bigrams(), in_batches(inputs[:1], targets[:1], 1), BYTES, CPU).standard_error)


def test_text_without_bytes_has_no_bits_per_byte(rows):
    report = evaluate(Bigrams(), in_batches(*rows, 3), torch.zeros(VOCAB, dtype=torch.long), CPU)
    assert math.isnan(report.bpb) and report.n_bytes == 0 and math.isfinite(report.loss)


def test_without_a_target_there_is_nothing_to_say(rows):
    assert metrics(no_sums(CPU)) == {}
    nothing = torch.full_like(rows[1], IGNORE)
    with pytest.raises(ValueError, match="no target"):
        evaluate(Bigrams(), in_batches(rows[0], nothing, 3), BYTES, CPU)


def test_a_hopeless_loss_has_a_finite_perplexity():
    sums = torch.tensor([5000.0, 1.0, 0.0, 5000.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert metrics(sums)["loss"] == 5000 and math.isfinite(metrics(sums)["ppl"])


def test_millions_of_tokens_keep_their_digits():
    sums = no_sums(CPU)
    one = torch.full((1, 1), 0.1)
    for _ in range(1000):
        sums += batch_sums(one, one > 1, torch.ones(1, 1, dtype=torch.long), BYTES)
    sums *= 1e5  # as after 10^8 tokens
    sums += batch_sums(one, one > 1, torch.ones(1, 1, dtype=torch.long), BYTES)
    assert sums[1].item() == 1e8 + 1, "float32 counts to 16,777,216"


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_autocast_is_what_was_asked_for(rows, dtype):
    seen = set()

    class Looks(Bigrams):
        def score(self, ids, targets):
            seen.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
            assert not torch.is_grad_enabled() and not self.training
            return super().score(ids, targets)

    evaluate(Looks().train(), in_batches(*rows, 3), BYTES, CPU, autocast=dtype)
    assert seen == {dtype}
    assert not torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()


def test_progress_sees_the_sums_so_far(rows):
    inputs, targets = rows
    seen = []
    batches = in_batches(inputs, targets, 4)
    evaluate(Bigrams(), batches, BYTES, CPU, progress=lambda n, sums: seen.append((n, metrics(sums)["loss"])))
    so_far = [token_by_token(inputs[:n], targets[:n])["loss"] for n in (4, 8, 9)]
    assert seen == [(n, pytest.approx(loss, rel=1e-6)) for n, loss in enumerate(so_far, start=1)]


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_exact_are_the_examples_with_every_target_right(rows, size):
    inputs, _ = rows
    likeliest = Bigrams().table.argmax(1)[inputs]
    draw = np.random.default_rng(2)
    targets = torch.where(torch.from_numpy(draw.random(inputs.shape) < 0.7), likeliest, (likeliest + 1) % VOCAB)
    examples = torch.from_numpy(np.sort(draw.integers(0, 4, inputs.shape)))
    examples[torch.from_numpy(draw.random(inputs.shape) < 0.3)] = -1
    targets[examples < 0] = IGNORE
    right: dict[tuple[int, int], bool] = {}
    for row, of_row in enumerate(examples.tolist()):
        for at, example in enumerate(of_row):
            if example >= 0:
                hit = bool(likeliest[row, at] == targets[row, at])
                right[row, example] = right.get((row, example), True) and hit
    parts = zip(inputs.split(size), targets.split(size), examples.split(size), strict=True)
    batches = [{"inputs": i, "targets": t, "examples": e} for i, t, e in parts]
    report = evaluate(Bigrams(), batches, BYTES, CPU)
    assert 0 < report.exact < 1 and report.exact == pytest.approx(sum(right.values()) / len(right), abs=1e-12)


def test_plain_text_has_no_exact(rows):
    assert "exact" not in metrics(batch_sums(*Bigrams().eval().score(*rows), rows[1], BYTES))
    assert math.isnan(evaluate(Bigrams(), in_batches(*rows, 3), BYTES, CPU).exact)


def test_the_network_is_told_of_documents_only_if_there_are_any(rows):
    seen = []

    class Looks(Bigrams):
        def score(self, ids, targets, **told):
            seen.append(told)
            return super().score(ids, targets)

    (batch,) = in_batches(*rows, 9)
    documents = torch.zeros_like(batch["inputs"])
    evaluate(Looks(), [batch, {**batch, "documents": documents}], BYTES, CPU)
    assert seen == [{}, {"documents": documents}]
