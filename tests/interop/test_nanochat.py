"""nanochat's checkpoint folders in the two layouts that are known, against their formulas written down once more."""

import json
import math
import pickle
import re
import subprocess
import sys

import pytest
import tiktoken
import torch
import torch.nn.functional as F

from nanolit.interop.sources import open_source
from nanolit.models.directory import load_model, write_model
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.directory import load_tokenizer

SIZES = {"sequence_len": 40, "vocab_size": 61, "n_layer": 4, "n_head": 4, "n_kv_head": 2, "n_embd": 48}
PRESENT = {**SIZES, "window_pattern": "SSSL", "sequence_len": 300}


def checkpoint(told, present, prefix="", rows=64):
    """The state dict of nanochat's GPT: names and shapes of its gpt.py, at random."""
    C, D = told["n_embd"], told["n_embd"] // told["n_head"]
    kv = told["n_kv_head"] * D
    shapes = {"transformer.wte.weight": (rows, C), "lm_head.weight": (rows, C)}
    for i in range(L := told["n_layer"]):
        block = f"transformer.h.{i}."
        shapes |= {f"{block}attn.c_q.weight": (C, C), f"{block}attn.c_k.weight": (kv, C)}
        shapes |= {f"{block}attn.c_v.weight": (kv, C), f"{block}attn.c_proj.weight": (C, C)}
        shapes |= {f"{block}mlp.c_fc.weight": (4 * C, C), f"{block}mlp.c_proj.weight": (C, 4 * C)}
        if present and i % 2 == (L - 1) % 2:
            shapes |= {f"{block}attn.ve_gate.weight": (told["n_kv_head"], 12), f"value_embeds.{i}.weight": (rows, kv)}
    if present:
        shapes |= {"smear_gate.weight": (1, 24), "smear_lambda": (1,), "backout_lambda": (1,)}
        shapes |= {"resid_lambdas": (L,), "x0_lambdas": (L,)}
    state = {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}
    if present:  # scalars that are far from doing nothing
        state |= {"resid_lambdas": 1 + state["resid_lambdas"], "smear_lambda": torch.tensor([0.7])}
    return {prefix + name: tensor for name, tensor in state.items()}


def formulas(state, told, ids, present):
    """Logits (B,T,V): no class of ours or of nanochat; `present` chooses the layout's numbers."""
    w = {name.removeprefix("_orig_mod."): tensor for name, tensor in state.items()}
    (B, T), C, L, H, K = ids.shape, told["n_embd"], told["n_layer"], told["n_head"], told["n_kv_head"]
    D, base = C // H, 100000 if present else 10000

    def norm(x):
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + torch.finfo(torch.float32).eps)

    angles = torch.arange(T)[:, None] / base ** (torch.arange(0, D, 2) / D)  # (T, D/2)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]

    def turn(x):  # by minus the angle; (B, T, heads, D)
        a, b = x.chunk(2, dim=-1)
        return norm(torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)) * (1.2 if present else 1)

    x = norm(w["transformer.wte.weight"][ids])
    if present:
        gate = w["smear_lambda"] * torch.sigmoid(x[:, 1:, :24] @ w["smear_gate.weight"].t())  # (B, T-1, 1)
        x = torch.cat((x[:, :1], x[:, 1:] + gate * x[:, :-1]), dim=1)
    start, middle = x, None
    pattern = told.get("window_pattern", "L")
    short = math.ceil(math.ceil(told["sequence_len"] / 4) / 128) * 128
    for i in range(L):
        block = f"transformer.h.{i}."
        if present:
            x = w["resid_lambdas"][i] * x + w["x0_lambdas"][i] * start
        h = norm(x)
        q, k, v = (F.linear(h, w[f"{block}attn.c_{part}.weight"]).view(B, T, -1, D) for part in "qkv")
        if f"value_embeds.{i}.weight" in w:
            gate = 3 * torch.sigmoid(F.linear(h[..., :12], w[f"{block}attn.ve_gate.weight"]))  # (B, T, K)
            v = v + gate[..., None] * w[f"value_embeds.{i}.weight"][ids].view(B, T, K, D)
        q, k = turn(q), turn(k)
        k, v = k.repeat_interleave(H // K, dim=2), v.repeat_interleave(H // K, dim=2)
        scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(D)
        behind = torch.arange(T)[:, None] - torch.arange(T)
        is_short = pattern[i % len(pattern)] == "S" and i < L - 1
        seen = (behind >= 0) & (behind <= (short if is_short else T))
        weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1)
        mixed = torch.einsum("bhts,bshd->bthd", weights, v).reshape(B, T, C)
        x = x + F.linear(mixed, w[f"{block}attn.c_proj.weight"])
        x = x + F.linear(
            F.linear(norm(x), w[f"{block}mlp.c_fc.weight"]).relu().square(), w[f"{block}mlp.c_proj.weight"]
        )
        middle = x if i == L // 2 else middle
    if present:
        x = x - w["backout_lambda"] * middle
    logits = F.linear(norm(x), w["lm_head.weight"])[..., : told["vocab_size"]]
    return 15 * torch.tanh(logits / 15)


