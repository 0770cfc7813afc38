"""A checkpoint of nanoGPT (`ckpt.pt`): its weights, and what its code computes with them. No optimizer state."""

from collections.abc import Mapping
from typing import Any

import torch

from nanolit.interop.pickles import tensors_of
from nanolit.models.config import GPTConfig
from nanolit.models.directory import fit
from nanolit.models.families import gpt2_links
from nanolit.models.links import Link
from nanolit.models.tensor_files import Tensors
from nanolit.runtime.typed import build

HEAD, EMBEDDING = "lm_head.weight", "transformer.wte.weight"
SIZES = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")


def is_checkpoint(content: Any) -> bool:
    return isinstance(content, Mapping) and {"model", "model_args"} <= content.keys()


def read_checkpoint(content: Mapping[str, Any], where: str) -> tuple[GPTConfig, Tensors]:
    """`where` begins every error. The vocabulary is as large as the embedding, padding included."""
    told = content["model_args"]
    if not isinstance(told, Mapping) or (missing := [name for name in SIZES if told.get(name) is None]):
        lacks = "it is no mapping" if not isinstance(told, Mapping) else f"{missing[0]} is missing"
        raise ValueError(f"{where}: model_args does not say what the model is, {lacks}")
    found = tensors_of(content["model"], f"{where}: model")
    sizes = {name: told[name] for name in SIZES}
    try:
        n_layer = build(GPTConfig, sizes, "model_args").n_layer
        config = build(
            GPTConfig,
            {
                **sizes,
                "bias": told.get("bias", True),  # the setting came in January 2023; before, everything had biases
                "dropout": told.get("dropout", 0.0),
                "mlp": "gelu_tanh" if _is_before_exact_gelu(content, n_layer) else "gelu",
                "tie_embeddings": _is_tied(found),
            },
            "model_args",
        )
    except ValueError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from error
    where = f"{where}: does not fit its model_args"
    return config, fit(where, config, found, _links, buffers=(".attn.bias", ".attn.masked_bias"))


def facts(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """How far it was trained, in our words."""
    step, loss = content.get("iter_num"), content.get("best_val_loss")
    if not isinstance(step, int | None):
        raise ValueError(f"{where}: iter_num: got a {type(step).__name__}, expected an integer; leave it out")
    loss = loss.item() if isinstance(loss, torch.Tensor) and loss.numel() == 1 else loss
    if not isinstance(loss, int | float | None):
        raise ValueError(f"{where}: best_val_loss: got a {type(loss).__name__}, expected one number; leave it out")
    told = {"step": step, "val/loss": None if loss is None else float(loss)}
    return {name: value for name, value in told.items() if value is not None}


def _links(config: GPTConfig) -> list[Link]:
    return [link for link in gpt2_links(config, is_conv1d=False) if link.ours is not None]  # no zeros for no biases


def _is_tied(found: Tensors) -> bool:
    """Since January 2023 the head is the embedding; before, and in forks, it has weights of its own."""
    if HEAD not in found.specs or EMBEDDING not in found.specs:
        return True
    return found.specs[HEAD] == found.specs[EMBEDDING] and torch.equal(found.get(HEAD), found.get(EMBEDDING))


def _is_before_exact_gelu(content: Mapping[str, Any], n_layer: int) -> bool:
    """nanoGPT took gelu's approximation by tanh until May 2023, which its checkpoints do not say. In the same month its
    optimizer began to decay the two embeddings as well as the matrices: the size of its first group tells the time.
    """
    told = content["model_args"]
    if "bias" not in told:
        return True
    try:
        groups = (content.get("optimizer") or {}).get("param_groups") or []
        return len(groups) == 2 and len(groups[0]["params"]) == 4 * n_layer
    except (AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError("optimizer: is none of PyTorch's states; save the checkpoint again without it") from error
