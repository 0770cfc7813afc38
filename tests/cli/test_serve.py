"""`nanolit serve` without answers: its arguments, what it opens, how it refuses, and how it becomes vLLM."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import fields

import pytest

from nanolit.cli import serve
from nanolit.cli.serve import ServeConfig, named
from nanolit.inference.params import EngineSettings
from nanolit.serve.settings import ServerSettings

MAY_RUN = stat.S_IRWXU
MISSING_KEY = "needs a key; set NANOLIT_API_KEY or give api_key=, or take host=127.0.0.1"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("NANOLIT_API_KEY", raising=False)


def read(*arguments: str) -> ServeConfig:
    return serve.read(["model=runs/mine", *arguments])


def test_every_setting_of_server_and_engine_can_be_given():
    config = read()
    for cls in (ServerSettings, EngineSettings):
        for field in fields(cls):
            assert getattr(config, field.name) == field.default
    assert (config.model, config.device, config.weights) == (("runs/mine",), ("auto",), "auto")
    config = read(
        *(
            "model=[a,b]",
            "device=[cuda:0,cuda:1]",
            "host=0.0.0.0",
            "port=1",
            "api_key=123",
            "cors_origins=https://a.org",
        ),
        *("n_slots=4", "max_len=99", "memory_gib=0.5", "max_queue=7", "n_guesses=0", "timeout_s=5", "top_k=null"),
        *("weights=int8", "draft=runs/small", "log_requests=true", "decoding=graphs"),
    )
    assert (config.model, config.device) == (("a", "b"), ("cuda:0", "cuda:1"))
    assert (config.port, config.api_key, config.cors_origins) == (1, "123", ("https://a.org",))
    assert (config.n_slots, config.max_len, config.memory_gib, config.max_queue, config.n_guesses) == (4, 99, 0.5, 7, 0)
    assert (config.timeout_s, config.top_k, config.weights, config.draft) == (5.0, None, "int8", "runs/small")


def test_the_key_comes_from_the_environment(monkeypatch):
    with pytest.raises(ValueError, match=MISSING_KEY):
        read("host=0.0.0.0")
    monkeypatch.setenv("NANOLIT_API_KEY", "s3cret")
    assert read("host=0.0.0.0").api_key == "s3cret"
    assert read("api_key=other").api_key == "other"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("port=http", "port: got 'http' (str), expected int"),
        ("port=70000", "port: got 70000, allowed: 1 to 65535"),
        ("device=[]", "device: got an empty list"),
        ("model=[]", "model: got an empty list"),
        ("n_slots=0", "n_slots: got 0, must be positive"),
        ("weights=int4", "weights: got 'int4' (str), expected one of auto, stored"),
        ("backend=llama.cpp", "backend: got 'llama.cpp' (str), expected one of nanolit, vllm"),
        ("prot=1", "prot: no such setting; did you mean port?"),
        ("8000", "8000: write each argument as key=value"),
    ],
)
def test_a_bad_value_is_one_line_with_its_name(argument, told):
    with pytest.raises(ValueError) as error:
        read(argument)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


def test_help(capsys):
    assert serve.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "model=              required",
        "host=               default 127.0.0.1",
        "n_slots=            default",
    ):
        assert line in shown
    assert max(map(len, shown.splitlines())) <= 120


def refused(capsys, *arguments: str) -> str:
    assert serve.main(["port=0", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and told.err.startswith("error: ")
    return told.err.removeprefix("error: ")


def test_what_cannot_be_served_is_told_in_one_line(capsys, base_model):
    assert refused(capsys).startswith("model: missing; give a run folder")
    assert refused(capsys, "model=nowhere/at/all").startswith("model: ")
    assert refused(capsys, "model=model").startswith("model: ")
    assert refused(capsys, f"model={base_model}", "device=tpu").startswith("device: got 'tpu'")
    assert MISSING_KEY in refused(capsys, f"model={base_model}", "host=0.0.0.0")


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_without_the_extra(missing):
    code = (
        f"import sys; sys.modules['{missing}'] = None; from nanolit.cli import serve; sys.exit(serve.main(['model=a']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nanolit serve needs the serve extra") and done.stderr.count("\n") == 1
    assert done.stderr.endswith("pip install 'nanolit[serve]'\n")


def test_models_have_names_that_tell_them_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/quick/2026-01-02_03-04-05/model", "runs/other", "more/other"):
        (tmp_path / folder).mkdir(parents=True)
    assert named(["runs/quick/2026-01-02_03-04-05"]) == {"quick/2026-01-02_03-04-05": "runs/quick/2026-01-02_03-04-05"}
    assert list(named(["runs/quick/2026-01-02_03-04-05/model", "runs/other/", "more/other", "gpt2"])) == [
        *("quick/2026-01-02_03-04-05", "other", "more/other", "gpt2")
    ]
    with pytest.raises(ValueError, match="got runs/other twice; name each once"):
        named(["runs/other", "more/other", "runs/other"])


def test_the_port_is_taken_before_anything_is_opened(capsys, base_model, monkeypatch):
    import socket

    pytest.importorskip("uvicorn", reason="needs the extra: pip install -e '.[serve]'")
    monkeypatch.setattr(serve, "open_served", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve.main([f"model={base_model}", f"port={port}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: port: 127.0.0.1:{port} cannot be had")


@pytest.fixture
def opened(monkeypatch):
    """What would be served, instead of serving it."""
    run = pytest.importorskip("nanolit.serve.run", reason="needs the extra: pip install -e '.[serve]'")
    found = []
    monkeypatch.setattr(run.Server, "run", lambda server: found.append(server))
    return found


def test_several_models_on_several_devices(opened, base_model, chat_model):
    arguments = [f"model=[{base_model},{chat_model}]", "device=[cpu,cpu]", "n_slots=3", "max_len=50", "port=0"]
    assert serve.main(arguments) == 0
    served = {model.id: model for model in opened[0].models}
    assert list(served) == ["base_model", "chat_model"]
    for model in served.values():
        assert [(worker.name, worker.block_size, worker.stats().slots) for worker in model.workers] == [
            ("cpu", 50, 3)
        ] * 2
        assert not any(worker._thread.is_alive() for worker in model.workers), "left running"
    assert served["chat_model"].is_chat and not served["base_model"].is_chat
    assert served["chat_model"].fingerprint != served["base_model"].fingerprint


def test_a_draft(opened, base_model, chat_model, capsys):
    assert serve.main([f"model={base_model}", f"draft={base_model}", "device=cpu", "port=0"]) == 0
    assert serve.main([f"model={base_model}", f"draft={chat_model}", "device=cpu", "port=0"]) == 2
    assert capsys.readouterr().err.startswith(f"error: draft: {chat_model} cuts text into other tokens")


# vLLM


@pytest.fixture
def vllm(tmp_path):
    """An executable of that name, which says how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "vllm"
    code = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('VLLM_API_KEY')])); sys.exit(7)"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(MAY_RUN)
    return folder


