"""The callbacks together in a real Trainer, and through the command where a resume is part of it."""

import json
import os
import signal
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nanolit.cli.main import main
from nanolit.data.serving.batches import BatchPlan, MicroBatches
from nanolit.datamodules.pretrain import LoaderConfig
from nanolit.models.directory import load_model
from nanolit.optim.build import AdamWConfig
from nanolit.optim.schedules import ScheduleConfig
from nanolit.training.callbacks import BestModel, Checkpoint, Evaluate, Metrics, NonFiniteReport, Progress, Samples
from nanolit.training.callbacks.checkpoint import newest_valid, sidecar
from nanolit.training.language_model import LanguageModel, NonFiniteLoss

TIMES = ("seconds", "perf/tok_per_s", "perf/step_ms", "perf/mfu")
TINY = [
    "experiment=quick",
    "data.documents=40",
    "data.val_documents=4",
    "tokenizer=byte",
    "model.n_layer=1",
    "model.n_embd=16",
    "model.n_head=2",
    "model.block_size=32",
    "model.dropout=0.1",
    "batch_size=8",
    "micro_batch_size=4",
    "trainer.max_steps=12",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=0",
    "callbacks.evaluate.every_steps=4",
    "callbacks.metrics.every_steps=3",
    "callbacks.checkpoint.every_steps=5",
    "callbacks.samples.n_samples=0",
    "logger=csv",
]


@pytest.fixture(autouse=True)
def one_place_for_data(village_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(village_root))


def records(run_dir: Path) -> list[dict]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def steps_with(run_dir: Path, key: str) -> list[int]:
    return [record["step"] for record in records(run_dir) if key in record]


# Evaluate


class Validations(pl.Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer, module) -> None:
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        ({"every_steps": 4}, [4, 8, 10]),
        ({"every_steps": 5}, [5, 10]),  # the last step is evaluated once, although it is due twice
        ({"every_tokens": 3 * 8 * 32}, [3, 6, 9, 10]),
        ({}, [10]),
        ({"every_steps": 100}, [10]),
    ],
)
@pytest.mark.parametrize("micro_batch_size", [8, 4])
def test_evaluates_by_optimizer_steps_and_after_the_last(bench, cadence, expected, micro_batch_size):
    seen = Validations()
    bench.fit(max_steps=10, micro_batch_size=micro_batch_size, callbacks=(Evaluate(**cadence), seen))
    assert seen.steps == expected


@pytest.mark.parametrize(("at_start", "expected"), [("true", [0, 4, 8, 12]), ("false", [4, 8, 12])])
def test_evaluates_before_the_first_step_if_asked(tmp_path, at_start, expected):
    assert main(["train", *TINY, f"run_dir={tmp_path}", f"callbacks.evaluate.at_start={at_start}"]) == 0
    assert steps_with(tmp_path, "val/loss") == expected


# Checkpoint


def test_keeps_the_newest_checkpoints_with_their_sidecars(bench):
    bench.fit(max_steps=10, callbacks=(Metrics(), Checkpoint(every_steps=2, keep=3)))
    folder = bench.folder / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"step_{step:08d}.{suffix}" for step in (6, 8, 10) for suffix in ("ckpt", "json")
    ]
    assert newest_valid(bench.folder).step == 10


def test_a_checkpoint_is_saved_after_the_evaluation_that_is_due_with_it(bench):
    class Look(Checkpoint):
        seen = []

        def save(self, trainer, module) -> None:
            self.seen.append((trainer.global_step, "val/loss" in module.evaluation, newest_loss()))
            super().save(trainer, module)

    def newest_loss() -> int:
        return (steps_with(bench.folder, "val/loss") or [0])[-1]

    callbacks = (Metrics(2), Evaluate(every_steps=4), BestModel(), Look(every_steps=2))
    bench.fit(max_steps=7, callbacks=callbacks)
    assert Look.seen == [(2, False, 0), (4, True, 4), (6, True, 4), (7, True, 7)]
    for path in (bench.folder / "checkpoints").glob("*.ckpt"):
        assert json.loads(sidecar(path).read_text())["evaluation_pending"] is False


