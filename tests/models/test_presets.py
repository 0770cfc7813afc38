"""The models in conf/: sizes as published, families that transformers opens, a group of the optimizer for each part."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nanolit.cli import hydra_app
from nanolit.cli.settings import read_model
from nanolit.models.accounting import parameter_counts
from nanolit.models.config import GPTConfig
from nanolit.models.families import family_of
from nanolit.models.gpt import GPT
from nanolit.optim.build import AdamWConfig, MuonConfig, build_optimizer

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "model"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2_medium": 354_823_168,
    "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200,
    "tinyllama_1b1": 1_100_048_384,
    "llama3_1b": 1_235_814_400,
    "llama3_3b": 3_212_749_824,
    "llama3_8b": 8_030_261_248,
    "llama31_8b": 8_030_261_248,
}
NAMED = {"gpt2_124m": 124e6, "gpt2_350m": 354e6, "gpt2_774m": 773e6, "gpt2_1558m": 1556e6, "llama_124m": 124e6}
NAMED |= {"llama_350m": 350e6}
# Whose vocabulary is the tokenizer's: with how many ids their file counts.
AT_IDS = {
    "nanochat": 65_536,
    "nanochat_2026": 65_536,
    "llama_124m": 50_257,
    "llama_350m": 50_257,
    "keller_124m": 50_257,
}
FAMILY = {
    "gpt2": ("gpt2_124m", "gpt2_350m", "gpt2_774m", "gpt2_1558m", "shakespeare", "shakespeare_cpu"),
    "llama": ("llama_124m", "llama_350m"),
    "nanochat": ("nanochat", "modern_124m", "village"),
}
FAMILY_OF = {name: family for family, names in FAMILY.items() for name in names}
FAMILY_OF |= {name: "gpt2" if "gpt2" in name else "llama" for name in PUBLISHED}


def is_foreign(name: str) -> bool:
    """Computed by other code than ours, or described by the weights."""
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) or {}
    bases = [base for base in values.get("defaults", []) if base != "_self_"]
    return not values or "_target_" in values or any(is_foreign(base) for base in bases)


OURS = [name for name in PRESETS if not is_foreign(name)]


@pytest.fixture(scope="module")
def section(tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """The section `model` as a run gets it."""

    @cache
    def composed(name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def read(config) -> int:
            found.append(config["model"])
            return 0

        assert hydra_app.run("train", read, [f"model={name}", f"run_dir={tmp_path_factory.mktemp('run')}"]) == 0
        return found[0]

    return composed


@pytest.fixture
def preset(section) -> Callable[[str], GPTConfig]:
    def built(name: str) -> GPTConfig:
        config = read_model(section(name), None)
        assert isinstance(config, GPTConfig)
        return config

    return built


def count(config: GPTConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPT(config).parameters())


@pytest.mark.parametrize("name", OURS)
def test_a_model_has_the_size_and_the_family_that_its_file_tells(preset, name):
    config = preset(name)
    if name in AT_IDS:
        config = replace(config, vocab_size=AT_IDS[name])
    n = count(config)
    assert parameter_counts(config)["total"] == n
    assert n == PUBLISHED.get(name, n)
    assert n == pytest.approx(NAMED.get(name, n), rel=0.007), "the size that its name tells"
    comment = (FOLDER / f"{name}.yaml").read_text().partition("\n")[0]
    assert comment.startswith("# ")
    told = [int(number.replace(",", "")) for number in re.findall(r"\d{3},\d{3},\d{3}|\d,\d{3},\d{3},\d{3}", comment)]
    assert told == [n] * len(told), "the comment tells another number of parameters"
    assert told or name not in {*PUBLISHED, *AT_IDS}
    family = family_of(config)
    assert (family and family.model_type) == FAMILY_OF.get(name)


@pytest.mark.parametrize("name", OURS)
def test_published_models_have_their_own_vocabulary_and_others_the_tokenizers(section, name):
    assert ("vocab_size" in section(name)) == (name in PUBLISHED)


def test_the_tiny_transformer_counts_its_tokens_apart(preset):
    """torch's own layers count the rest: nanuGPT builds it of nn.MultiheadAttention, nn.Linear and nn.LayerNorm."""
    config = replace(preset("grokking"), vocab_size=226)
    C, nn = 128, torch.nn
    with torch.device("meta"):
        layer = [
            nn.MultiheadAttention(C, 4),
            nn.LayerNorm(C),
            nn.Linear(C, 4 * C),
            nn.Linear(4 * C, C),
            nn.LayerNorm(C),
        ]
        parts = [*layer, *layer, nn.LayerNorm(C), nn.Embedding(5, C)]
        tokens = [nn.Embedding(226, C), nn.Linear(C, 226)]
    rest, by_token = (sum(p.numel() for part in group for p in part.parameters()) for group in (parts, tokens))
    assert count(config) == rest + by_token
    comment = (FOLDER / "grokking.yaml").read_text()
    assert f"{rest:,} parameters and {by_token // 226} a token" in comment