def by_vllm(path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nanolit", "serve", "backend=vllm", *arguments],
        env={**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_vllm_gets_the_model_as_it_lies(vllm, chat_model):
    done = by_vllm(vllm, f"model={chat_model}", "port=8123", "max_len=100", NANOLIT_API_KEY="s3cret")
    assert (done.returncode, done.stderr) == (7, "")
    shown, told = done.stdout.splitlines()
    arguments = ["serve", str(chat_model), "--host", "127.0.0.1", "--port", "8123"]
    arguments += ["--served-model-name", "chat_model", "--max-model-len", "100"]
    assert json.loads(told) == [arguments, "s3cret"]
    assert shown == " ".join(["vllm", *arguments]) and "s3cret" not in shown
    done = by_vllm(vllm, f"model={chat_model}", "api_key=s3cret", "host=0.0.0.0")
    assert json.loads(done.stdout.splitlines()[1])[1] == "s3cret"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["n_slots=3"], "n_slots: backend=vllm does not read it; leave it out"),
        (["temperature=0.1"], "temperature: backend=vllm does not read it"),
        (["host=0.0.0.0"], "host: 0.0.0.0 can be reached from other machines"),
    ],
)
def test_vllm_is_not_started_with_what_it_does_not_read(vllm, chat_model, arguments, told):
    done = by_vllm(vllm, f"model={chat_model}", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {told}") and done.stderr.count("\n") == 1


def test_vllm_is_not_there(chat_model, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "vllm is not installed here; pip install vllm" in refused(capsys, f"model={chat_model}", "backend=vllm")


def test_vllm_cannot_serve_what_transformers_has_no_word_for(capsys, tmp_path):
    from nanolit.models.config import GPTConfig
    from nanolit.models.directory import save_model
    from nanolit.models.gpt import GPT
    from nanolit.tokenizers.byte import ByteTokenizer

    odd = GPTConfig(vocab_size=257, block_size=16, n_layer=1, n_head=1, n_embd=8, position="rope", mlp="gelu")
    save_model(tmp_path, GPT(odd))
    ByteTokenizer().save(tmp_path)
    assert "transformers has no such model" in refused(capsys, f"model={tmp_path}", "backend=vllm")


def test_vllm_serves_one_model(capsys):
    assert refused(capsys, "model=[a,b]", "backend=vllm").startswith("model: got 2, and vLLM serves one")
