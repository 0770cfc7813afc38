"""The three families whose layout `transformers` knows: which configuration is which of them, and the tables of names.

A family is found by what a model computes, never by what it is called: a configuration belongs to a family if the
family's own configuration file can say everything about it. What does not change the function (first values, dropout,
how many vocabulary rows are only padding) is kept beside it. Nothing here imports transformers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nanolit.models.config import GPTConfig, RopeScaling
from nanolit.models.links import Link, same, split_rows, swap_halves, transposed, zeros
from nanolit.runtime.typed import build

Config = dict[str, Any]  # the content of a config.json
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu2": "relu2"}  # ours -> theirs
# Fields that are said as they are; function() resolves the others.
PLAIN = (
    *("n_layer", "n_head", "n_embd", "head_dim", "n_kv_heads", "hidden", "padded_vocab", "block_size", "mlp", "norm"),
    *("norm_eps", "norm_placement", "embed_norm", "position", "tie_embeddings", "head_bias", "softcap", "qk_norm"),
    *("scale_attention_branch", "layer_scalars", "value_embeddings", "smear", "backout", "bigram_rows"),
)
READS = {theirs: ours for ours, theirs in ACTIVATIONS.items()} | {"gelu_pytorch_tanh": "gelu_tanh"}


@dataclass(frozen=True)
class Family:
    model_type: str
    architecture: str  # the class of transformers
    prefix: str  # of all names but the head's; files saved from the bare model leave it out
    write: Callable[[GPTConfig], Config]
    read: Callable[[Config], GPTConfig]
    links: Callable[[GPTConfig], list[Link]]
    buffers: tuple[str, ...] = ()  # endings of names that old files hold and that follow from the configuration
    zero_filled: tuple[str, ...] = ()  # parts that the family always has; where we do without, they are zero
    head: str = "lm_head.weight"  # may stand beside a tied embedding, as a copy of it


class NotOurs(ValueError):
    """A variant of a family that we do not compute; transformers does."""


def function(config: GPTConfig) -> dict[str, Any]:
    """All that decides what a model computes, defaults resolved: equal exactly if two models compute the same."""
    says = {name: getattr(config, name) for name in PLAIN}
    says["attention_bias"], says["mlp_bias"] = config.has_attention_bias, config.has_mlp_bias
    says["norm_bias"] = config.norm == "layernorm" and config.bias
    says["attention_scale"] = config.attention_scale or config.head_dim**-0.5
    if config.position == "rope":
        says["rope_base"], says["rope_scaling"] = config.rope_base, config.rope_scaling
    layers = range(config.n_layer if "S" in (config.window_pattern or "") else 0)
    windows = tuple(config.layer_window(layer) for layer in layers)
    says["window_pattern"] = windows if any(window is not None for window in windows) else ()
    return says


def differences(family: Family, config: GPTConfig) -> list[str]:
    """What the family's configuration cannot say of `config`, as settings; empty for a member. (Where `write` has no
    word for a value it says something else, which shows here.)
    """
    try:
        told = function(family.read(family.write(config)))
    except ValueError as error:
        return [str(error)]
    wanted = function(config)
    filled = [name for name in family.zero_filled if told[name] and not wanted[name]]
    wrong = [name for name in wanted if name not in filled and wanted[name] != told.get(name)]
    return [f"{name}={getattr(config, name, wanted[name])}" for name in wrong]


def family_of(config: GPTConfig) -> Family | None:
    return next((family for family in FAMILIES.values() if not differences(family, config)), None)


def why_none(config: GPTConfig) -> str:
    """What keeps `config` out of the family that is nearest."""
    found = {family.architecture: differences(family, config) for family in FAMILIES.values()}
    nearest = min(found, key=lambda name: len(found[name]))
    return f"nearest is {nearest}, but for model.{', model.'.join(found[nearest])}"


def beside(family: Family, config: GPTConfig) -> Config:
    """The fields of `config` that the family's configuration does not give back."""
    told = family.read(family.write(config))
    return {name: value for name, value in vars(config).items() if value != getattr(told, name) and _is_plain(value)}


def read_fields(family: Family, told: Config, fields: Config) -> GPTConfig:
    """The configuration that a config.json tells, with the fields kept beside it, which may not contradict it."""
    base = family.read(told)
    config = build(GPTConfig, vars(base) | fields, "nanolit.fields")
    says, means = function(base), function(config)
    wrong = [
        f"{name} is {says.get(name)} there and {means[name]} in its section nanolit"
        for name in means
        if means[name] != says.get(name) and not (name in family.zero_filled and says[name])
    ]
    if wrong:
        raise ValueError(f"contradicts itself: {'; '.join(wrong)}; remove the section nanolit, or restore the file")
    return config


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


# GPT-2