def test_keller_computes_what_nanugpts_formula_says(preset):
    size = {"vocab_size": 50, "vocab_multiple": 1, "block_size": 16, "n_layer": 3, "n_head": 2, "n_embd": 32}
    torch.manual_seed(0)
    model = GPT(replace(preset("keller_124m"), **size))
    weights, ids = dict(model.named_parameters()), torch.randint(0, 50, (2, 16))

    def norm(x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    def turned(x):  # (B, H, T, D), as complex numbers: the first half real, the second imaginary
        angle = torch.arange(16)[:, None] * 10000.0 ** -(torch.arange(0, 16, 2) / 16)
        pairs = torch.complex(*x.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)
        return torch.cat((pairs.real, pairs.imag), dim=-1)

    x = weights["token_embedding.weight"][ids]
    for i in range(3):
        block = {
            name: weights[f"blocks.{i}.{name}.weight"]
            for name in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
        }
        q, k, v = (norm(x) @ block["attention.qkv"].T).view(2, 16, 3, 2, 16).permute(2, 0, 3, 1, 4)
        y = torch.nn.functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
        x = x + (y.transpose(1, 2).reshape(2, 16, 32) @ block["attention.out"].T) / math.sqrt(2 * 3)
        x = x + torch.nn.functional.gelu(norm(x) @ block["mlp.up"].T) @ block["mlp.down"].T
    torch.testing.assert_close(model(ids), norm(x) @ weights["head.weight"].T, atol=1e-5, rtol=1e-5)
    bound = 32**-0.5  # of PyTorch's nn.Linear
    assert 0.9 * bound < weights["head.weight"].abs().max() <= bound
    assert weights["token_embedding.weight"].std().item() == pytest.approx(1.0, abs=0.1)


def test_long_contexts_are_scaled_as_in_llama(preset):
    for name, factor, block_size in (
        ("llama31_8b", 8.0, 131_072),
        ("llama3_1b", 32.0, 8192),
        ("llama3_3b", 32.0, 8192),
    ):
        config = preset(name)
        scaling = config.rope_scaling
        assert scaling is not None
        told = (scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_block_size)
        assert (*told, config.block_size) == (factor, 1.0, 4.0, 8192, block_size)


@pytest.mark.parametrize("name", OURS)
def test_each_part_of_a_model_is_in_one_group_of_the_optimizer(preset, name):
    config = replace(preset(name), n_layer=2)
    with torch.device("meta"):
        model = GPT(config)
    tables = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Embedding)}
    for optimizer_config in (AdamWConfig(), MuonConfig()):
        groups = build_optimizer(model.named_parameters(), optimizer_config).param_groups
        found = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())
    kind_of = {id(parameter): group for group in groups for parameter in group["params"]}
    for parameter_name, parameter in model.named_parameters():
        group = kind_of[id(parameter)]
        is_matrix = parameter.dim() == 2 and parameter_name not in {*tables, "head.weight"}
        assert (group["kind"] == "muon") == is_matrix, parameter_name
        assert (group["name"] in ("embeddings", "value embeddings")) == (parameter_name in tables)
    split = next(group["split"] for group in groups if group["name"] == "qkv")
    assert split == (config.n_head * config.head_dim, *[config.n_kv_heads * config.head_dim] * 2)
