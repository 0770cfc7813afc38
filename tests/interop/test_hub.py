"""Names on the hub, with its cache on this machine as it would be after a download, and without any network."""

import shutil

import pytest

hub_package = pytest.importorskip("huggingface_hub")

from nanolit.interop import hub  # noqa: E402

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_package.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_package.constants, "HF_HUB_OFFLINE", True)

    def put(repository: str, *files: str):
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(REVISION)
        snapshot = folder / "snapshots" / REVISION
        snapshot.mkdir(parents=True)
        for file in files:
            (snapshot / file).write_text("{}")
        return snapshot

    return put


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("gpt2", "openai-community/gpt2"),
        ("gpt2-xl", "openai-community/gpt2-xl"),
        ("karpathy/nanochat-d32", "karpathy/nanochat-d32"),
        ("org/a.b_c-1", "org/a.b_c-1"),
        ("gpt3", None),
        ("a/b/c", None),
        ("../model", None),
        ("./model", None),
        ("~/model", None),
        ("/tmp/model", None),
        ("org/", None),
        ("", None),
    ],
)
def test_what_can_be_a_name(name, full):
    assert hub.full_name(name) == full


def test_what_is_there_is_found_without_a_network(cache):
    folder = cache("openai-community/gpt2", "config.json", "model.safetensors", "tokenizer.json")
    assert hub.snapshot("gpt2").samefile(folder)
    assert hub.snapshot("openai-community/gpt2").samefile(folder)
    assert hub.config_file("gpt2").samefile(folder / "config.json")


def test_what_is_not_there_says_what_to_fetch_and_where_to_put_it(cache):
    with pytest.raises(ValueError) as error:
        hub.snapshot("gpt2-medium")
    told = str(error.value)
    assert told.startswith("gpt2-medium: not on this machine, and HF_HUB_OFFLINE is set") and "\n" not in told
    assert "https://huggingface.co/openai-community/gpt2-medium" in told and "give the path of its folder" in told


def test_no_model_of_transformers(cache):
    cache("org/data", "README.md")
    with pytest.raises(ValueError, match=r"org/data: .* has no config.json"):
        hub.snapshot("org/data")


def test_only_what_is_used_is_asked_for_and_pickles_last(tmp_path, monkeypatch):
    asked = []

    def download(repository, allow_patterns):
        asked.append(allow_patterns)
        (tmp_path / "config.json").write_text("{}")
        if "pytorch_model*.bin" in allow_patterns:
            (tmp_path / "pytorch_model.bin").write_text("")
        return str(tmp_path)

    monkeypatch.setattr(hub_package, "snapshot_download", download)
    hub.snapshot("org/old")
    assert len(asked) == 2 and not any("bin" in pattern for pattern in asked[0])
    assert (tmp_path / "pytorch_model.bin").exists()
    (tmp_path / "model.safetensors").write_text("")
    hub.snapshot("org/old")
    assert len(asked) == 3, "where there are safetensors no pickle is fetched"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("GatedRepoError", "is open only to whom its owners admit; ask for access on its page and set HF_TOKEN"),
        ("RepositoryNotFoundError", "no model org/secret on the hub, or a private one"),
        ("OfflineModeIsEnabled", "not on this machine"),
    ],
)
def test_what_the_hub_refuses_is_one_line(monkeypatch, kind, told):
    error = getattr(hub_package.errors, kind)
    refusal = error.__new__(error)  # their constructors want the answer of a server

    def download(repository, allow_patterns):
        raise refusal

    monkeypatch.setattr(hub_package, "snapshot_download", download)
    with pytest.raises(ValueError) as caught:
        hub.snapshot("org/secret")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_full_disk_is_not_taken_for_a_lost_network(monkeypatch):
    def download(repository, allow_patterns):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub_package, "snapshot_download", download)
    with pytest.raises(OSError, match="No space left"):
        hub.snapshot("org/large")


def test_a_missing_package_is_missed_in_one_line(monkeypatch):
    from nanolit.interop.packages import need

    with pytest.raises(ValueError, match=r"^x: needs the package no_such_package: pip install 'nanolit\[hf\]'$"):
        need("no_such_package.part", "x")
    assert need("shutil", "x") is shutil
