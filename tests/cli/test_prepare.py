"""`prepare` as a user meets it: where the shards are, and whether they are whole."""

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
    folder = Path(out.partition("verified in ")[2].strip())
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
