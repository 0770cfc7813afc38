"""What all tests share: no network, one thread, and where real data lies if it is there."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def _nanogpt_checkpoint(
    n_layer=2, n_head=4, n_embd=32, block_size=24, vocab_size=61, bias=True, prefix="", tied=True, optimizer=True
) -> dict[str, Any]:
    """What nanoGPT's train.py saves, at random: the keys, names and shapes of its model.py and train.py."""
    import torch

    C = n_embd
    shapes = {"wte.weight": (vocab_size, C), "wpe.weight": (block_size, C), "ln_f": (C,)}
    for i in range(n_layer):
        shapes |= {f"h.{i}.ln_1": (C,), f"h.{i}.attn.c_attn": (3 * C, C), f"h.{i}.attn.c_proj": (C, C)}
        shapes |= {f"h.{i}.ln_2": (C,), f"h.{i}.mlp.c_fc": (4 * C, C), f"h.{i}.mlp.c_proj": (C, 4 * C)}
    state = {}
    for name, shape in shapes.items():
        weight = torch.randn(shape) * 0.2 if len(shape) > 1 else 1 + 0.2 * torch.randn(shape)
        state[name if name.endswith("weight") else f"{name}.weight"] = weight
        if bias and not name.endswith("weight"):
            state[f"{name}.bias"] = torch.randn(shape[0]) * 0.2
    state = {f"{prefix}transformer.{name}": tensor for name, tensor in state.items()}
    embedding = state[f"{prefix}transformer.wte.weight"]
    state[f"{prefix}lm_head.weight"] = embedding if tied else torch.randn(vocab_size, C) * 0.2
    args = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "block_size": block_size}
    checkpoint = {
        "model": state,
        "model_args": {**args, "bias": bias, "vocab_size": vocab_size, "dropout": 0.0},
        "iter_num": 250,
        "best_val_loss": torch.tensor(1.25),
        "config": {"out_dir": "out", "learning_rate": 1e-3, "compile": True, "dataset": "shakespeare_char"},
    }
    if optimizer:  # the second group are vectors; moments are as large as the weights
        n_vectors = sum(tensor.dim() < 2 for tensor in state.values())
        groups = [list(range(4 * n_layer + 2)), list(range(4 * n_layer + 2, 4 * n_layer + 2 + n_vectors))]
        moments = {0: {"step": torch.tensor(250.0), "exp_avg": torch.zeros_like(embedding)}}
        checkpoint["optimizer"] = {"state": moments, "param_groups": [{"lr": 1e-3, "params": g} for g in groups]}
    return checkpoint


@pytest.fixture
def nanogpt_checkpoint():
    return _nanogpt_checkpoint


@pytest.fixture(scope="session")
def small_run(village_root) -> list[str]:
    """Settings of a run that takes a second: a little of the village in bytes, and four steps. It names no model."""
    return [
        *("data=village", "data.documents=60", "data.val_documents=6", f"paths.data_root={village_root}"),
        *("batch_size=4", "trainer.max_steps=4", "trainer.accelerator=cpu", "schedule.warmup_steps=0", "logger=none"),
        *("callbacks.evaluate.every_steps=2", "callbacks.checkpoint.every_steps=2", "callbacks.metrics.every_steps=1"),
        *("callbacks.samples.every_steps=4", "callbacks.samples.max_new_tokens=6"),
    ]


def _part(kind: str, text: str) -> dict[str, str]:
    return {"type": kind, "text": text}


_CHATS: list[tuple[str, Any]] = [
    ("Hello", "Hello! How can I help you?"),
    ("Who are you?", "I am a small model, and I know only a few things."),
    (
        "How do I bake bread?",
        'Do this:\n\n1. Mix **flour** and water.\n2. Wait.\n3. Bake it.\n\n```python\nbread = bake(flour, "water")\n'
        "print(bread)\n```\n\nThat is all.",
    ),
    (
        "What is 6*7?",
        [
            _part("text", "I calculate. "),
            _part("python", "6*7"),
            _part("python_output", "42"),
            _part("text", "It is 42."),
        ],
    ),
    (
        "How many r are in strawberry?",
        [_part("python", '"strawberry".count("r")'), _part("python_output", "3"), _part("text", "There are 3.")],
    ),
    ("Say something nice", "Voilà, un café: é, 日本, 😀! Und schöne Grüße."),
    (
        "Tell me a story",
        "The miller wakes before the sun. She lights the lamp and walks to the river. She opens the gate, and the "
        "water comes, slowly at first, then all at once. The stones begin to turn. All day the flour falls, white and "
        "warm. In the evening she counts the sacks, and goes home with flour in her hair.",
    ),
    ("And then?", "Then she sleeps."),
]


