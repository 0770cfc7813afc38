"""`train` and `generate` as a user meets them: the run folder, sweeps, loggers, and text out of a finished run."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nanolit.cli import hydra_app
from nanolit.cli.main import main
from nanolit.cli.train import train as train_from_config

TINY = [
    "experiment=quick",
    "data.documents=60",
    "data.val_documents=6",
    "tokenizer=byte",
    "model.n_layer=1",
    "model.n_embd=16",
    "model.n_head=2",
    "model.block_size=32",
    "batch_size=4",
    "trainer.max_steps=6",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=0",
    "callbacks.evaluate.every_steps=3",
    "callbacks.checkpoint.every_steps=2",
    "callbacks.metrics.every_steps=2",
    "callbacks.samples.every_steps=3",
    "callbacks.samples.max_new_tokens=6",
]


@pytest.fixture(autouse=True)
def one_place_for_data(village_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(village_root))


@pytest.fixture(scope="module")
def run(tmp_path_factory, village_root) -> Path:
    """A finished run with two loggers."""
    folder = tmp_path_factory.mktemp("run") / "mine"
    arguments = [*TINY, f"paths.data_root={village_root}", "logger=[tensorboard,csv]", f"run_dir={folder}"]
    assert main(["train", *arguments]) == 0
    return folder


# The run folder


def test_a_run_folder_explains_itself(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.yaml", "command.txt", "environment.json", "data.json", "metrics.jsonl", "summary.json", "run.log"),
        *("checkpoints", "model", "samples", "tensorboard", "csv"),
    }
    environment = json.loads((run / "environment.json").read_text())
    assert environment["run_id"] and len(environment["git_commit"] or "0" * 40) == 40
    data = json.loads((run / "data.json").read_text())
    assert data["splits"]["train"]["tokens"] > data["splits"]["val"]["tokens"] > 0
    assert Path(data["folder"]).is_dir()
    assert len((run / "command.txt").read_text().splitlines()) == 1
    assert "tokenizer=byte" in (run / "command.txt").read_text()
    assert "training new weights:" in (run / "run.log").read_text()
    assert {path.name for path in (run / "model").iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    assert [path.name for path in sorted((run / "samples").iterdir())] == ["step_00000003.txt", "step_00000006.txt"]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_metrics_and_summary_agree(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "val/loss" in line) for line in lines] == [
        (2, False),
        (3, True),
        (4, False),
        (6, False),
        (6, True),
    ]
    assert all(line["tokens"] == line["step"] * 4 * 32 for line in lines)
    assert {"train/loss", "optim/lr", "optim/grad_norm", "perf/tok_per_s", "perf/step_ms"} <= set(lines[0])
    assert {"val/loss", "val/ppl", "val/bpb", "val/accuracy"} <= set(lines[1])
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["step"], summary["tokens"]) == ("finished", 6, 6 * 4 * 32)
    assert summary["metrics"]["val/loss"] == lines[-1]["val/loss"]
    assert 0 < summary["train_seconds"] <= summary["wall_seconds"]
    assert summary["peak_memory_bytes"] > 10**7
    assert summary["best"]["value"] == min(line["val/loss"] for line in lines if "val/loss" in line)


def test_both_loggers_have_the_points(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("val/loss")] == [3, 6]
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6]
    assert "samples/0/text_summary" in events.Tags()["tensors"]
    assert len((run / "csv" / "metrics.csv").read_text().splitlines()) == 1 + 5


def test_the_stored_configuration_rebuilds_the_run(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"run_dir": str(tmp_path / "again"), "logger": {}}
    assert train_from_config(config) == 0
    ours, theirs = ((folder / "model" / "model.safetensors").read_bytes() for folder in (tmp_path / "again", run))
    assert ours == theirs


def test_ends_with_three_lines(tmp_path, capfd):
    assert main(["train", *TINY, "logger=none", f"run_dir={tmp_path}"]) == 0
    lines = capfd.readouterr().out.splitlines()[-3:]
    assert [line.split()[0] for line in lines] == ["run", "validation", "next"]
    assert str(tmp_path) in lines[0] and "bits per byte after 6 steps" in lines[1]
    assert lines[2].endswith(f"nanolit generate model={tmp_path}")


def test_cfg_job_prints_and_trains_nothing(tmp_path, capfd):
    assert main(["train", *TINY, "--cfg", "job", f"run_dir={tmp_path / 'run'}"]) == 0
    printed = yaml.safe_load(capfd.readouterr().out)
    assert printed["model"]["n_embd"] == 16 and printed["name"] == "quick"
    assert not (tmp_path / "run").exists()


# Sweeps


def test_multirun_makes_a_folder_for_each_job_and_no_other(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OUT_DIR", str(tmp_path / "runs"))
    assert main(["train", *TINY, "logger=none", "optimizer.lr=0.01,0.02,0.04", "--multirun"]) == 0
    (sweep,) = (tmp_path / "runs" / "quick").iterdir()
    folders = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == [f"{i}_optimizer.lr={lr}" for i, lr in enumerate((0.01, 0.02, 0.04))]
    rates, models, ids = set(), set(), set()
    for folder in folders:
        rates.add(yaml.safe_load((folder / "config.yaml").read_text())["optimizer"]["lr"])
        models.add((folder / "model" / "model.safetensors").read_bytes())
        ids.add(json.loads((folder / "environment.json").read_text())["run_id"])
        assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
        assert sum("training new weights:" in line for line in (folder / "run.log").read_text().splitlines()) == 1
    assert rates == {0.01, 0.02, 0.04}
    assert len(models) == len(ids) == 3


def test_a_job_of_a_sweep_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OUT_DIR", str(tmp_path / "runs"))
    assert main(["train", *TINY, "logger=none", "model.n_head=3,2", "-m"]) == 2
    assert "multiple of model.n_head=3" in capfd.readouterr().err
    assert len(list((tmp_path / "runs").rglob("summary.json"))) == 1


@pytest.mark.slow
def test_wandb_offline_is_one_run_for_each_job(tmp_path, monkeypatch, capfd):
    import wandb

    monkeypatch.setenv("OUT_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["train", *TINY, "logger=wandb", "seed=1,2", "-m"]) == 0
    assert wandb.run is None
    runs = sorted((tmp_path / "runs").rglob("offline-run-*"))
    assert len({path.name.rsplit("-", 1)[1] for path in runs if path.is_dir()}) == 2
    for environment in (tmp_path / "runs").rglob("environment.json"):
        run_id = json.loads(environment.read_text())["run_id"]
        assert any(path.name.endswith(run_id) for path in environment.parent.rglob("offline-run-*"))


# The command itself


def test_python_m_nanolit(tmp_path):
    done = subprocess.run([sys.executable, "-m", "nanolit", "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("nanolit ")


@pytest.mark.parametrize("command", [[], ["train"], ["prepare"], ["generate"]])
def test_help(capfd, command):
    assert main([*command, "--help"]) == 0
    assert "usage:" in capfd.readouterr().out


def test_conf_is_found_inside_a_package_without_a_clone(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "nanolit"
    (package / "conf").mkdir(parents=True)
    (package / "conf" / "train.yaml").touch()
    monkeypatch.setattr(hydra_app, "__file__", str(package / "cli" / "hydra_app.py"))
    assert hydra_app.config_folder() == package / "conf"


# Generate


def generate(capfd, run: Path, *arguments: str) -> str:
    capfd.readouterr()
    assert main(["generate", f"model={run}", "max_new_tokens=12", "device=cpu", *arguments]) == 0
    return capfd.readouterr().out


def test_generate_from_a_run_and_from_its_model(capfd, run):
    texts = [generate(capfd, path, "prompt=Once, there: was", "seed=5") for path in (run, run / "model")]
    assert texts[0] == texts[1]
    assert texts[0].startswith("Once, there: was")
    assert len(texts[0]) > len("Once, there: was\n")


def test_seed_decides_the_samples(capfd, run):
    first, again, other = (generate(capfd, run, "prompt=A", f"seed={seed}", "n_samples=3") for seed in (1, 1, 2))
    assert first == again != other
    samples = first.split("\n---\n")
    assert len(samples) == 3 and len(set(samples)) == 3
    assert all(sample.startswith("A") for sample in samples)
    greedy = generate(capfd, run, "prompt=A", "temperature=0", "n_samples=2").split("---")
    assert greedy[0].strip() == greedy[1].strip()


def test_prompt_from_a_file_and_from_standard_input(capfd, run, tmp_path, monkeypatch):
    given = generate(capfd, run, "prompt=Über", "seed=3")
    (tmp_path / "prompt.txt").write_text("Über", encoding="utf-8")
    assert generate(capfd, run, f"prompt_file={tmp_path / 'prompt.txt'}", "seed=3") == given
    monkeypatch.setattr("sys.stdin", io.StringIO("Über"))
    assert generate(capfd, run, "seed=3") == given


def test_typed_prompts_are_answered_until_the_input_ends(capfd, run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed = iter(["One", "Two"])

    def answer() -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    told = generate(capfd, run, "seed=3")
    assert told.startswith("One") and "\nTwo" in told and "> " not in told


def test_stop_strings_end_the_text_and_are_not_shown(capfd, run):
    free = generate(capfd, run, "prompt=A", "temperature=0", "max_new_tokens=40").rstrip("\n")[1:]
    stop = free[len(free) // 2 :][:1]
    told = generate(capfd, run, "prompt=A", "temperature=0", "max_new_tokens=40", f"stop={stop}").rstrip("\n")[1:]
    assert told == free.split(stop)[0].rstrip("\n")
