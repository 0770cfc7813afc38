"""What LoRA learnt, alone: PEFT adds it to the parent as transformers opens that, and computes what we compute."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from nanolit.models.adapter import save_adapter
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model, save_model
from nanolit.models.gpt import GPT
from nanolit.models.lora import LoRAConfig, add_lora, lora_layers, merged
from nanolit.runtime.files import read_json

SHAPE = {"vocab_size": 61, "block_size": 24, "n_layer": 2, "n_head": 4, "n_embd": 32, "zero_init_projections": False}
GPT2 = GPTConfig(**SHAPE, mlp="gelu_tanh")
LLAMA = replace(GPT2, norm="rmsnorm", position="rope", mlp="swiglu", n_kv_head=2, bias=False, tie_embeddings=False)
NANOCHAT = replace(LLAMA, norm="rmsnorm_noweight", mlp="relu2", qk_norm=True, embed_norm=True, softcap=15.0)
FAMILIES = {"gpt2": GPT2, "llama": LLAMA, "llama, tied": replace(LLAMA, tie_embeddings=True), "nanochat": NANOCHAT}
IDS = torch.randint(61, (2, 20), generator=torch.Generator().manual_seed(1))


def learnt(folder, config: GPTConfig, lora: LoRAConfig) -> GPT:
    """A parent in folder/parent, and what became of it by LoRA, merged in folder/model, alone in folder/adapter."""
    torch.manual_seed(0)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_model(folder / "parent", model)
    add_lora(model, lora)
    for layer in lora_layers(model).values():
        torch.nn.init.normal_(layer.lora_b, std=0.3)
    save_model(folder / "model", merged(model))
    save_adapter(model, lora, folder / "adapter", str(folder / "parent"))
    return model.eval()


@pytest.mark.parametrize("targets", [("qkv", "out", "up", "down", "gate"), ("qkv",), ("out", "up")], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_peft_computes_the_same(tmp_path, name, targets):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    lora = LoRAConfig(rank=3, alpha=7.0, targets=targets)
    model = learnt(tmp_path, FAMILIES[name], lora)
    expected = model(IDS)  # (B, T, V)
    parent = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "parent")
    assert not torch.allclose(parent(IDS).logits, expected, atol=1e-2)
    found = peft.PeftModel.from_pretrained(parent, tmp_path / "adapter")
    n_theirs = sum(isinstance(module, peft.tuners.lora.LoraLayer) for module in found.modules())
    links = 3 if name != "gpt2" else 1  # theirs for one of our qkv
    ours = [layer.rpartition(".")[2] for layer in lora_layers(model)]
    assert n_theirs == sum(links if layer == "qkv" else 1 for layer in ours), "nothing else is touched"
    assert torch.allclose(found(IDS).logits, expected, atol=1e-5)
    assert torch.allclose(found.merge_and_unload()(IDS).logits, expected, atol=1e-5)
    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.allclose(whole(IDS).logits, expected, atol=1e-5)
    assert torch.allclose(load_model(tmp_path / "model")(IDS), expected, atol=1e-5)


@torch.no_grad()
def test_it_names_its_parent(tmp_path):
    peft = pytest.importorskip("peft")
    expected = learnt(tmp_path, LLAMA, LoRAConfig(rank=2))(IDS)
    found = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert torch.allclose(found(IDS).logits, expected, atol=1e-5)


@torch.no_grad()
def test_a_model_of_no_family_keeps_our_names(tmp_path):
    model = learnt(tmp_path, replace(LLAMA, bigram_rows=9), LoRAConfig(rank=2))
    kept = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(kept) == 2 * len(lora_layers(model))
    for name, layer in lora_layers(model).items():
        assert torch.equal(kept[f"base_model.model.{name}.lora_A.weight"], layer.lora_a)
        assert torch.equal(kept[f"base_model.model.{name}.lora_B.weight"], layer.lora_b)
    assert read_json(tmp_path / "adapter" / "adapter_config.json")["task_type"] is None
    peft = pytest.importorskip("peft")
    found = peft.PeftModel.from_pretrained(load_model(tmp_path / "parent"), tmp_path / "adapter")
    assert torch.allclose(found(IDS), model(IDS), atol=1e-5)
