"""What LoRA learnt, alone, as the folder that PEFT opens: adapter_config.json and adapter_model.safetensors.

Beside a model of a family that transformers knows it is in that family's names: one product of ours beside fused
queries, keys and values is three of theirs that share their first matrix. Any other model has our own names. It fits
the parent, not the merged model. Nothing here imports PEFT, and nothing reads such a folder: a merged model is a model.
"""

from pathlib import Path

from torch import Tensor

from nanolit.models.families import family_of
from nanolit.models.gpt import GPT
from nanolit.models.links import same
from nanolit.models.lora import LoRAConfig, lora_layers
from nanolit.runtime.files import write_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(network: GPT, config: LoRAConfig, folder: Path, base: str | None = None) -> None:
    """`base`: the parent, a folder or a name on the hub, as PEFT is to find it."""
    from safetensors.torch import save_file

    family = family_of(network.config)
    has_conv1d = family is not None and family.model_type == "gpt2"  # its matrices are stored as inputs x outputs
    links = {} if family is None else {link.ours: link for link in family.links(network.config)}
    tensors: dict[str, Tensor] = {}
    targets = set()
    for name, layer in lora_layers(network).items():
        ours = f"{name}.weight"
        link = links.get(ours, same(ours, ours))
        for theirs, part in zip(link.theirs, link.out(layer.lora_b.detach()), strict=True):
            module = theirs.removesuffix(".weight")
            pair = {"lora_A": layer.lora_a.detach(), "lora_B": part.t() if has_conv1d else part}  # (R, I), (O, R)
            for which, tensor in pair.items():
                tensors[f"base_model.model.{module}.{which}.weight"] = tensor.cpu().clone().contiguous()
            targets.add(".".join(module.split(".")[-2:]))  # GPT-2 calls two matrices of a block c_proj
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    told = {
        "peft_type": "LORA",
        "task_type": None if family is None else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": sorted(targets),
        "fan_in_fan_out": has_conv1d,
        "bias": "none",
        "inference_mode": True,
    }
    write_json(folder / CONFIG, told)
