import json

from nanolit.training.callbacks.metrics import rewind


def test_rewind_drops_later_records_and_a_line_cut_in_two(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "train/loss": 1.0 / step}) for step in (5, 10, 10, 15)]
    path.write_text("\n".join(lines) + '\n{"step": 20, "trai')
    kept = rewind(path, 10)
    assert [record["step"] for record in kept] == [5, 10, 10]
    assert path.read_text() == "\n".join(lines[:3]) + "\n"


def test_rewind_drops_the_evaluation_that_is_repeated(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 5, "val/loss": 2.0}, {"step": 10, "train/loss": 1.0}, {"step": 10, "val/loss": 1.5}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert rewind(path, 10) == lines
    assert rewind(path, 10, evaluation_pending=True) == lines[:2]


def test_a_run_from_the_start_begins_with_no_records(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 5}\n')
    assert rewind(path, 0) == []
    assert path.read_text() == ""


def test_no_file_is_fine(tmp_path):
    assert rewind(tmp_path / "metrics.jsonl", 3) == []
