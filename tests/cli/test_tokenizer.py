"""`nanolit tokenizer` as a user meets it."""

import json
import re

import pytest

from nanolit.cli.tokenizer import main
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.sample_texts import SAMPLE_TEXTS
from nanolit.tokenizers.tiktoken_bpe import PATTERNS
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.tokenizers.words import grokking_tokenizer
from nanolit.village import documents

VILLAGE = ["data=village", "data.documents=60", "data.val_documents=6"]


@pytest.fixture
def tokenizer(tmp_path, capfd):
    def run(command: str, *arguments: str) -> tuple[int, str, str]:
        code = main([command, *arguments, f"paths.data_root={tmp_path / 'data'}"])
        told = capfd.readouterr()
        return code, told.out, told.err

    return run


def test_train_learns_from_the_training_text(tokenizer, tmp_path):
    out = tmp_path / "made"
    code, told, _ = tokenizer("train", *VILLAGE, "tokenizer.vocab_size=400", f"out={out}")
    assert code == 0
    made = load_tokenizer(out)
    assert made.fingerprint == train_bpe(documents(0, "train", 0, 60), 400).fingerprint
    text = "".join(documents(0, "val", 0, 6))
    assert f"{len(text.encode()) / len(made.encode(text)):.3f} bytes per token on {len(text.encode()):,} bytes" in told
    assert re.search(r"MB/s\n400 ids: 256 bytes, 143 merges, <\|endoftext\|>\n", told)
    next_command = told.splitlines()[-1].split()
    assert next_command[:2] == ["nanolit", "prepare"] and next_command[-2:] == [
        "tokenizer=folder",
        f"tokenizer.path={out}",
    ]


def test_every_setting_of_the_training_counts(tokenizer, tmp_path):
    (tmp_path / "text.txt").write_text("abcabcabc " * 50 + "xyz " * 500)
    out = tmp_path / "made"
    settings = ["tokenizer.vocab_size=300", "tokenizer.specials=chat", "tokenizer.pattern=gpt4"]
    capped = ["tokenizer.max_document_chars=400", "tokenizer.train_chars=300"]
    code, told, _ = tokenizer(
        "train", "data=text", f"data.source={tmp_path / 'text.txt'}", *settings, *capped, f"out={out}"
    )
    assert code == 0 and told.startswith("300 characters") and "note: 300 were asked for" in told
    made = load_tokenizer(out)
    assert (tuple(made.specials), made.pattern) == (CHAT_SPECIALS, PATTERNS["cl100k_base"])
    assert len(made.encode("abcabcabc")) == 1 and len(made.encode("xyz")) == 3


def test_what_lies_in_the_folder_is_kept(tokenizer, tmp_path):
    out = tmp_path / "made"
    ByteTokenizer().save(out)
    code, _, error = tokenizer("train", *VILLAGE, f"out={out}")
    assert code == 2 and "holds a tokenizer already" in error and load_tokenizer(out).kind == "byte"
    assert tokenizer("train", *VILLAGE, "tokenizer.vocab_size=300", f"out={out}", "overwrite=true")[0] == 0
    assert load_tokenizer(out).vocab_size == 300
    (out / "model.safetensors").write_bytes(b"")
    code, _, error = tokenizer("train", *VILLAGE, f"out={out}", "overwrite=true")
    assert code == 2 and "holds other things than a tokenizer (model.safetensors)" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", *VILLAGE], "error: out: not given; say which folder"),
        (["train", *VILLAGE, "out=made", "tokenizer.vocab_size=9"], "tokenizer.vocab_size=9: tokenizer.kind=bpe needs"),
        (["train", *VILLAGE, "out=made", "tokenizer.patern=gpt2"], "did you mean tokenizer.pattern?"),
        (["train", "data=grokking", "out=made"], "data.kind=grokking: has no text"),
        (["train", *VILLAGE, "out=made", "tokenizer=byte"], "tokenizer.kind=byte: is not trained; only bpe is"),
        (["train", *VILLAGE, "out=pyproject.toml"], "out: pyproject.toml is a file"),
        (["eval", "model=nowhere"], "nowhere: no tokenizer.json in it"),
        (["eval"], "tokenizer.path: not given"),
        (["eval", "tokenizer=byte", "against=[gpt3]"], "against: no encoding 'gpt3'; did you mean gpt2?"),
        (["eval", "tokenizer=bpe"], "tokenizer.kind=bpe: is made from text; give data=NAME"),
        (["trian"], "nanolit tokenizer trian: no such command; did you mean train?"),
    ],
)
def test_a_mistake_is_one_line(tokenizer, root, monkeypatch, arguments, message):
    monkeypatch.chdir(root)
    code, _, error = tokenizer(*arguments)
    (line,) = error.splitlines()
    assert code == 2 and message in line and not (root / "made").exists()