def test_a_checkpoint_opens_without_pickle_and_holds_one_number_about_data(bench):
    bench.fit(max_steps=3, callbacks=(Metrics(), Checkpoint()), micro_batch_size=4)
    state = torch.load(newest_valid(bench.folder).path, weights_only=True)
    assert state["nanolit"] == {"format": 1, "step": 3}
    assert not any(state["loops"]["fit_loop"]["state_dict"].get("combined_loader", []))


# Interrupted where an evaluation is due


def terminated_at(monkeypatch, step: int):
    original = Evaluate.on_step_end

    def on_step_end(self, trainer, module) -> None:
        original(self, trainer, module)
        if trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Evaluate, "on_step_end", on_step_end)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, village_root):
    run_dir = tmp_path_factory.mktemp("whole")
    assert main(["train", *TINY, f"run_dir={run_dir}", f"paths.data_root={village_root}"]) == 0
    return run_dir


@pytest.mark.parametrize(
    ("step", "pending"),
    [
        (4, True),
        (5, False),
        (7, False),
        (8, True),
    ],  # an evaluation is due, a checkpoint is due, neither, the second one
)
def test_terminated_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, capfd, uninterrupted, step, pending):
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        terminated_at(patch, step)
        assert main(["train", *TINY, f"run_dir={tmp_path}"]) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    resume = newest_valid(tmp_path)
    assert (resume.step, resume.evaluation_pending) == (step, pending)
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "interrupted"
    assert main(["train", *TINY, f"run_dir={tmp_path}"]) == 0
    assert f"resuming at step {step}" in capfd.readouterr().err
    assert records(tmp_path) == records(uninterrupted)
    ours, theirs = ((run / "model" / "model.safetensors").read_bytes() for run in (tmp_path, uninterrupted))
    assert ours == theirs
    rows = [(run / "csv" / "metrics.csv").read_text().splitlines() for run in (tmp_path, uninterrupted)]
    assert len(rows[0]) == len(rows[1])
    summaries = [json.loads((run / "summary.json").read_text()) for run in (tmp_path, uninterrupted)]
    assert summaries[0]["best"] == summaries[1]["best"]


def test_a_crash_after_the_evaluation_that_was_made_up_for(tmp_path, monkeypatch, uninterrupted):
    with monkeypatch.context() as patch:
        terminated_at(patch, 4)
        assert main(["train", *TINY, f"run_dir={tmp_path}"]) == 128 + signal.SIGTERM

    def crash(*arguments) -> None:
        raise RuntimeError("as by kill -9: nothing is saved")

    with monkeypatch.context() as patch:
        patch.setattr(Evaluate, "on_step_end", crash)
        assert main(["train", *TINY, f"run_dir={tmp_path}"]) == 1
    assert steps_with(tmp_path, "val/loss") == [4]
    assert main(["train", *TINY, f"run_dir={tmp_path}"]) == 0
    assert records(tmp_path) == records(uninterrupted)


# Best model, early stopping


def report_losses(monkeypatch, losses: list[float]) -> None:
    """The evaluations find these."""
    told = iter(losses)
    monkeypatch.setattr(
        LanguageModel, "on_validation_epoch_end", lambda module: setattr(module, "evaluation", {"val/loss": next(told)})
    )


def test_keeps_the_best_model_and_not_the_last(bench, monkeypatch):
    report_losses(monkeypatch, [3.0, 2.0, 2.5, 2.0, 4.0])
    weights = {}

    class Copy(pl.Callback):
        def on_validation_end(self, trainer, module) -> None:
            weights[trainer.global_step] = {k: v.clone() for k, v in module.network.state_dict().items()}

    best = BestModel()
    bench.fit(max_steps=10, callbacks=(Evaluate(every_steps=2), best, Copy()))
    assert best.best == {"step": 4, "value": 2.0}
    stored = load_model(bench.folder / "model").state_dict()
    assert all(torch.equal(stored[name], weights[4][name]) for name in stored)
    assert not all(torch.equal(stored[name], weights[10][name]) for name in stored)
    about = json.loads((bench.folder / "model" / "config.json").read_text())["nanolit"]
    assert about["step"] == 4 and about["metrics"]["val/loss"] == 2.0
    assert (bench.folder / "model" / "tokenizer.json").exists()


