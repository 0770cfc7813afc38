"""What samples begin with: anything that the tokenizer knows, and nothing that would end a run later."""

import pytest

from nanolit.cli.main import main
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.training.callbacks.samples import fresh_beginning

TINY = [
    "experiment=quick",
    "data=text",
    "tokenizer=char",
    "data.append_eot=false",
    "model.n_layer=1",
    "model.n_embd=16",
    "model.n_head=2",
    "model.block_size=16",
    "batch_size=4",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=0",
    "callbacks.samples.every_steps=1",
    "callbacks.samples.max_new_tokens=4",
    "logger=none",
]


@pytest.mark.parametrize(
    ("tokenizer", "beginning"),
    [(ByteTokenizer(), ""), (CharTokenizer("\t\nab"), "\n"), (CharTokenizer("ba"), "a")],
)
def test_a_document_begins_with_what_the_vocabulary_has(tokenizer, beginning):
    assert fresh_beginning(tokenizer) == beginning


@pytest.fixture
def train(tmp_path):
    (tmp_path / "one_line.txt").write_text("hello world, " * 60)
    places = [f"data.source={tmp_path / 'one_line.txt'}", f"paths.data_root={tmp_path}", f"run_dir={tmp_path / 'run'}"]
    return lambda *overrides: main(["train", *TINY, *places, *overrides])


@pytest.mark.parametrize(("overrides", "begins"), [([], " "), (["callbacks.samples.prompt=hello"], "hello")])
def test_a_text_without_line_breaks_trains_and_writes(train, tmp_path, overrides, begins):
    assert train(*overrides) == 0
    assert (tmp_path / "run" / "samples" / "step_00000001.txt").read_text().startswith(begins)


def test_a_prompt_that_cannot_be_encoded_is_refused_before_the_first_step(train, tmp_path, capfd):
    assert train("callbacks.samples.prompt=hello?", "callbacks.samples.every_steps=null") == 2
    told = capfd.readouterr().err
    assert "error: callbacks.samples.prompt: character '?' at position 5" in told
    assert not (tmp_path / "run" / "metrics.jsonl").exists() and not (tmp_path / "run" / "checkpoints").exists()