@pytest.fixture(scope="session")
def chats() -> list[tuple[str, Any]]:
    """What `chat_model` knows by heart: a question, and the content of the answer. An answer depends on the last
    question alone, whatever was said before; the system may have said "Be brief." The story has 125 tokens.
    """
    return _CHATS


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory) -> Path:
    """A model directory that chats: `chats` by heart, 256 tokens, made in ten seconds once for all processes."""
    return _made_once(tmp_path_factory, "chat_model", _learn_chats)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory) -> Path:
    """A model directory that knows nothing, of bytes, without chat tokens; 64 tokens long."""
    return _made_once(tmp_path_factory, "base_model", _random_model)


def _made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    from filelock import FileLock

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each process has its own folder in one of all
        root = root.parent
    with FileLock(root / f"{name}.lock"):
        if not (root / name).exists():
            make(root / name)
    return root / name


def _save(folder: Path, model, tokenizer) -> None:
    from nanolit.inference.model_folder import write_folder
    from nanolit.models.directory import save_model
    from nanolit.runtime.files import atomic_folder

    with atomic_folder(folder) as made:
        n_rows = model.config.padded_vocab
        write_folder(made, lambda extra: save_model(made, model, extra), n_rows, tokenizer, about={})


def _nanochat(**fields):
    import torch

    from nanolit.models.config import GPTConfig
    from nanolit.models.gpt import GPT

    parts = {"mlp": "relu2", "norm": "rmsnorm_noweight", "embed_norm": True, "qk_norm": True, "bias": False}
    torch.manual_seed(0)
    return GPT(GPTConfig(position="rope", rope_base=1000.0, tie_embeddings=False, **parts, **fields))


def _random_model(folder: Path) -> None:
    from nanolit.tokenizers.byte import ByteTokenizer

    tokenizer = ByteTokenizer()
    _save(folder, _nanochat(vocab_size=tokenizer.vocab_size, block_size=64, n_layer=2, n_head=2, n_embd=32), tokenizer)


def _learn_chats(folder: Path) -> None:
    """Conversations of random turns, so that no answer is learnt by its place."""
    import torch

    from nanolit.tokenizers.bpe import train_bpe
    from nanolit.tokenizers.chat import render
    from nanolit.tokenizers.vocabulary import CHAT_SPECIALS

    turns = [[{"role": "user", "content": question}, {"role": "assistant", "content": a}] for question, a in _CHATS]
    texts = [text for turn in turns for text in (turn[0]["content"], str(turn[1]["content"]))]
    tokenizer = train_bpe(texts * 2, 420, specials=CHAT_SPECIALS)
    rng = random.Random(0)

    def conversation():
        messages = [{"role": "system", "content": "Be brief."}] * rng.choice([0, 0, 1])
        messages = messages + rng.choice(turns)
        rendered = render(messages, tokenizer)
        while rng.random() < 0.7:
            messages = messages + rng.choice(turns)
            longer = render(messages, tokenizer)
            if len(longer.ids) > 256:
                break
            rendered = longer
        return rendered

    model = _nanochat(
        vocab_size=tokenizer.vocab_size, block_size=256, n_layer=2, n_head=4, n_embd=96, zero_init_projections=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    n_steps = 100
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = 0.01 * min(1, (step + 1) / 20, (n_steps - step) / 40)
        rows = [conversation() for _ in range(8)]
        ids = torch.zeros(8, 256, dtype=torch.long)
        targets = torch.full((8, 256), -1)
        for row, rendered in enumerate(rows):
            n = len(rendered.ids)
            ids[row, :n] = torch.from_numpy(rendered.ids)
            learnt = torch.from_numpy(rendered.supervised[1:])
            targets[row, : n - 1] = ids[row, 1:n].where(learnt, torch.tensor(-1))
        longest = max(len(rendered.ids) for rendered in rows)
        loss = model(ids[:, :longest], targets[:, :longest]).sum() / (targets >= 0).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.01, f"the chats were not learnt: loss {loss.item():.3f}"
    _save(folder, model, tokenizer)