def test_early_stopping_stops_and_saves_like_the_end(tmp_path, capfd):
    stopping = ["callbacks=early_stopping", "callbacks.early_stopping.patience=2", "trainer.max_steps=60"]
    no_progress = ["optimizer=adamw", "optimizer.lr=0"]
    arguments = ["train", *TINY, *stopping, *no_progress, f"run_dir={tmp_path}"]
    assert main(arguments) == 0
    assert newest_valid(tmp_path).step == 12
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["status"], summary["step"], summary["best"]["step"]) == ("finished", 12, 4)
    assert steps_with(tmp_path, "val/loss") == [4, 8, 12]
    assert "next " in capfd.readouterr().out
    assert main(arguments) == 0
    assert newest_valid(tmp_path).step == 12, "it has stopped for good"


# Samples and progress


def test_samples_are_written_and_disturb_nothing(bench, make_gpt):
    def fit(folder: str, *callbacks) -> list[float]:
        path = bench.folder / folder
        return bench.fit(make_gpt(dropout=0.2), max_steps=5, callbacks=callbacks, folder=path).recorder.losses

    samples = Samples(every_steps=2, n_samples=2, max_new_tokens=12)
    assert fit("with", samples) == fit("without")
    written = sorted((bench.folder / "with" / "samples").iterdir())
    assert [path.name for path in written] == [f"step_{step:08d}.txt" for step in (2, 4, 5)]
    for path in written:
        assert path.read_text().count("---") >= 1


def test_progress_without_a_terminal_is_a_line_now_and_then(bench, capfd):
    bench.fit(max_steps=6, callbacks=(Metrics(2), Progress(), Evaluate(every_steps=3)))
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["1/6", "3/6", "6/6"]
    assert "val -" in lines[0] and "val 5." in lines[1]


# Metrics are lazy


class Waits(TorchDispatchMode):
    """Counts what makes a host wait for its device: item, bool, float, int (one operation), nonzero, and copies to the
    host.
    """

    NAMES = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().removeprefix("aten::").split(".")[0]
        to_host = name == "_to_copy" and (kwargs or {}).get("device") is not None
        if name in self.NAMES or to_host:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


class CountWaits(pl.Callback):
    """Per batch, from its start to the end of its hooks; it must be the last callback."""

    def __init__(self, monkeypatch) -> None:
        self.per_step: dict[int, int] = {}
        self.calls = 0
        for name in ("tolist", "cpu", "numpy"):  # these need no dispatch on a CPU
            monkeypatch.setattr(torch.Tensor, name, self._counted(getattr(torch.Tensor, name)))

    def _counted(self, original):
        def method(tensor, *args, **kwargs):
            self.calls += 1
            return original(tensor, *args, **kwargs)

        return method

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.calls, self.mode = 0, Waits()
        self.mode.__enter__()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.mode.__exit__(None, None, None)
        n = self.calls + len(self.mode.seen)
        self.per_step[trainer.global_step] = self.per_step.get(trainer.global_step, 0) + n


@pytest.mark.parametrize("micro_batch_size", [8, 4])
def test_no_step_waits_for_the_device_between_records(bench, make_gpt, monkeypatch, optimizer, micro_batch_size):
    monkeypatch.setattr(
        LanguageModel, "device", property(lambda module: torch.device("xpu"))
    )  # not "cpu": no early look
    count = CountWaits(monkeypatch)
    callbacks = (Metrics(4), Checkpoint(every_steps=100), Progress(), count)
    trainer = bench.trainer(12, callbacks, bench.folder, gradient_clip_val=1.0, limit_val_batches=0)
    trainer.accumulate_grad_batches = 8 // micro_batch_size
    module = bench.module(make_gpt(dropout=0.1), optimizer, ScheduleConfig("constant"), 12)
    trainer.fit(module, datamodule=bench.data(micro_batch_size))
    waits = [count.per_step[step] for step in range(1, 12)]
    flushes = [step for step, n in enumerate(waits, start=1) if n]
    assert flushes == [4, 8], waits
    assert waits[3] == 1, "one read brings all losses and norms"


