"""`nanolit data inspect` and `nanolit data stats` as a user meets them, against the files themselves."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from nanolit.cli.data import InspectConfig, main, packing, shown
from nanolit.data.documents import Documents
from nanolit.data.prepared import Prepared

VILLAGE = ["data=village", "tokenizer=byte", "data.documents=40", "data.val_documents=5"]
PAIRS = [("2+2=", "4"), ("Grüße: ", "日本!"), ("capital of France?", " Paris")]


@pytest.fixture
def data(village_root, capfd):
    def run(*arguments: str) -> tuple[int, str, str]:
        root = [] if any(a.startswith("folder=") for a in arguments) else [f"paths.data_root={village_root}"]
        code = main([*arguments, *root])
        told = capfd.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def village(data) -> Prepared:
    code, out, err = data("stats", *VILLAGE, "count_ids=false")
    assert code == 0, err
    return Prepared.open(out.split(",")[0])


@pytest.fixture
def conversations(tmp_path) -> list[str]:
    """All but one for training; which one, their hashes say."""
    rows = [json.dumps({"prompt": prompt, "completion": completion}) for prompt, completion in PAIRS]
    (tmp_path / "train.jsonl").write_text("\n".join(rows[:2]))
    (tmp_path / "val.jsonl").write_text(rows[2])
    return ["data=conversations", f"data.source={tmp_path}", "tokenizer=byte", "block_size=8"]


def documents_of(prepared: Prepared, split: str) -> list[bytes]:
    """The text of each document, read without anything that is tested here; bytes are their own ids."""
    found = []
    for shard in prepared.shards(split):
        ends = [*shard.starts[1:], len(shard.tokens)]
        found += [bytes(shard.tokens[a : b - 1].astype(np.uint8)) for a, b in zip(shard.starts, ends, strict=True)]
    return found


def test_documents_are_shown_with_their_figures_and_borders(data, village):
    code, out, _ = data("inspect", *VILLAGE, "documents=1:3", "tokens=null", "block_size=64")
    assert code == 0
    texts = documents_of(village, "train")
    for number in (1, 2):
        raw = texts[number]
        assert f"document {number} of train: {len(raw) + 1:,} tokens, {len(raw):,} bytes\n" in out
        assert "│".join(raw.decode()) + "│<|endoftext|>\n" in out
    assert "document 0" not in out and "document 3" not in out and "[" not in out and "\033" not in out


def test_few_tokens_of_one_document_of_another_split_out_of_a_folder(data, village):
    code, out, _ = data("inspect", f"folder={village.folder}", "split=val", "document=4", "tokens=5", "block_size=64")
    raw = documents_of(village, "val")[4]
    assert code == 0 and "\n" + "│".join(raw[:5].decode()) + f"\n… and {len(raw) - 4:,} more tokens\n" in out


def test_every_way_of_packing_tells_its_waste(data, village):
    code, out, _ = data("inspect", f"folder={village.folder}", "block_size=64")
    lengths = np.array([len(raw) + 1 for raw in documents_of(village, "train")])
    # Each document is served behind the delimiter of the one before, which the first does not have.
    kept = np.minimum(lengths - (np.arange(len(lengths)) == 0), 64).sum()
    assert code == 0 and f"packing document: 40 documents in 40 rows of 64; {1 - kept / (40 * 64):.1%} padding" in out
    assert re.findall(r"  packing (\w+): ", out) == ["stream", "document", "best_fit", "best_fit_padded"]


def test_what_is_learnt_is_in_brackets(data, conversations):
    code, out, _ = data("inspect", *conversations)
    assert code == 0
    for number, (prompt, completion) in enumerate(PAIRS[:2]):
        n_prompt, n_answer = len(prompt.encode()), len(completion.encode()) + 1
        told = f"{n_prompt + n_answer} tokens, {n_answer} of them learnt, {n_prompt + n_answer - 1} bytes"
        assert f": {told}\n{'│'.join(prompt)}[{'│'.join(completion)}│<|endoftext|>]\n" in out, number
    assert "packing best_fit: cannot be; data.loader.packing" in out
    assert "best_fit_padded: 2 documents in 1 rows of 8; 37.5% padding, 76.2% of tokens dropped, 1 longer" in out


def test_colours_where_a_terminal_is_asked(village, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    documents, settings = Documents(village.shards("train")), InspectConfig(tokens=3)
    raw = documents_of(village, "train")[0].decode()
    found = re.findall(r"\033\[([\d;]+)m(.)\033\[0m", shown(village, documents, 0, settings))
    assert [text for _, text in found] == list(raw[:3])
    assert found[0][0] == found[2][0] != found[1][0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "│".join(raw[:3]) in shown(village, documents, 0, settings)


def test_a_row_too_long_for_the_split_is_told_in_its_place(village):
    (stream, *others) = packing(village, InspectConfig(split="val", block_size=100_000))
    assert stream.startswith("packing stream: cannot be; the split val has")
    assert all(line.startswith("packing ") and "5 documents" in line for line in others)


def test_stats_are_those_of_the_documents(data, village, tmp_path):
    code, out, _ = data("stats", f"folder={village.folder}", f"out={tmp_path / 'new'}")
    assert code == 0 and {path.name for path in (tmp_path / "new").iterdir()} == {"stats.json", "lengths.png"}
    told = json.loads((tmp_path / "new" / "stats.json").read_text())
    for split, facts in told["splits"].items():
        texts = documents_of(village, split)
        lengths = sorted(len(raw) + 1 for raw in texts)
        assert facts["documents"] == len(texts) and facts["bytes"] == sum(map(len, texts))
        assert facts["tokens"] == sum(lengths) == round(facts["bytes"] / facts["bytes_per_token"])
        found = facts["lengths"]
        assert (found["min"], found["max"]) == (lengths[0], lengths[-1])
        assert found["median"] == lengths[(len(lengths) - 1) // 2]
        assert found["longer_than"]["512"] == pytest.approx(sum(n > 512 for n in lengths) / len(lengths))
        assert facts["ids_never_used"] == 257 - len(set(b"".join(texts))) - 1  # end of text occurs too
        assert sum(facts["histogram"]["documents"]) == len(texts)
        assert f"{split}: {facts['ids_never_used']} of 257 ids never occur" in out
        assert re.search(rf"^documents .*\b{len(texts)}\b", out, re.M)
    assert max(map(len, out.split("\n\n", 1)[1].rsplit("\n\n", 1)[0].splitlines())) <= 80


def test_stats_of_conversations_tell_the_share_that_is_learnt(data, conversations):
    code, out, _ = data("stats", *conversations[:-1], "split=val", "count_ids=false")
    assert code == 0 and re.search(r"^tokens that are learnt +28\.0%$", out, re.M)  # 7 of 25
    assert "ids never occur" not in out and "in train" not in out


def test_errors_are_one_line(data, village):
    folder = f"folder={village.folder}"
    for arguments, told in (
        (["inspekt"], "data: no command 'inspekt'; did you mean inspect?"),
        ([], "data: which command is missing; give one of inspect, stats"),
        (["inspect", folder, "document=40"], "document: got 40, allowed: 0 to 39"),
        (["inspect", folder, "document=-1"], "document: got -1, allowed: 0 to 39"),
        (["inspect", folder, "documents=40:50"], "documents: got 40:50, allowed: from:to, of 0 to 39"),
        (["inspect", folder, "documents=3:3"], "to is not shown, so it must be greater than from"),
        (["inspect", folder, "documents=3"], "documents: got 3, allowed: two numbers, as 0:3"),
        (["inspect", folder, "tokens=0"], "tokens: got 0, must be at least 1, or null"),
        (["inspect", folder, "split=test"], f"{village.folder} has no test split in tokens, only train, val"),
        (["stats", folder, "split=test"], f"{village.folder} has no test split in tokens, only train, val"),
        (["stats", folder, "split=tests"], "split: got 'tests' (str), expected one of train, val, test"),
        (["stats", folder, "data.seed=3"], "data.seed: folder= is data that is prepared already"),
        (["stats", folder, f"out={__file__}"], f"out: {__file__} is a file; give a folder"),
        (["inspect", f"folder={village.folder.parent}"], f"{village.folder.parent}: no manifest.json in it"),
        (["inspect", folder, "tokenz=3"], "tokenz: no such setting; did you mean tokens?"),
    ):
        code, out, err = data(*arguments)
        assert code == 2 and out == "" and err.startswith("error: ") and told in err, (arguments, err)
        assert err.count("\n") == 1, err


def test_help_loads_nothing(capsys):
    for arguments in (["--help"], ["stats", "--help"]):
        assert main(arguments) == 0
        assert "usage: nanolit data inspect|stats" in capsys.readouterr().out
    heavy = ("torch", "lightning", "hydra", "numpy", "matplotlib")
    code = f"import sys, nanolit.cli.data as d; d.main(['--help']); print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
