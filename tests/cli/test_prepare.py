"""`prepare` as a user meets it: where the shards are, and whether they are whole."""

import json
from pathlib import Path

import pytest

from nanolit.cli.main import main

SMALL = ["data=village", "tokenizer=byte", "data.documents=20", "data.val_documents=3"]


@pytest.fixture
def prepare(tmp_path, capfd):
    def run(*overrides: str) -> tuple[int, str, str]:
        code = main(["prepare", *SMALL, f"paths.data_root={tmp_path}", *overrides])
        told = capfd.readouterr()
        return code, told.out, told.err

    return run


def test_a_shard_damaged_at_equal_size_is_found(prepare):
    code, out, _ = prepare("verify=true")
    assert code == 0 and "train" in out
    folder = Path(out.partition("verified in ")[2].partition("\n")[0])
    shard = folder / "train-00000.bin"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    assert prepare()[0] == 0, "opening reads headers only"
    code, _, err = prepare("verify=true")
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert code == 2 and str(shard) in line and "the file is damaged" in line


def test_verify_is_yes_or_no(prepare):
    code, _, err = prepare("verify=perhaps")
    assert code == 2 and "error: verify: got 'perhaps' (str), expected bool" in err


def test_pieces_in_processes_of_their_own_and_a_merge(tmp_path, capfd):
    """`--multirun` with a launcher: the jobs run elsewhere, and a failure there reaches the exit code."""
    village = [
        "data=village",
        "data.documents=200",
        "data.val_documents=20",
        "data.shard_bytes=20000",
        "tokenizer=byte",
    ]
    settings = [*village, f"paths.data_root={tmp_path}"]
    launched = ["--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert main(["prepare", *settings, *launched, "prepare.piece=range(0,3)"]) == 0, capfd.readouterr().err
    assert not list(tmp_path.glob("*/manifest.json"))
    assert main(["prepare", *settings, "prepare.merge=true"]) == 0
    assert main(["prepare", *village, f"paths.data_root={tmp_path / 'alone'}"]) == 0
    (pieces,), (alone,) = tmp_path.glob("village-*"), (tmp_path / "alone").glob("village-*")
    for path in alone.rglob("*"):
        assert path.is_dir() or (pieces / path.relative_to(alone)).read_bytes() == path.read_bytes()
    assert main(["prepare", *settings, *launched, "prepare.piece=range(0,3)", "prepare.pieces=2", "data.seed=1"]) == 2
    assert "error: prepare.piece=2: must be 0 to 1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["prepare.piece=0"], "prepare.pieces: not given"),
        (["prepare.pieces=3"], "prepare.pieces: only says how many there are beside prepare.piece"),
        (["prepare.piece=0", "prepare.pieces=2", "prepare.merge=true"], "prepare.merge: joins all pieces"),
        (["prepare.workers=0"], "prepare.workers=0: must be at least 1"),
        (["prepare.merge=true"], "prepare.merge: 0 of 2 jobs of village-"),
    ],
)
def test_pieces_that_make_no_sense(tmp_path, capfd, settings, message):
    assert (
        main(
            ["prepare", "data=village", "data.documents=9", *settings, "tokenizer=byte", f"paths.data_root={tmp_path}"]
        )
        == 2
    )
    assert f"error: {message}" in capfd.readouterr().err


def test_evaluation_items_that_stand_in_the_text_are_reported(tmp_path, capfd):
    items = [
        "Seven brown goats walked slowly over the old wooden bridge before the sun went down",
        "this is nowhere " * 9,
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"question": item}) + "\n" for item in items))
    rows = [f"row {i} says nothing in particular" for i in range(300)]
    rows[200] = f"Somebody wrote: {items[0].lower()}."
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    settings = [
        "data=text",
        f"data.source={tmp_path / 'rows.jsonl'}",
        "tokenizer=byte",
        f"paths.data_root={tmp_path / 'root'}",
    ]
    assert main(["prepare", *settings, f"prepare.contamination=[{tmp_path / 'items.jsonl'}]"]) == 0
    assert "items.jsonl: 1 of 2 items (50.0%) stand in the training text" in capfd.readouterr().out
    (report,) = (tmp_path / "root").glob("text-*/contamination.json")
    (example,) = json.loads(report.read_text())["files"][0]["examples"]
    assert (example["item"], example["documents"], example["first"]) == (0, 1, "job 0, document 201")