def test_help_is_there_for_each(capfd):
    for argv in ([], ["--help"], ["train", "--help"], ["eval", "-h"]):
        assert main(argv) == 0
        assert capfd.readouterr().out.startswith("usage: nanolit tokenizer")


def test_eval_compares_on_every_text(tokenizer, tmp_path, tiktoken_cache):
    import tiktoken

    train_bpe(documents(0, "train", 0, 60), 400).save(tmp_path / "made")
    code, told, _ = tokenizer("eval", f"model={tmp_path / 'made'}", *VILLAGE, f"out={tmp_path / 'out'}")
    assert code == 0 and len(told.splitlines()) == 1 + 7 + 1
    found = json.loads((tmp_path / "out" / "tokenizer_eval.json").read_text())
    own = {"own train": documents(0, "train", 0, 60), "own val": documents(0, "val", 0, 6)}
    texts = {**SAMPLE_TEXTS, **{name: "".join(text) for name, text in own.items()}}
    made = load_tokenizer(tmp_path / "made")
    assert found["tokenizer"]["fingerprint"] == made.fingerprint
    assert [row["text"] for row in found["texts"]] == list(texts)
    for row in found["texts"]:
        text = texts[row["text"]]
        theirs = len(tiktoken.get_encoding("gpt2").encode_ordinary(text))
        assert row["round_trip"] and row["n_bytes"] == len(text.encode())
        assert (row["n_tokens"]["ours"], row["n_tokens"]["gpt2"]) == (len(made.encode(text)), theirs)
        assert row["difference_percent"]["gpt2"] == 100 * (theirs - len(made.encode(text))) / theirs
        assert row["bytes_per_token"]["cl100k_base"] == row["n_bytes"] / row["n_tokens"]["cl100k_base"]
        assert f"{row['n_tokens']['ours']:,}" in told
    assert (tmp_path / "out" / "tokenizer_eval.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_had_or_encoded_is_left_out(tokenizer, tmp_path, monkeypatch):
    import requests
    import tiktoken

    def no_network(url, *_, **__):
        raise requests.exceptions.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", no_network)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    code, told, _ = tokenizer("eval", "tokenizer=byte", "against=[gpt2]")
    notes = [line for line in told.splitlines() if line.startswith("note: ")]
    assert code == 0 and len(notes) == 1 and "gpt2 is left out: tokenizer.name=gpt2: tiktoken cannot get" in notes[0]
    assert "Korean" in told and "1.00" in told
    grokking_tokenizer(5).save(tmp_path / "words")
    code, told, error = tokenizer("eval", f"model={tmp_path / 'words'}", "against=[]")
    assert code == 2 and told.count("is left out: the word") == 5 and "it can encode none of the texts" in error


@pytest.mark.parametrize("name", SAMPLE_TEXTS)
def test_the_texts_are_of_a_size_and_plain(name):
    text = SAMPLE_TEXTS[name]
    assert 1000 <= len(text.encode()) <= 2000 and text.endswith("\n") and "\\\n" not in text
