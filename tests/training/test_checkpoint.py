"""Which checkpoint a run goes on from when some of them cannot be trusted."""

import logging

import pytest

from nanolit.runtime.files import sha256_file, write_json
from nanolit.training.callbacks.checkpoint import Checkpoint, newest_valid, sidecar


def make(run_dir, step: int, content: bytes = b"weights" * 100):
    path = run_dir / "checkpoints" / f"step_{step:08d}.ckpt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    facts = {"step": step, "bytes": len(content), "sha256": sha256_file(path), "evaluation_pending": False}
    write_json(sidecar(path), facts)
    return path


@pytest.fixture(autouse=True)
def heard(caplog):
    logging.getLogger("nanolit").propagate = True
    caplog.set_level(logging.WARNING, logger="nanolit")
    return caplog


def test_none_yet(tmp_path):
    assert newest_valid(tmp_path) is None


def test_the_newest(tmp_path):
    make(tmp_path, 9), make(tmp_path, 100)
    assert newest_valid(tmp_path).step == 100


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "truncated"),
        (lambda path: path.write_bytes(b"w" + path.read_bytes()[1:-1] + b"!"), "damaged"),
        (lambda path: sidecar(path).unlink(), "not ours"),
        (lambda path: sidecar(path).write_text("{"), "unreadable"),
    ],
)
def test_a_bad_one_is_passed_over_and_named(tmp_path, heard, damage, told):
    make(tmp_path, 10)
    damage(make(tmp_path, 20))
    assert newest_valid(tmp_path).step == 10
    assert told in heard.text and "step_00000020.ckpt" in heard.text and "step_00000010.ckpt" in heard.text


def test_only_bad_ones_is_an_error_not_a_fresh_start(tmp_path):
    path = make(tmp_path, 20)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no usable checkpoint"):
        newest_valid(tmp_path)


def test_pruning_counts_only_trusted_ones_and_drops_an_abandoned_branch(tmp_path):
    """Resumed at 90 because 100 was cut off; now 97 is saved: 90 and 97 stay, 100 goes."""
    make(tmp_path, 80)
    make(tmp_path, 90)
    sidecar(make(tmp_path, 100)).unlink()
    newest = make(tmp_path, 97)
    Checkpoint(keep=2)._prune(newest)
    assert [path.name for path in sorted(newest.parent.glob("*.ckpt"))] == ["step_00000090.ckpt", "step_00000097.ckpt"]
    assert newest_valid(tmp_path).step == 97
