"""Bad input gets one clear line, exit code 2, and nothing is lost. Each case is what a user would type."""

import errno
import json
import os
from pathlib import Path

import pytest

from nanolit.cli.main import main

TINY = [
    "experiment=quick",
    "data.documents=120",
    "data.val_documents=10",
    "tokenizer.vocab_size=300",
    "model.n_layer=1",
    "model.n_embd=16",
    "model.n_head=2",
    "model.block_size=32",
    "batch_size=4",
    "trainer.max_steps=6",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=0",
    "callbacks.checkpoint.every_steps=2",
    "callbacks.samples.n_samples=0",
    "logger=none",
]


@pytest.fixture(autouse=True)
def one_place_for_data(village_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(village_root))


def train(*overrides: str) -> int:
    return main(["train", *TINY, *overrides])


def refused(capfd, code: int, *told: str) -> None:
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert code == 2, captured.err
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err + captured.out
    for part in told:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("batchsize=4", ["batchsize", "did you mean batch_size?"]),
        ("model.n_embed=64", ["model.n_embed", "did you mean model.n_embd?"]),
        ("optimizer.learning_rate=1", ["optimizer.learning_rate", "no such setting"]),
        ("trainer.max_step=5", ["did you mean trainer.max_steps?"]),
        ("callbacks.evaluate.every_step=5", ["did you mean callbacks.evaluate.every_steps?"]),
        ("trainer.accumulate_grad_batches=2", ["batch_size and micro_batch_size"]),
        ("modle=village", ["did you mean model"]),
        ("model=gpt2_123m", ["did you mean gpt2_124m?"]),
        ("experiment=quik", ["did you mean quick?"]),
        ("model.n_layer=two", ["model.n_layer", "'two'", "expected int"]),
        ("model.n_layer=0", ["model.n_layer", "at least 1"]),
        ("model.n_head=3", ["model.n_embd", "multiple of model.n_head=3"]),
        ("model.mlp=gelo", ["model.mlp", "gelu"]),
        ("trainer.max_steps=0", ["trainer.max_steps"]),
        ("trainer.gradient_clip_val=-1", ["trainer.gradient_clip_val"]),
        ("batch_size=0", ["batch_size", "at least 1"]),
        ("micro_batch_size=3", ["micro_batch_size", "must divide 4"]),
        ("schedule.warmup_steps=6", ["schedule.warmup_steps", "6 steps"]),
        ("callbacks.evaluate.every_steps=0", ["callbacks.evaluate.every_steps"]),
        ("callbacks.best_model.monitor=val/los", ["callbacks.best_model.monitor", "val/loss"]),
        ("model.block_size=1000000", ["block_size"]),
        ("stage=dream", ["stage", "pretrain"]),
        ("just a word", ["just a word"]),
        ("--max_steps=5", ["--max_steps", "key=value"]),
    ],
)
def test_settings(capfd, tmp_path, override, told):
    refused(capfd, train(f"run_dir={tmp_path / 'run'}", override), *told)


def test_fewer_steps_than_the_run_has_done(capfd, tmp_path):
    assert train(f"run_dir={tmp_path / 'run'}") == 0
    capfd.readouterr()
    refused(capfd, train(f"run_dir={tmp_path / 'run'}", "trainer.max_steps=4"), "trainer.max_steps", "at step 6")


def test_an_error_found_later_leaves_no_folder_either(capfd, tmp_path):
    assert train(f"run_dir={tmp_path / 'run'}", "trainer.precision=fp16") == 2
    assert not (tmp_path / "run").exists()


def test_a_refused_setting_leaves_no_folder(capfd, tmp_path):
    train(f"run_dir={tmp_path / 'run'}", "model.n_embed=64")
    assert not (tmp_path / "run").exists()


# Data


def own_text(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    return ["experiment=quick", "data=text", f"data.source={path}", "tokenizer=byte", f"run_dir={tmp_path / 'run'}"]


def test_empty_file(capfd, tmp_path):
    refused(capfd, main(["train", *own_text(tmp_path, "")]), "mine.txt", "empty")


def test_missing_file(capfd, tmp_path):
    refused(capfd, main(["train", "data=text", f"data.source={tmp_path / 'no.txt'}"]), "no.txt")


def test_no_source(capfd):
    refused(capfd, main(["train", "data=text"]), "data.source")


def test_not_text(capfd, tmp_path):
    arguments = own_text(tmp_path, "x")
    (tmp_path / "mine.txt").write_bytes(b"\xff\xfe\x00bad" * 100)
    refused(capfd, main(["train", *arguments]), "mine.txt")


def test_block_size_larger_than_the_text(capfd, tmp_path):
    refused(capfd, main(["train", *own_text(tmp_path, "short " * 20)]), "block_size")


def test_no_network_names_url_file_and_remedy(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "empty"))
    monkeypatch.setattr("nanolit.runtime.download.time.sleep", lambda seconds: None)
    override = "data.url=http://127.0.0.1:9/input.txt"
    code = main(["train", "experiment=shakespeare_char_cpu_nanogpt", override, f"run_dir={tmp_path / 'run'}"])
    refused(capfd, code, "http://127.0.0.1:9/input.txt", "data.source=", str(tmp_path / "empty"))


