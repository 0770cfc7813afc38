"""The report of a pipeline: what the parts have written, in both forms, escaped and whole."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nanolit.report.pages import curve, html, markdown
from nanolit.report.sections import duration, gather

SCORE = {
    "task": "village_quiz", "metric": "accuracy", "value": 0.915, "n": 200, "standard_error": 0.02, "by_chance": 0.25,
    "shots": 0, "prompt_hash": "abc", "template": "chat", "extractor": "letter", "centred": 0.887,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    for stage, reward in (("base", None), ("rl", 0.75)):
        run = tmp_path / stage
        (run / "samples").mkdir(parents=True)
        (run / "config.yaml").write_text("batch_size: 16\ninit_lr_frac: 0.5\n")
        (run / "command.txt").write_text("2026-11-26T10:00:00  python train.py <a> & b\n")
        (run / "environment.json").write_text(
            json.dumps({"cpu": "A CPU", "cores": 2, "memory_bytes": 2**34, "packages": {}})
        )
        latest = {"val/loss": 1.25, "val/bpb": 0.5} if reward is None else {"rl/reward": reward}
        (run / "summary.json").write_text(
            json.dumps({"step": 30, "tokens": 12345, "train_seconds": 61, "metrics": latest})
        )
        lines = [
            {"step": i, "train/loss": 2 - i / 10} if reward is None else {"step": i, "rl/reward": i / 4}
            for i in range(4)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (run / "samples" / "step_00000030.txt").write_text("<script>alert(1)</script> ``` | x")
    (tmp_path / "base" / "eval_loss.json").write_text(
        json.dumps({"result": {"loss": 1.25, "bpb": 0.5, "n_tokens": 1000}})
    )
    found = {
        "scores": [SCORE, SCORE | {"metric": "other", "value": 0.1}],
        "means": [{"name": "village mean", "value": 0.9}],
    }
    (tmp_path / "rl" / "eval_tasks.json").write_text(json.dumps(found))
    ended = [
        {"part": "base", "begun": 1.8e9, "seconds": 90.0, "code": 0},
        {"part": "rl", "begun": 1.8e9, "seconds": 30, "code": 0},
    ]
    begun = [{"part": "base", "begun": 1.7e9}, *({"part": p["part"], "begun": p["begun"]} for p in ended)]
    parts = [*begun, *ended]
    (tmp_path / "seconds.jsonl").write_text("".join(json.dumps(part) + "\n" for part in parts) + '{"part": "cut')
    return tmp_path


def test_both_forms_tell_what_the_parts_have_written(folder):
    (folder / "choices").mkdir()
    (folder / "choices" / "command.txt").write_text("now  train\n")
    report = gather(folder, "mine", ["base", "choices", "rl"], dollars_per_hour=3.0)  # one was not scored
    assert report.columns == ["BASE", "RL"]
    assert dict(report.summary) == {
        "bits per byte": ["0.5000", "-"],
        "village_quiz": ["-", "91.5%"],
        "village mean": ["-", "0.9000"],
    }
    took = "2 min 00 s, and what 1 part(s) took that were killed"
    assert dict(report.total) == {"wall-clock time": took, "cost": "$0.10 at $3 an hour"}
    text, page = markdown(report), html(report)
    for told in ("A CPU", "1.25", "12,345", "1 min 01 s", "91.5%", "village_quiz", "2 min 00 s", "rl/reward"):
        assert told in text and told in page
    assert "<script>" not in page and page.count("<svg") == 2
    assert "```text" in text and text.count("```") == 2 * text.count("```text")


def test_the_page_is_well_formed_and_asks_for_nothing(folder):
    page = html(gather(folder, "mine & co", ["base", "rl"], None))
    opened: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "line", "polyline"):
                opened.append(tag)
            assert not {"src", "href"} & {name for name, _ in attrs}

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(page.replace("/>", ">"))
    assert not opened and "mine &amp; co" in page


def test_a_curve_stays_within_its_axes():
    svg = curve("x", [(0, 1.0), (5, 3.0), (10, 2.0)])
    points = [tuple(map(float, p.split(","))) for p in svg.split('points="')[1].split('"')[0].split()]
    assert points[0][0] == 52 and points[-1][0] == 432 and min(y for _, y in points) == 20
    assert "svg" in curve("flat", [(0, 1.0)])


def test_durations():
    assert [duration(s) for s in (5, 65, 3600, 7265)] == ["5 s", "1 min 05 s", "1 h 00 min", "2 h 01 min"]


def test_what_a_tokenizer_needs_is_a_table(tmp_path):
    ratios = {"ours": 4.0, "gpt2": 3.2}
    text = {"text": "news", "bytes_per_token": ratios, "difference_percent": {"gpt2": -20.0}}
    (tmp_path / "tokenizer_eval").mkdir()
    (tmp_path / "tokenizer_eval" / "tokenizer_eval.json").write_text(json.dumps({"texts": [text]}))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "command.txt").write_text("now  train\n")
    report = gather(tmp_path, "mine", ["base"], None)
    head, row = report.sections[0].text.splitlines()
    assert head.split()[-2:] == ["ours", "gpt2"] and row.split() == ["news", "4.00", "3.20", "(-20", "%)"]
