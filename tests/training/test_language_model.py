"""The module under a real Trainer, against loops written out by hand."""

import math

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader

from nanolit.data.serving.batches import EvalBatches
from nanolit.data.serving.windows import TokenWindows
from nanolit.datamodules.pretrain import LoaderConfig
from nanolit.optim.build import AdamWConfig, build_optimizer
from nanolit.optim.schedules import ScheduleConfig, schedule
from nanolit.training.language_model import NonFiniteLoss

N_STEPS = 6
CLIP = 1.5


def assert_same_weights(ours, theirs, **tolerance):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], msg=lambda told, name=name: f"{name}: {told}", **tolerance)


# Accumulation


def test_splitting_a_batch_changes_nothing_but_rounding(bench, optimizer):
    whole = bench.fit(optimizer=optimizer, micro_batch_size=8)
    start = bench.fit(optimizer=optimizer, max_steps=6, limit_train_batches=0).weights
    moved = max((whole.weights[name] - start[name]).abs().max().item() for name in start)
    assert moved > 1e-2  # the comparison below would otherwise say nothing
    for micro_batch_size in (4, 1):
        split = bench.fit(optimizer=optimizer, micro_batch_size=micro_batch_size)
        assert split.trainer.accumulate_grad_batches == 8 // micro_batch_size
        assert split.recorder.losses == pytest.approx(whole.recorder.losses, rel=1e-5)
        assert split.recorder.norms == pytest.approx(whole.recorder.norms, rel=1e-4)
        assert_same_weights(split.weights, whole.weights, atol=2e-5, rtol=1e-4)


# A bare loop


def nanogpt_rate(step: int, lr: float, warmup_steps: int, decay_steps: int, min_lr: float) -> float:
    """nanoGPT's get_lr."""
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    if step > decay_steps:
        return min_lr
    ratio = (step - warmup_steps) / (decay_steps - warmup_steps)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (lr - min_lr)


def torch_adamw(network, config: AdamWConfig) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    vectors = [p for p in network.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)


def cross_entropy(network, batch) -> torch.Tensor:
    return F.cross_entropy(network(batch["inputs"]).flatten(0, 1).float(), batch["targets"].flatten())


@pytest.mark.parametrize("accumulation", [1, 4])
def test_equals_nanogpts_loop(bench, make_gpt, accumulation):
    config, n_steps = AdamWConfig(lr=3e-3), 12
    curve = ScheduleConfig("cosine", warmup_steps=3, decay_steps=9, min_ratio=0.1)
    micro = 8 // accumulation
    ours = bench.fit(optimizer=config, curve=curve, max_steps=n_steps, micro_batch_size=micro, gradient_clip_val=CLIP)

    network, losses, norms = make_gpt(), [], []
    optimizer = torch_adamw(network, config)
    for step, batches in enumerate(bench.batches(n_steps, 8, micro)):
        for group in optimizer.param_groups:
            group["lr"] = nanogpt_rate(step, config.lr, 3, 9, 0.1 * config.lr)
        step_loss = 0.0
        for batch in batches:
            loss = cross_entropy(network, batch) / accumulation
            loss.backward()
            step_loss += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP).item())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(step_loss)

    assert max(norms) > CLIP > min(norms), "some steps should be clipped and some not"
    assert losses[-1] < losses[0] - 0.5
    assert ours.recorder.losses == pytest.approx(losses, rel=1e-5)
    assert ours.recorder.norms == pytest.approx(norms, rel=1e-4)
    assert_same_weights(ours.weights, network.state_dict(), atol=2e-5, rtol=1e-4)


# Mixed precision