def save(folder, state, told, step=21400):
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / f"model_{step:06d}.pt")
    (folder / f"meta_{step:06d}.json").write_text(json.dumps({"step": step, "model_config": told}))
    (folder / f"optim_{step:06d}_rank0.pt").write_bytes(b"")


def imported(tmp_path, step=None):
    source = open_source(tmp_path / "d4", step)
    write_model(tmp_path / "model", source.config, source.tensors)
    return source, load_model(tmp_path / "model")


CASES = {
    "first": (SIZES, False, {}),
    "first-unpadded": (SIZES, False, {"rows": 61}),
    "first-all-heads": (SIZES | {"n_kv_head": 4}, False, {"prefix": "_orig_mod."}),
    "first-read-by-later-code": (SIZES | {"window_pattern": "L"}, False, {}),
    "present": (PRESENT, True, {}),
    "present-five-layers": (PRESENT | {"n_layer": 5, "window_pattern": "sl"}, True, {"prefix": "_orig_mod."}),
    "present-short-context": (PRESENT | {"sequence_len": 100}, True, {}),
    "present-one-layer": (PRESENT | {"n_layer": 1, "window_pattern": "L"}, True, {}),
}


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_formulas(tmp_path, name):
    told, present, options = CASES[name]
    torch.manual_seed(0)
    state = checkpoint(told, present, **options)
    save(tmp_path / "d4", state, told)
    source, model = imported(tmp_path)
    assert (source.kind, source.about) == ("nanochat checkpoint", {"file": "model_021400.pt", "step": 21400})
    layout = json.loads((tmp_path / "model" / "config.json").read_text())["model_type"]
    assert layout == ("nanolit_gpt" if present else "nanochat")
    ids = torch.randint(0, 61, (2, told["sequence_len"]))
    for length in (1, 2, 9, 131, told["sequence_len"]):
        expected = formulas(state, {**told, "window_pattern": _upper(told)}, ids[:, :length], present)
        torch.testing.assert_close(model(ids[:, :length]), expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.5, "logits this flat would hide a mistake"


def _upper(told):
    return told.get("window_pattern", "L").upper()


def test_the_newest_step_or_the_one_that_is_asked_for(tmp_path):
    for step in (900, 1000000):
        save(tmp_path / "d4", checkpoint(SIZES, False), SIZES, step)
    torch.save({}, tmp_path / "d4" / "model_2000000.pt")  # being written: its description comes last
    assert open_source(tmp_path / "d4").about["step"] == 1000000
    assert open_source(tmp_path / "d4", 900).about["step"] == 900
    with pytest.raises(ValueError, match=r"^step: got 7, .* has 900, 1000000$"):
        open_source(tmp_path / "d4", 7)


def test_weights_of_several_precisions(tmp_path):
    """On a GPU nanochat keeps embeddings in bfloat16 and all else in float32."""
    state = checkpoint(SIZES, False)
    state["transformer.wte.weight"] = state["transformer.wte.weight"].bfloat16()
    save(tmp_path / "d4", state, SIZES)
    source = open_source(tmp_path / "d4")
    assert {spec.dtype for spec in source.tensors.specs.values()} == {torch.bfloat16, torch.float32}


def drop(*parts):
    return lambda state, told: [state.pop(name) for name in list(state) if any(part in name for part in parts)]


MIXED = {
    "only-scalars": (drop("value_embeds", "ve_gate", "smear", "backout"), "with resid_lambdas, x0_lambdas; it knows"),
    "before-smear": (drop("smear", "backout"), "with resid_lambdas, x0_lambdas, value_embeds, ve_gate; it knows"),
    "wider-gates": (
        lambda state, told: state.update({"transformer.h.1.attn.ve_gate.weight": torch.zeros(2, 32)}),
        "backout_lambda, gates of 32 channels; it knows",
    ),
    "windows-alone": (drop("lambda", "value_embeds", "ve_gate", "smear"), "with window_pattern SSSL; it knows"),
    "new-setting": (lambda state, told: told.update(n_expert=8), "model_config.n_expert; it knows"),
}


@pytest.mark.parametrize("name", MIXED)
def test_versions_in_between_are_refused_with_what_was_found(tmp_path, name):
    spoil, found = MIXED[name]
    state, told = checkpoint(PRESENT, True), dict(PRESENT)
    spoil(state, told)
    save(tmp_path / "d4", state, told)
    with pytest.raises(ValueError) as error:
        open_source(tmp_path / "d4")
    assert found in str(error.value) and "\n" not in str(error.value)
    assert "the first one (October 2025" in str(error.value) and "the present one (since" in str(error.value)


MISTAKES = {
    "missing": (drop("h.1.attn.c_k"), "transformer.h.1.attn.c_k.weight is missing, [24, 48] expected"),
    "extra": (lambda state, told: state.update(surprise=torch.zeros(2)), "surprise [2] is unknown"),
    "shape": (lambda state, told: told.update(n_kv_head=4), "attn.c_k.weight is [24, 48], [48, 48] expected"),
    "vocabulary": (lambda state, told: told.update(vocab_size=70), "wte.weight is [64, 48], [128, 48] expected"),
    "no-embedding": (drop("wte"), "transformer.wte.weight is missing, [64, 48] expected"),
    "no-size": (lambda state, told: told.pop("n_head"), "model_config.n_head is missing"),
    "wrong-size": (lambda state, told: told.update(n_head=5), "model.n_embd: got 48"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_line_with_the_file(tmp_path, name):
    spoil, message = MISTAKES[name]
    state, told = checkpoint(SIZES, False), dict(SIZES)
    spoil(state, told)
    save(tmp_path / "d4", state, told)
    with pytest.raises(ValueError) as error:
        open_source(tmp_path / "d4")
    assert message in str(error.value) and "\n" not in str(error.value) and "_021400" in str(error.value)


DAMAGED = [
    *({"n_head": 0}, {"n_embd": "48"}, {"sequence_len": None}, {"sequence_len": "300"}, {"n_layer": 10**9}),
    *({"window_pattern": "XYZ"}, {"window_pattern": 5}, {"n_embd": [48]}, {"vocab_size": None}),
    *({"transformer.wte.weight": torch.tensor(1.0)}, {"transformer.h.1.attn.ve_gate.weight": torch.tensor(1.0)}),
]


@pytest.mark.parametrize("values", DAMAGED, ids=str)
@pytest.mark.parametrize("is_present", [True, False])
def test_damaged_values_are_one_line_at_once(tmp_path, values, is_present):
    told = PRESENT if is_present else SIZES
    state = checkpoint(told, is_present)
    is_tensor = isinstance(next(iter(values.values())), torch.Tensor)
    save(tmp_path / "d4", state | values if is_tensor else state, told if is_tensor else told | values)
    with pytest.raises(ValueError) as error:
        open_source(tmp_path / "d4")
    assert str(tmp_path / "d4") in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_descriptions_and_a_description_of_nothing(tmp_path):
    save(tmp_path / "d4", checkpoint(SIZES, False), SIZES)
    (tmp_path / "d4" / "meta_021400.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no model_config"):
        open_source(tmp_path / "d4")
    with pytest.raises(ValueError, match=r"is the weights of nanochat alone; give their folder, source=.*d4$"):
        open_source(tmp_path / "d4" / "model_021400.pt")
    (tmp_path / "d4" / "meta_021400.json").unlink()
    with pytest.raises(ValueError, match=r"found: model_021400.pt, optim_021400_rank0.pt; it reads"):
        open_source(tmp_path / "d4")


def test_the_documented_line_converts_nanochats_tokenizer(tmp_path, root):
    """docs/models.md: nanochat pickles an Encoding of tiktoken, with this pattern and its special tokens last."""
    pattern = r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|"""
    pattern += r"""\s*[\r\n]|\s+(?!\S)|\s+"""
    text = (root / "README.md").read_text()
    ranks = train_bpe([text], 600)._ranks
    specials = {name: len(ranks) + i for i, name in enumerate(("<|bos|>", "<|user_start|>", "<|user_end|>"))}
    encoding = tiktoken.Encoding("rustbpe", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(encoding))
    (line,) = re.findall(r'^python -c "(import pickle.*)"$', (root / "docs" / "models.md").read_text(), re.MULTILINE)
    subprocess.run([sys.executable, "-c", line], cwd=tmp_path, check=True)
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (encoding.n_vocab, specials["<|bos|>"])
    for sample in (text, "It's 12345 o'clock!!!\n\n\n  tabs\t\tand   spaces \r\n'S 'LL we'VE äöü 漢字 🙂🙂 ...///\n"):
        assert tokenizer.encode(sample) == encoding.encode_ordinary(sample)