def _write_gpt2(config: GPTConfig) -> Config:
    return {
        "vocab_size": config.padded_vocab,
        "n_positions": config.block_size,
        "n_ctx": config.block_size,  # the same by its old name, which llama.cpp's converter asks for
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.hidden,
        "activation_function": ACTIVATIONS.get(config.mlp, "gelu_new"),
        "layer_norm_epsilon": config.norm_eps,
        "attn_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _read_gpt2(told: Config) -> GPTConfig:
    _only(told, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    return _build(
        vocab_size=_given(told, "vocab_size"),
        block_size=_given(told, "n_positions"),
        n_embd=_given(told, "n_embd"),
        n_layer=_given(told, "n_layer"),
        n_head=_given(told, "n_head"),
        mlp_hidden=told.get("n_inner"),
        mlp=_activation(told, "activation_function", "gelu_new"),
        norm_eps=told.get("layer_norm_epsilon", 1e-5),
        tie_embeddings=told.get("tie_word_embeddings", True),
    )


def gpt2_links(config: GPTConfig, prefix: str = "transformer.", is_conv1d: bool = True) -> list[Link]:
    """GPT-2's names, which nanoGPT and llm.c use too. OpenAI's matrices are stored as inputs x outputs (Conv1D)."""
    matrix = transposed if is_conv1d else same
    C, hidden = config.n_embd, config.hidden
    links = [
        same("token_embedding.weight", f"{prefix}wte.weight"),
        same("position_embedding.weight", f"{prefix}wpe.weight"),
    ]

    def bias(ours: str, theirs: str, has: bool, width: int) -> None:
        links.append(same(ours, theirs) if has else zeros(theirs, width))

    for i in range(config.n_layer):
        ours, theirs = f"blocks.{i}.", f"{prefix}h.{i}."
        for norm, name in (("attention_norm", "ln_1"), ("mlp_norm", "ln_2")):
            links.append(same(f"{ours}{norm}.weight", f"{theirs}{name}.weight"))
            bias(f"{ours}{norm}.bias", f"{theirs}{name}.bias", config.bias, C)
        for part, name, has, width in (
            ("attention.qkv", "attn.c_attn", config.has_attention_bias, 3 * C),
            ("attention.out", "attn.c_proj", config.has_attention_bias, C),
            ("mlp.up", "mlp.c_fc", config.has_mlp_bias, hidden),
            ("mlp.down", "mlp.c_proj", config.has_mlp_bias, C),
        ):
            links.append(matrix(f"{ours}{part}.weight", f"{theirs}{name}.weight"))
            bias(f"{ours}{part}.bias", f"{theirs}{name}.bias", has, width)
    links.append(same("final_norm.weight", f"{prefix}ln_f.weight"))
    bias("final_norm.bias", f"{prefix}ln_f.bias", config.bias, C)
    return links + _head(config)


# Llama


def _write_llama(config: GPTConfig) -> Config:
    scaling = config.rope_scaling
    stretched = scaling and {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_block_size,
    }
    return {
        **_write_rope_decoder(config),
        "hidden_act": "silu",
        "mlp_bias": config.has_mlp_bias,
        "rope_scaling": stretched,
    }


def _read_llama(told: Config) -> GPTConfig:
    if (activation := _text(told, "hidden_act", "silu")) not in ("silu", "swish"):
        raise NotOurs(f"hidden_act: got {activation!r}, expected silu")
    rope = _rope(told)
    kind = _text(rope, "rope_type", _text(rope, "type", "default"))
    if kind not in ("default", "llama3"):
        raise NotOurs(f"rope_type: got {kind!r}, expected default or llama3")
    scaling = None
    if kind == "llama3":
        given = {name: _given(rope, name) for name in ("factor", "low_freq_factor", "high_freq_factor")}
        given["original_block_size"] = _given(rope, "original_max_position_embeddings")
        scaling = build(RopeScaling, given, "rope_parameters")
    return _read_rope_decoder(
        told,
        norm="rmsnorm",
        mlp="swiglu",
        mlp_bias=told.get("mlp_bias", False),
        rope_scaling=scaling,
    )


def _llama_links(config: GPTConfig) -> list[Link]:
    links = [same("token_embedding.weight", "model.embed_tokens.weight")]
    for i in range(config.n_layer):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        links.append(same(f"{ours}attention_norm.weight", f"{theirs}input_layernorm.weight"))
        links += attention_links(config, f"{ours}attention.", f"{theirs}self_attn.")
        links.append(same(f"{ours}mlp_norm.weight", f"{theirs}post_attention_layernorm.weight"))
        links += _linear(config.has_mlp_bias, f"{ours}mlp.gate", f"{theirs}mlp.gate_proj")
        links += _linear(config.has_mlp_bias, f"{ours}mlp.up", f"{theirs}mlp.up_proj")
        links += _linear(config.has_mlp_bias, f"{ours}mlp.down", f"{theirs}mlp.down_proj")
    links.append(same("final_norm.weight", "model.norm.weight"))
    return links + _head(config)


# nanochat


def _write_nanochat(config: GPTConfig) -> Config:
    return {
        **_write_rope_decoder(config),
        "hidden_act": ACTIVATIONS.get(config.mlp, "relu2"),
        "final_logit_softcapping": config.softcap,
    }


def _read_nanochat(told: Config) -> GPTConfig:
    if (kind := _text(_rope(told), "rope_type", "default")) != "default":
        raise NotOurs(f"rope_type: got {kind!r}, expected default")
    return _read_rope_decoder(
        told,
        norm="rmsnorm_noweight",
        mlp=_activation(told, "hidden_act", "relu2"),
        mlp_bias=False,
        qk_norm=True,
        embed_norm=True,
        softcap=told.get("final_logit_softcapping", 15.0),
    )


def _nanochat_links(config: GPTConfig) -> list[Link]:
    links = [same("token_embedding.weight", "model.embed_tokens.weight")]
    for i in range(config.n_layer):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        # nanochat turns its rotary positions the other way round, which is the same with the halves exchanged.
        links += attention_links(config, f"{ours}attention.", f"{theirs}self_attn.", turned=True)
        links += _linear(False, f"{ours}mlp.up", f"{theirs}mlp.fc1")
        links += _linear(False, f"{ours}mlp.down", f"{theirs}mlp.fc2")
    return links + _head(config)


# Shared


def _write_rope_decoder(config: GPTConfig) -> Config:
    return {
        "vocab_size": config.padded_vocab,
        "max_position_embeddings": config.block_size,
        "hidden_size": config.n_embd,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "attention_bias": config.has_attention_bias,
        "attention_dropout": config.dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _read_rope_decoder(told: Config, **fields: Any) -> GPTConfig:
    width, n_head = _given(told, "hidden_size"), _given(told, "num_attention_heads")
    head_width = told.get("head_dim")
    is_usual = isinstance(head_width, int) and isinstance(n_head, int) and head_width * n_head == width
    rope = told.get("rope_parameters") or {}
    return _build(
        vocab_size=_given(told, "vocab_size"),
        block_size=_given(told, "max_position_embeddings"),
        n_embd=width,
        mlp_hidden=_given(told, "intermediate_size"),
        n_layer=_given(told, "num_hidden_layers"),
        n_head=n_head,
        n_kv_head=told.get("num_key_value_heads"),
        head_width=None if is_usual else head_width,
        norm_eps=told.get("rms_norm_eps", 1e-6),
        position="rope",
        rope_base=rope.get("rope_theta", told.get("rope_theta", 10000.0)),
        bias=False,
        attention_bias=told.get("attention_bias", False),
        tie_embeddings=told.get("tie_word_embeddings", False),
        **fields,
    )


def _rope(told: Config) -> Config:
    for key in ("rope_parameters", "rope_scaling"):
        value = told.get(key)
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{key}: got {value!r}, expected settings (key: value)")
    return told.get("rope_parameters") or told.get("rope_scaling") or {}


def attention_links(config: GPTConfig, ours: str, theirs: str, turned: bool = False) -> list[Link]:
    """Queries, keys and values, which are one matrix here and three there, and the projection back."""
    D = config.head_dim
    rows = (config.n_head * D, config.n_kv_heads * D, config.n_kv_heads * D)
    orders = (swap_halves(D), swap_halves(D), lambda t: t) if turned else ()
    kinds = ("weight", "bias") if config.has_attention_bias else ("weight",)
    links = []
    for kind in kinds:
        names = [f"{theirs}{part}_proj.{kind}" for part in "qkv"]
        links.append(split_rows(f"{ours}qkv.{kind}", names, rows, out=orders, back=orders))
        links.append(same(f"{ours}out.{kind}", f"{theirs}o_proj.{kind}"))
    return links


def _linear(has_bias: bool, ours: str, theirs: str) -> list[Link]:
    kinds = ("weight", "bias") if has_bias else ("weight",)
    return [same(f"{ours}.{kind}", f"{theirs}.{kind}") for kind in kinds]


def _head(config: GPTConfig) -> list[Link]:
    return [] if config.tie_embeddings else [same("head.weight", "lm_head.weight")]


def _build(**fields: Any) -> GPTConfig:
    return build(GPTConfig, fields, "")


def _given(told: Config, key: str) -> Any:
    if told.get(key) is None:
        raise ValueError(f"{key} is missing")
    return told[key]


def _text(told: Config, key: str, default: str) -> str:
    if not isinstance(text := told.get(key, default), str):
        raise ValueError(f"{key}: got {text!r}, expected a name, as {default}")
    return text


def _only(told: Config, **allowed: Any) -> None:
    for key, value in allowed.items():
        if told.get(key, value) != value:
            raise NotOurs(f"{key}: got {told[key]!r}, nanolit computes only {value!r}")


def _activation(told: Config, key: str, default: str) -> Any:
    name = _text(told, key, default)
    if name not in READS:
        raise NotOurs(f"{key}: got {name!r}, expected one of {', '.join(READS)}")
    return READS[name]


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            *("gpt2", "GPT2LMHeadModel", "transformer."),
            *(_write_gpt2, _read_gpt2, gpt2_links),
            buffers=(".attn.bias", ".attn.masked_bias"),
            zero_filled=("attention_bias", "mlp_bias", "norm_bias"),
        ),
        Family(
            *("llama", "LlamaForCausalLM", "model."),
            *(_write_llama, _read_llama, _llama_links),
            buffers=(".rotary_emb.inv_freq",),
        ),
        Family("nanochat", "NanoChatForCausalLM", "model.", _write_nanochat, _read_nanochat, _nanochat_links),
    )
}