def mixed_precision(precision: str) -> MixedPrecision:
    # Given as a plugin, because the Trainer turns 16-mixed into bf16-mixed where the accelerator is a CPU.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12) if precision == "16-mixed" else None
    return MixedPrecision(precision, "cpu", scaler)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_clips_the_unscaled_gradients(bench, make_gpt, optimizer, precision, clip, accumulation):
    micro = 8 // accumulation
    ours = bench.fit(
        optimizer=optimizer, micro_batch_size=micro, gradient_clip_val=clip, plugins=[mixed_precision(precision)]
    )

    network, losses, norms = make_gpt(), [], []
    is_adamw = isinstance(optimizer, AdamWConfig)
    theirs = torch_adamw(network, optimizer) if is_adamw else build_optimizer(network.named_parameters(), optimizer)
    rates = [group["lr"] for group in theirs.param_groups]
    curve = schedule(ScheduleConfig("cosine", warmup_steps=1, min_ratio=0.1), N_STEPS)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, enabled=precision == "16-mixed")
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    for step, batches in enumerate(bench.batches(N_STEPS, 8, micro)):
        for group, rate in zip(theirs.param_groups, rates, strict=True):
            group["lr"] = rate * curve(step)
        for batch in batches:
            with torch.autocast("cpu", dtype=dtype):
                loss = network(batch["inputs"], batch["targets"]).mean() / accumulation
            scaler.scale(loss).backward()
            losses.append(loss.item())
        scaler.unscale_(theirs)
        norms.append(torch.nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf).item())
        scaler.step(theirs)
        scaler.update()
        theirs.zero_grad()

    assert min(norms) > 0.1 and max(norms) < 100, "unscaled norms of such a network"
    assert max(norms) > 0.5
    step_losses = torch.tensor(losses).view(N_STEPS, accumulation).sum(1).tolist()
    assert ours.recorder.losses == pytest.approx(step_losses, rel=1e-3)
    assert ours.recorder.norms == pytest.approx(norms, rel=1e-2)
    assert_same_weights(ours.weights, network.state_dict(), atol=3e-3, rtol=1e-2)
    if clip:
        free = bench.fit(optimizer=optimizer, micro_batch_size=micro, plugins=[mixed_precision(precision)])
        assert not torch.equal(free.weights["blocks.0.mlp.up.weight"], ours.weights["blocks.0.mlp.up.weight"]), (
            "clipping did something"
        )


class SpoilGradient(pl.Callback):
    """Puts an infinity into one gradient of one optimizer step, as an overflow of scaled float16 gradients does."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.before: dict[str, torch.Tensor] = {}
        self.after: dict[str, torch.Tensor] = {}

    def on_after_backward(self, trainer, module) -> None:
        if trainer.global_step == self.step:
            self.before = {name: value.clone() for name, value in module.network.state_dict().items()}
            next(module.network.parameters()).grad[0, 0] = math.inf

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step + 1:
            self.after = {name: value.clone() for name, value in module.network.state_dict().items()}


def test_an_overflow_in_float16_skips_the_step_and_training_goes_on(bench, optimizer):
    spoil, plugin = SpoilGradient(step=2), mixed_precision("16-mixed")
    run = bench.fit(optimizer=optimizer, callbacks=(spoil,), gradient_clip_val=1.0, plugins=[plugin], max_steps=N_STEPS)
    assert run.trainer.global_step == N_STEPS
    assert_same_weights(spoil.after, spoil.before, atol=0, rtol=0)
    assert not math.isfinite(run.recorder.norms[2])
    assert all(map(math.isfinite, run.recorder.norms[:2] + run.recorder.norms[3:]))
    assert plugin.scaler.get_scale() == 2.0**11
    assert all(torch.isfinite(value).all() for value in run.weights.values())
    assert run.recorder.losses[-1] < run.recorder.losses[0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_without_a_scaler_an_infinite_gradient_stops_before_the_weights_take_it(bench, precision):
    spoil = SpoilGradient(step=2)
    with pytest.raises(NonFiniteLoss, match=r"step 3: the loss is .*, the norm of the gradient (inf|nan)"):
        bench.fit(network := bench_network(), callbacks=(spoil,), gradient_clip_val=1.0, precision=precision)
    assert_same_weights(network.state_dict(), spoil.before, atol=0, rtol=0)


def bench_network():
    from nanolit.models.gpt import GPT, GPTConfig

    return GPT(GPTConfig(vocab_size=257, block_size=32, n_layer=1, n_head=2, n_embd=16))


# Learning rate and randomness


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd", "lr_range_test"])
def test_the_rate_of_each_step_is_the_pure_schedules(bench, optimizer, kind):
    config = ScheduleConfig(kind, warmup_steps=2)
    run = bench.fit(optimizer=optimizer, curve=config, micro_batch_size=4)
    curve = schedule(config, N_STEPS)
    groups = run.trainer.optimizers[0].param_groups
    assert run.recorder.lrs == [[group["initial_lr"] * curve(step) for group in groups] for step in range(N_STEPS)]
    assert len({tuple(rates) for rates in run.recorder.lrs}) > 2


class Disturb(pl.Callback):
    """Draws from every global random stream between steps, as a sample or an evaluation might."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        torch.manual_seed(batch_idx)
        torch.rand(7)


