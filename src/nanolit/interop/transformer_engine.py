"""Llama 3 on NVIDIA Transformer Engine: the layers are theirs, fused for their GPUs, the function is `GPT`'s.

What is saved is an ordinary model directory of the Llama family, which every machine opens. Text is written without a
cache: theirs wants kernels and bookkeeping of its own. No FP8.

B batch   T tokens   C channels   D head width
"""

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanolit.interop.token_cache import TokenCache
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model, save_model
from nanolit.models.gpt import GPT, nll
from nanolit.models.init import init_buffers, rope_frequencies
from nanolit.models.network import refuse_documents
from nanolit.models.surgery import adapted
from nanolit.runtime.typed import build as built

LLAMA = {
    **{"norm": "rmsnorm", "position": "rope", "mlp": "swiglu"},
    **{"bias": False, "tie_embeddings": False, "scaled_residual_init": False},
}
# Names of tensors, ours -> theirs; queries, keys and values are three of theirs, the gate and what it gates are one.
OUTSIDE_BLOCKS = ("token_embedding.weight", "final_norm.weight", "head.weight")
QKV, PARTS = "self_attention.layernorm_qkv.", ("query", "key", "value")
SAME_IN_BLOCKS = {
    "attention_norm.weight": f"{QKV}layer_norm_weight",
    "attention.out.weight": "self_attention.proj.weight",
    "mlp_norm.weight": "layernorm_mlp.layer_norm_weight",
    "mlp.down.weight": "layernorm_mlp.fc2_weight",
}


def build(vocab_size: int, weights: Path | None = None, **sizes: Any) -> "TransformerEngineLlama":
    """What `model=te_llama3` makes: first values at random for `sizes` (fields of GPTConfig), or those in `weights`."""
    if missing := what_is_missing():
        raise ValueError(f"model=te_llama3: needs {missing}; model=llama_124m has the same parts in plain PyTorch")
    if fixed := sizes.keys() & LLAMA.keys():
        raise ValueError(f"model.{min(fixed)}: is {LLAMA[min(fixed)]} in Llama 3; leave it out, or take another model")
    if weights is None:
        return TransformerEngineLlama(built(GPTConfig, {"vocab_size": vocab_size, **LLAMA, **sizes}, "model"))
    start = adapted(load_model(weights, dtype=torch.float32), {**LLAMA, **sizes})
    network = TransformerEngineLlama(start.config)
    network.take(start)
    return network


def what_is_missing() -> str | None:
    if find_spec("transformer_engine") is None:
        return "the package transformer-engine (pip install --no-build-isolation 'transformer-engine[pytorch]')"
    return None if torch.cuda.is_available() else "a GPU of NVIDIA that PyTorch can use"


class TransformerEngineLlama(nn.Module):
    rope: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        from transformer_engine.pytorch import TransformerLayer

        self.config = config
        normal = partial(nn.init.normal_, std=config.init_std)
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(
            TransformerLayer(
                hidden_size=config.n_embd,
                ffn_hidden_size=config.hidden,
                num_attention_heads=config.n_head,
                num_gqa_groups=config.n_kv_heads,
                kv_channels=config.head_dim,
                layernorm_epsilon=config.norm_eps,
                hidden_dropout=config.dropout,
                attention_dropout=config.dropout,
                init_method=normal,
                output_layer_init_method=normal,
                layer_number=layer + 1,
                self_attn_mask_type="causal",
                fuse_qkv_params=False,
                normalization="RMSNorm",
                activation="swiglu",
                bias=False,
                attn_input_format="bshd",
                device="cpu",  # the Trainer moves it
            )
            for layer in range(config.n_layer)
        )
        self.final_norm = nn.RMSNorm(config.n_embd, config.norm_eps)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        normal(self.token_embedding.weight)
        normal(self.head.weight)
        inverse = rope_frequencies(config.head_dim, config.rope_base, config.rope_scaling, torch.device("cpu"))
        angles = torch.outer(torch.arange(config.block_size, dtype=torch.float32), inverse)  # (block_size, D/2)
        self.register_buffer("rope", torch.cat((angles, angles), dim=-1)[:, None, None], persistent=False)

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        cache: TokenCache | None = None,
        last_only: bool = False,
        documents: Tensor | None = None,
    ) -> Tensor:
        refuse_documents(documents)
        if targets is not None:
            return nll(self.logits(ids).float(), targets)
        T, ids = ids.size(1), ids if cache is None else cache.append(ids)
        return self.logits(ids, n_last=1 if last_only else T)

    def score(self, ids: Tensor, targets: Tensor, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        refuse_documents(documents)
        logits = self.logits(ids).float()
        return nll(logits, targets), logits.argmax(dim=-1) == targets

    def logits(self, ids: Tensor, n_last: int | None = None) -> Tensor:
        T = ids.size(1)
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens do not fit into block_size={self.config.block_size}; give the model fewer")
        x = self.token_embedding(ids)  # (B, T, C)
        for block in self.blocks:
            x = block(x, rotary_pos_emb=self.rope[:T])
        return F.linear(self.final_norm(x[:, -(n_last or T) :]), self.head.weight)  # (B, n_last, V)

    def new_cache(self, batch: int, max_len: int) -> TokenCache:
        return TokenCache()

    # In and out, by the names of GPT

    @torch.no_grad()
    def as_gpt(self) -> GPT:
        """The same function in plain PyTorch, on the CPU."""
        theirs = {name: value.cpu() for name, value in self.state_dict().items() if isinstance(value, Tensor)}
        ours = {name: theirs[name] for name in OUTSIDE_BLOCKS}
        for i in range(self.config.n_layer):
            block = f"blocks.{i}."
            ours[f"{block}attention.qkv.weight"] = torch.cat([theirs[f"{block}{QKV}{part}_weight"] for part in PARTS])
            gate, up = theirs[f"{block}layernorm_mlp.fc1_weight"].chunk(2)
            ours |= {f"{block}mlp.gate.weight": gate, f"{block}mlp.up.weight": up}
            ours |= {f"{block}{name}": theirs[f"{block}{other}"] for name, other in SAME_IN_BLOCKS.items()}
        with torch.device("meta"):
            model = GPT(self.config)
        model.load_state_dict(ours, assign=True)
        init_buffers(model, torch.device("cpu"))
        return model

    def take(self, model: GPT) -> None:
        """Takes over the weights of a model with the same configuration."""
        ours, config = model.state_dict(), self.config
        rows = [heads * config.head_dim for heads in (config.n_head, config.n_kv_heads, config.n_kv_heads)]
        theirs = {name: ours[name] for name in OUTSIDE_BLOCKS}
        for i in range(config.n_layer):
            block = f"blocks.{i}."
            qkv = ours[f"{block}attention.qkv.weight"].split(rows)
            theirs |= {f"{block}{QKV}{part}_weight": matrix for part, matrix in zip(PARTS, qkv, strict=True)}
            gated = [ours[f"{block}mlp.gate.weight"], ours[f"{block}mlp.up.weight"]]
            theirs[f"{block}layernorm_mlp.fc1_weight"] = torch.cat(gated)
            theirs |= {f"{block}{other}": ours[f"{block}{name}"] for name, other in SAME_IN_BLOCKS.items()}
        found = self.load_state_dict(theirs, strict=False)
        assert not found.unexpected_keys and all(name.endswith("_extra_state") for name in found.missing_keys), found

    def save(self, folder: Path | str, extra: Mapping[str, Any] | None = None) -> None:
        save_model(folder, self.as_gpt(), extra)