def prepared_folder(root: Path, capfd) -> Path:
    arguments = ["data.documents=50", "data.val_documents=5", "tokenizer.vocab_size=300", f"paths.data_root={root}"]
    assert main(["prepare", "data=village", *arguments]) == 0
    return next(root.glob("village-*"))


def train_on(root: Path, tmp_path: Path) -> int:
    return train("data.documents=50", "data.val_documents=5", f"paths.data_root={root}", f"run_dir={tmp_path / 'run'}")


def test_truncated_shard(capfd, tmp_path):
    shard = next(prepared_folder(tmp_path / "root", capfd).glob("train-*.bin"))
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(capfd, train_on(tmp_path / "root", tmp_path), shard.name)


def test_another_tokenizer_than_the_shards(capfd, tmp_path):
    from nanolit.tokenizers.byte import ByteTokenizer

    folder = prepared_folder(tmp_path / "root", capfd)
    ByteTokenizer().save(folder / "tokenizer")
    refused(capfd, train_on(tmp_path / "root", tmp_path), "tokenizer", "fingerprint")


# The run folder


def test_run_dir_is_a_file(capfd, tmp_path):
    (tmp_path / "run").write_text("precious")
    refused(capfd, train(f"run_dir={tmp_path / 'run'}"), "run")
    assert (tmp_path / "run").read_text() == "precious"


def test_run_dir_below_a_file(capfd, tmp_path):
    (tmp_path / "file").write_text("precious")
    refused(capfd, train(f"run_dir={tmp_path / 'file' / 'run'}"), "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_run_folder(capfd, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(capfd, train(f"run_dir={tmp_path / 'locked' / 'run'}"), "not allowed")


def test_unwritable_run_folder_for_whoever_runs_the_tests(capfd, tmp_path, monkeypatch):
    mkdir, run = Path.mkdir, tmp_path / "run"

    def refuse(path: Path, *arguments, **options) -> None:
        if path == run:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    refused(capfd, train(f"run_dir={run}"), str(run), "not allowed", "run_dir=")


def test_no_space_left_keeps_the_last_good_checkpoint(capfd, tmp_path, monkeypatch):
    import lightning.pytorch as pl

    run = tmp_path / "run"
    save = pl.Trainer.save_checkpoint

    def full_after_step_4(trainer, path, *arguments, **options):
        if trainer.global_step > 4:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(trainer, path, *arguments, **options)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full_after_step_4)
    refused(capfd, train(f"run_dir={run}"), "no space left", "step_00000006.ckpt")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        *("step_00000002.ckpt", "step_00000002.json", "step_00000004.ckpt", "step_00000004.json"),
    ]
    monkeypatch.undo()
    os.environ["DATA_ROOT"] = os.environ.get("DATA_ROOT", "")
    assert (
        train(
            f"run_dir={run}",
            f"paths.data_root={json.loads((run / 'data.json').read_text())['folder'].rsplit('/', 1)[0]}",
        )
        == 0
    )
    assert "resuming at step 4" in capfd.readouterr().err


def test_truncated_checkpoint_falls_back_and_says_so(capfd, tmp_path):
    run = tmp_path / "run"
    assert train(f"run_dir={run}") == 0
    newest = run / "checkpoints" / "step_00000006.ckpt"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert train(f"run_dir={run}") == 0
    told = capfd.readouterr().err
    assert "step_00000006.ckpt is truncated" in told and "falling back to step_00000004.ckpt" in told


def test_foreign_checkpoint_is_passed_over(capfd, tmp_path):
    run = tmp_path / "run"
    assert train(f"run_dir={run}") == 0
    (run / "checkpoints" / "z_other.ckpt").write_bytes(b"from elsewhere")
    assert train(f"run_dir={run}", "trainer.max_steps=8") == 0
    told = capfd.readouterr().err
    assert "z_other.ckpt" in told and "resuming at step 6" in told