def test_dropout_belongs_to_seed_and_micro_batch(bench, make_gpt):
    def losses(dropout: float = 0.3, **settings) -> list[float]:
        return bench.fit(make_gpt(dropout=dropout), micro_batch_size=4, **settings).recorder.losses

    plain = losses()
    assert losses(callbacks=(Disturb(),)) == plain
    assert losses(val_check_interval=2) == plain
    assert losses(dropout=0.0) != plain
    # One batch, again and again, at a rate of nothing: only the masks can make the losses differ.
    network = make_gpt(dropout=0.3)
    still = AdamWConfig(lr=0.0)
    repeated = bench.fit(network, optimizer=still, loader=LoaderConfig(overfit_steps=1), max_steps=4).recorder.losses
    assert len(set(repeated)) == 4


# Evaluation


@pytest.fixture
def trained(bench):
    return bench.fit(max_steps=30, curve=ScheduleConfig("constant")).module


def evaluate(bench, module, batch_size: int, world_size: int) -> dict[str, float]:
    """As `world_size` processes would: each sees its own batches, and their sums are added up."""
    windows = TokenWindows(bench.prepared.shards("val"), 32, pad_last=True)
    total: list[torch.Tensor] = []

    def reduce(sums: torch.Tensor, reduce_op: str) -> torch.Tensor:
        if sums.dim() == 0:
            return sums  # what Lightning counts for itself
        assert reduce_op == "sum"
        total.append(sums)
        return torch.stack(total).sum(0)

    for rank in range(world_size):
        trainer = bench.trainer(1, (), bench.folder)
        trainer.strategy.reduce = reduce
        loader = DataLoader(EvalBatches(windows, batch_size, world_size, rank), batch_size=None)
        trainer.validate(module, dataloaders=loader, verbose=False)
    return module.evaluation


def recomputed(bench, module) -> dict[str, float]:
    """Token after token of the split, in blocks, one block at a time; bytes are counted by decoding."""
    tokenizer = bench.prepared.tokenizer
    ids = torch.cat([torch.from_numpy(shard.tokens.astype("int64")) for shard in bench.prepared.shards("val")])
    nats, text_nats, n_bytes, hits, n = 0.0, 0.0, 0, 0, 0
    module.network.eval()
    for start in range(0, len(ids) - 1, 32):
        targets = ids[start + 1 : start + 33]
        with torch.no_grad():
            logits = module.network(ids[start : start + 32][None, : len(targets)])[0].double()
        for row, target in zip(logits, targets.tolist(), strict=True):
            nll = (torch.logsumexp(row, 0) - row[target]).item()
            nats, n, hits = nats + nll, n + 1, hits + int(row.argmax().item() == target)
            if target != tokenizer.eot_id:
                text_nats, n_bytes = text_nats + nll, n_bytes + len(tokenizer.token_bytes(target))
    assert n == len(ids) - 1
    assert (ids == tokenizer.eot_id).sum() > 1
    bpb = text_nats / math.log(2) / n_bytes
    return {"val/loss": nats / n, "val/ppl": math.exp(nats / n), "val/bpb": bpb, "val/accuracy": hits / n}


def test_metrics_of_the_whole_split_whatever_the_batches_and_ranks(bench, trained):
    expected = recomputed(bench, trained)
    assert 0.05 < expected["val/accuracy"] < 0.95
    assert expected["val/bpb"] != pytest.approx(
        expected["val/loss"] / math.log(2), rel=1e-4
    )  # the special tokens' part
    for batch_size, world_size in [(1, 1), (5, 1), (64, 1), (4, 2), (3, 3)]:
        assert evaluate(bench, trained, batch_size, world_size) == pytest.approx(expected, rel=1e-5)


def test_evaluation_leaves_the_network_in_training_mode_and_other_callbacks_find_the_metrics(bench, make_gpt):
    seen = []

    class Look(pl.Callback):
        def on_validation_end(self, trainer, module) -> None:
            seen.append((trainer.callback_metrics["val/loss"].item(), module.evaluation["val/loss"]))

        def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
            assert module.network.training

    bench.fit(make_gpt(dropout=0.1), callbacks=(Look(),), val_check_interval=2)
    assert len(seen) == 3
    assert all(found == pytest.approx(ours, rel=1e-6) for found, ours in seen)
