import json

import pytest
import torch

from nanolit.runtime import devices


def test_description_is_json_and_says_what_torch_says() -> None:
    description = json.loads(json.dumps(devices.describe()))
    assert description["torch"] == torch.__version__ and len(description["gpus"]) == torch.cuda.device_count()
    assert description["cores"] >= 1 and description["memory_bytes"] > 1e8 and description["cpu"]


def test_pick_device() -> None:
    assert devices.pick_device("cpu") == torch.device("cpu")
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    assert present[devices.pick_device("auto").type]
    assert devices.pick_device("auto").type != "cpu" or not (present["cuda"] or present["mps"])
    for wrong in ("gpu", "cuda:x", ""):
        with pytest.raises(ValueError, match="expected auto, cpu, cuda, cuda:N or mps"):
            devices.pick_device(wrong)
    for name in (name for name, is_there in present.items() if not is_there):
        with pytest.raises(ValueError, match=f"device: {name} is not available here"):
            devices.pick_device(name)


@pytest.mark.parametrize(
    ("name", "dtype", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", torch.bfloat16, 989),
        ("NVIDIA H100 PCIe", torch.bfloat16, 756),
        ("NVIDIA GH200 480GB", torch.float16, 989),
        ("NVIDIA A100-SXM4-80GB", torch.float32, 156),
        ("NVIDIA A10G", torch.bfloat16, 70),
        ("NVIDIA L40S", torch.bfloat16, 362),
        ("NVIDIA L4", torch.bfloat16, 121),
        ("Tesla T4", torch.float16, 65),
    ],
)
def test_known_gpus(monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype, tflops: float) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert devices.peak_flops("cuda", dtype) == tflops * 1e12


def test_each_name_finds_itself_first() -> None:
    for name in devices.PEAK_TFLOPS:
        assert next(known for known in devices.PEAK_TFLOPS if known in name) == name


def test_an_unknown_device_is_measured_once() -> None:
    measured = devices.peak_flops("cpu", torch.float32)
    assert 1e9 < measured < 1e15 and devices.peak_flops(torch.device("cpu"), torch.float32) == measured