def test_the_early_look_on_a_cpu_is_all_that_waits_there(bench, monkeypatch):
    count = CountWaits(monkeypatch)
    bench.fit(max_steps=3, callbacks=(count, Metrics(100)), limit_val_batches=0)
    assert list(count.per_step.values())[:2] == [
        2 + 2,
        2 + 2,
    ]  # the loss and the norm; the recorder of this test reads them too


def test_a_loss_that_is_not_a_number_is_found_at_the_next_look_and_named(bench, make_gpt, monkeypatch):
    """As on a GPU, where the check before the weights take the step is off: the look comes before the checkpoint."""
    monkeypatch.setattr(LanguageModel, "device", property(lambda module: torch.device("xpu")))

    class Spoil(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
            if trainer.global_step == 5:
                module.network.token_embedding.weight.data[:] = float("nan")

    with pytest.raises(NonFiniteLoss, match="step 6:"):
        bench.fit(callbacks=(Spoil(), Metrics(100), Checkpoint(every_steps=4)), max_steps=20, limit_val_batches=0)
    assert newest_valid(bench.folder).step == 4


class Overflow(pl.Callback):
    """The second step's gradient was infinite, on a device where nobody looks at each step."""

    def __init__(self, scaler: bool) -> None:
        self.scaler = scaler

    def on_train_start(self, trainer, module) -> None:
        if self.scaler:
            trainer.precision_plugin.scaler = object()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == 2:
            module.grad_norms[-1] = torch.tensor(float("inf"))


def test_an_overflow_that_a_scaler_skips_leaves_valid_json_behind(bench):
    bench.fit(max_steps=3, callbacks=(Overflow(scaler=True), Metrics(1)), limit_val_batches=0)

    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    lines = (bench.folder / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "train/loss" in json.loads(line, parse_constant=refuse)


def test_an_infinite_gradient_without_a_scaler_is_found_before_a_checkpoint_is_saved(bench):
    callbacks = (Overflow(scaler=False), Metrics(100), Checkpoint(every_steps=2))
    with pytest.raises(NonFiniteLoss, match="step 2"):
        bench.fit(max_steps=4, callbacks=callbacks, limit_val_batches=0)
    assert not list(bench.folder.rglob("*.ckpt"))


class SpoilOneGradient(pl.Callback):
    def on_after_backward(self, trainer, module) -> None:
        if trainer.global_step == 1:
            next(module.network.parameters()).grad[0, 0] = float("inf")


@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_report_names_the_gradient_that_is_not_finite_and_the_batch_of_that_step(bench, clip):
    callbacks = (SpoilOneGradient(), NonFiniteReport(), Metrics(100))
    loader = LoaderConfig(overfit_steps=1)
    with pytest.raises(NonFiniteLoss, match="step 2") as caught:
        bench.fit(max_steps=4, callbacks=callbacks, limit_val_batches=0, gradient_clip_val=clip, loader=loader)
    norms = json.loads((caught.value.folder / "norms.json").read_text())["norms"]
    spoiled, *healthy = norms
    assert norms[spoiled]["gradient"] == "inf"
    assert all(0 < norms[name]["gradient"] < 100 for name in healthy)
    batch = np.load(caught.value.folder / "batch.npz", allow_pickle=False)
    data = bench.data(8, loader=loader)
    first = MicroBatches(data.train_rows, BatchPlan(8, 8), 3, loader.shuffle)[0]
    assert (batch["inputs"] == first["inputs"].numpy()).all(), "one step is repeated: the batch is always the first"


def test_records_hold_the_mean_of_their_steps(bench):
    run = bench.fit(optimizer=AdamWConfig(lr=3e-3), max_steps=7, callbacks=(Metrics(3),), limit_val_batches=0)
    losses, norms, lrs = run.recorder.losses, run.recorder.norms, run.recorder.lrs
    found = records(bench.folder)
    assert [record["step"] for record in found] == [3, 6, 7]
    for record, part in zip(found, (slice(0, 3), slice(3, 6), slice(6, 7)), strict=True):
        assert record["train/loss"] == pytest.approx(sum(losses[part]) / len(losses[part]), rel=1e-6)
        assert record["optim/grad_norm"] == pytest.approx(norms[part][-1])
        assert record["optim/lr"] == lrs[part][-1][0]
        assert record["tokens"] == record["step"] * 8 * 32
