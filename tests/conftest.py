"""What all tests share: no network, one thread, and where real data lies if it is there."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def tiny_shakespeare() -> Path:
    path = SHARED_DATA / "tinyshakespeare" / "input.txt"
    if not path.exists():
        pytest.skip(f"needs tiny Shakespeare at {path}")
    return path


@pytest.fixture(scope="session")
def village_root(tmp_path_factory) -> Path:
    """A DATA_ROOT shared by the tests of this process, so that the small village is prepared once."""
    return tmp_path_factory.mktemp("data_root")


@pytest.fixture
def tiktoken_cache(tmp_path, monkeypatch) -> Path:
    """Copies of tiktoken's files: tiktoken deletes a file that it finds wrong."""
    origin = SHARED_DATA / "tiktoken_cache"
    if not origin.exists():
        pytest.skip(f"needs tiktoken's files at {origin}")
    cache = tmp_path / "tiktoken_cache"
    cache.mkdir()
    for file in origin.iterdir():
        (cache / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    return cache