def test_changed_settings_are_listed_and_nothing_is_touched(capfd, tmp_path):
    run = tmp_path / "run"
    assert train(f"run_dir={run}") == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "run.log"}
    capfd.readouterr()
    code = train(f"run_dir={run}", "optimizer.lr=0.5", "seed=7", "trainer.max_steps=9")
    refused(capfd, code, "optimizer.lr was 0.016, now 0.5", "seed was 1337, now 7", "force_resume=true")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "run.log"}
    assert train(f"run_dir={run}", "optimizer.lr=0.5", "trainer.max_steps=9", "force_resume=true") == 0


def test_non_finite_loss_stops_and_leaves_the_batch_and_the_norms(capfd, tmp_path):
    import numpy as np

    run = tmp_path / "run"
    code = train(
        f"run_dir={run}",
        "optimizer=adamw",
        "optimizer.lr=1e36",
        "trainer.gradient_clip_val=null",
        "trainer.max_steps=50",
    )
    refused(capfd, code, "the loss is", "Lower optimizer.lr")
    folder = next((run / "non_finite").iterdir())
    batch = np.load(folder / "batch.npz", allow_pickle=False)
    assert batch["inputs"].shape == batch["targets"].shape == (4, 32)
    assert json.loads((folder / "norms.json").read_text())["norms"]
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"
    assert all(path.stem <= f"step_{int(folder.name[5:]) - 1:08d}" for path in (run / "checkpoints").glob("*.ckpt"))


@pytest.mark.parametrize(
    "change",
    ["trainer.gradient_clip_val=0.5", "trainer.precision=64-true", "matmul_precision=highest", "model.qk_norm=false"],
)
def test_what_bends_the_curve_is_refused_on_resume(capfd, tmp_path, change):
    assert train(f"run_dir={tmp_path / 'run'}", "trainer.max_steps=2") == 0
    capfd.readouterr()
    refused(capfd, train(f"run_dir={tmp_path / 'run'}", change), change.split("=")[0], "was", "now")


def test_a_first_try_that_failed_does_not_bind_the_run_folder(capfd, tmp_path):
    run = tmp_path / "run"
    small = [
        "experiment=quick",
        "data=text",
        "tokenizer=byte",
        "model.n_layer=1",
        "model.block_size=32",
        "batch_size=4",
    ]
    rest = ["trainer.max_steps=2", "schedule.warmup_steps=0", "callbacks.samples.n_samples=0", "logger=none"]
    for name, text in (("short.txt", "too short"), ("long.txt", "long enough " * 200)):
        (tmp_path / name).write_text(text)
    arguments = ["train", *small, *rest, f"run_dir={run}"]
    refused(capfd, main([*arguments, f"data.source={tmp_path / 'short.txt'}"]), "block_size")
    assert main([*arguments, f"data.source={tmp_path / 'long.txt'}"]) == 0


def test_a_device_that_is_not_there(capfd, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(capfd, train(f"run_dir={tmp_path / 'run'}", "trainer.accelerator=gpu"), "trainer:")


def test_leftovers_of_a_kill_are_removed_and_an_older_model_comes_back(tmp_path):
    run = tmp_path / "run"
    assert train(f"run_dir={run}", "trainer.max_steps=2") == 0
    weights = (run / "model" / "model.safetensors").read_bytes()
    (run / "model").rename(run / ".model.abc.tmp-old")
    (run / ".model.abc.tmp").mkdir()
    (run / "checkpoints" / ".step_00000004.ckpt.abc.tmp").write_bytes(b"half")
    assert train(f"run_dir={run}", "trainer.max_steps=4", "trainer.limit_val_batches=0") == 0
    assert not list(run.rglob(".*"))
    assert (run / "model" / "model.safetensors").read_bytes() == weights


def test_debug_shows_the_traceback(capfd, tmp_path):
    assert train(f"run_dir={tmp_path / 'run'}", "model.n_embed=64", "debug=true") == 2
    assert "Traceback" in capfd.readouterr().err


# Other commands


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian"], "did you mean train?"),
        (["generate"], "model: missing"),
        (["generate", "model=nowhere"], "nowhere"),
        (["generate", "model=nowhere", "temprature=1"], "did you mean temperature?"),
        (["generate", "model=nowhere", "temperature=hot"], "temperature"),
        (["generate", "model=nowhere", "top_p=2"], "top_p"),
        (["generate", "model=nowhere", "prompt=a", "prompt_file=b"], "prompt_file"),
    ],
)
def test_commands(capfd, arguments, told):
    refused(capfd, main(arguments), told)
