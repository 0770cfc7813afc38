"""Safetensors files against the library's own reader and writer, and against the memory they may take."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from nanolit.models.tensor_files import DTYPES, INDEX, WEIGHTS, Spec, Tensors, open_tensors, write_tensors


def some_tensors():
    torch.manual_seed(0)
    return {
        "b.half": torch.randn(3, 5).half(),
        "a.float": torch.randn(7),
        "c.brain": torch.randn(2, 3, 4).bfloat16(),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "ids": torch.arange(6).view(2, 3),
        "flags": torch.tensor([True, False, True]),
        "transposed": torch.randn(4, 6).t(),
        "wide": torch.randn(2, 2, dtype=torch.float64),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_the_library_reads_what_we_write_and_we_read_what_it_writes(tmp_path):
    tensors = some_tensors()
    write_tensors(tmp_path, Tensors.of(tensors))
    assert_same(load_file(tmp_path / WEIGHTS), tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / WEIGHTS)
    stored = open_tensors(tmp_path)
    assert_same({name: stored.get(name) for name in stored.specs}, tensors)
    assert stored.specs == Tensors.of(tensors).specs


def test_shards_keep_to_their_size_and_are_read_by_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2
    )
    theirs = transformers.LlamaForCausalLM(config)
    tensors = dict(theirs.state_dict())
    write_tensors(tmp_path, Tensors.of(tensors), max_shard_bytes=20_000)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 2 and not (tmp_path / WEIGHTS).exists()
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert all(path.stat().st_size < 20_000 + 4_000 for path in files), "a header is some 2 kB here"
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(t.numel() * 4 for t in tensors.values())
    config.save_pretrained(tmp_path)
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    assert_same(dict(again.state_dict()), tensors)

    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    stored = open_tensors(tmp_path / "theirs")
    assert_same({name: stored.get(name) for name in stored.specs}, tensors)


def test_a_dtype_changes_floating_tensors_only():
    narrow = Tensors.of(some_tensors()).as_dtype(torch.bfloat16)
    for name, spec in narrow.specs.items():
        assert narrow.get(name).dtype == spec.dtype
    kept = {name: spec.dtype for name, spec in narrow.specs.items() if spec.dtype != torch.bfloat16}
    assert kept == {"ids": torch.int64, "flags": torch.bool}


def test_all_dtypes_have_their_size():
    assert all(Spec((3,), dtype).n_bytes == 3 * dtype.itemsize for dtype in DTYPES.values())


def test_what_is_wrong_with_an_index_is_one_line(tmp_path):
    write_tensors(tmp_path, Tensors.of({"a": torch.zeros(9), "b": torch.zeros(9)}), max_shard_bytes=40)
    index = json.loads((tmp_path / INDEX).read_text())
    second = tmp_path / index["weight_map"]["b"]

    def error():
        with pytest.raises(ValueError) as found:
            open_tensors(tmp_path)
        assert "\n" not in str(found.value)
        return str(found.value)

    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {**index["weight_map"], "c": second.name}}))
    assert "holds no c, although" in error()
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {**index["weight_map"], "c": "../secret.safetensors"}}))
    assert "secret.safetensors: missing" in error()
    (tmp_path / INDEX).write_text("{}")
    assert "holds no weight_map" in error()
    (tmp_path / INDEX).write_text(json.dumps(index))
    second.write_bytes(second.read_bytes()[:-8])
    assert f"{second}: not a whole safetensors file" in error()
    second.unlink()
    assert f"{second}: missing, although {INDEX} names it" in error()


ONE_AT_A_TIME = """
import sys, torch
from nanolit.models.tensor_files import Spec, Tensors, open_tensors, write_tensors
from pathlib import Path

n, count = 2_000_000, 12  # 8 MB each
def held():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024
def watched(get):
    def watch(name):
        peaks.append(held())
        return get(name)
    return watch
torch.zeros(n).add_(1)
peaks = [held()]
made = watched(lambda name: torch.full((n,), float(name)))
write_tensors(Path(sys.argv[1]), Tensors({str(i): Spec((n,), torch.float32) for i in range(count)}, made))
stored = open_tensors(Path(sys.argv[1]))
write_tensors(Path(sys.argv[2]), Tensors(stored.specs, watched(stored.get)).as_dtype(torch.bfloat16))
print(len(peaks), max(peaks) - peaks[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells a process's private memory")
def test_writing_and_converting_hold_one_tensor_at_a_time(tmp_path):
    code = [sys.executable, "-c", ONE_AT_A_TIME, str(tmp_path / "a"), str(tmp_path / "b")]
    # Freed blocks go back at once only above a size that the C library raises up to 32 MB; real tensors are larger.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(code, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-400:]
    n_seen, grown_bytes = map(int, done.stdout.split())
    assert n_seen == 1 + 2 * 12 and grown_bytes < 3 * 8_000_000
    assert (tmp_path / "a" / WEIGHTS).stat().st_size > 96_000_000
    assert float(open_tensors(tmp_path / "b").get("11")[-1]) == 11.0
