"""Any causal language model of Hugging Face transformers as a network of ours (models/network.py): trained, evaluated,
sampled and saved by the same engine, computed by their code.

For families that `GPT` does not speak, and to compare with those that it does. Nothing is converted, and no code from
the hub is run. Losses that a model adds to its own (a router's) are left out.

B batch   T tokens   V rows of the model's vocabulary
"""

import copy
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import nanolit
from nanolit.interop import hub
from nanolit.interop.foreign import check_type
from nanolit.interop.packages import need, plain_words
from nanolit.interop.token_cache import TokenCache
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import nll
from nanolit.models.network import refuse_documents
from nanolit.runtime.files import read_json, write_json
from nanolit.runtime.suggest import suggest

SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# What configurations call the same, the most common first; transformers itself maps most old names to these.
LENGTH = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")
HIDDEN = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff")


def build(
    vocab_size: int,
    config: str | Mapping[str, Any] | None = None,
    block_size: int | None = None,
    weights: Path | None = None,
) -> "CausalLM":
    """What `model=hf` makes: first values at random from a configuration, or `weights` (a folder) as they are.

    `config` is a folder, a config.json, a name on the hub, or the settings themselves with a model_type. The vocabulary
    is `vocab_size`, the tokenizer's, unless the settings themselves say another.
    """
    if weights is not None:
        if config is not None:
            raise ValueError("model.config: init_from brings its own configuration; leave it out")
        return CausalLM.load(weights, torch.float32, block_size)
    if config is None:
        raise ValueError(
            "model.config: not given; a folder, a name on the hub, or settings, model.config='{model_type: llama, …}'"
        )
    transformers = _transformers()
    settings = _read_settings(transformers, config, vocab_size)
    named = next((name for name in LENGTH if isinstance(getattr(settings, name, None), int)), None)
    if block_size is not None and named:
        setattr(settings, named, block_size)  # nothing has been learnt yet, so it may be as long as one likes
    try:
        with plain_words():
            model = transformers.AutoModelForCausalLM.from_config(
                settings, dtype=torch.float32, trust_remote_code=False
            )
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise ValueError(
            f"model.config.model_type: transformers has no causal language model of type {settings.model_type}"
        ) from error
    _require_causal(model, f"model.config.model_type: {settings.model_type}")
    return CausalLM(model, block_size)


class CausalLM(nn.Module):
    def __init__(self, model: Any, block_size: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.config = nearest(model.config, block_size)  # for block and vocabulary size; the rest estimates costs
        accepts = inspect.signature(model.forward).parameters
        self._can_skip, self._can_go_on = "logits_to_keep" in accepts, "past_key_values" in accepts

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype | None = None, block_size: int | None = None) -> "CausalLM":
        """The model in a folder that transformers wrote; every tensor must be there, and no other."""
        transformers = _transformers()
        check_type(folder)
        from safetensors import SafetensorError

        try:
            with plain_words():
                model, report = transformers.AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=dtype or "auto",
                    local_files_only=True,
                    trust_remote_code=False,  # said, or it asks, and a "y" would run what lies beside the weights
                    use_safetensors=True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # they are in the report, and refused below
                )
        except SafetensorError as error:
            raise ValueError(
                f"{folder}: holds a safetensors file that is not whole ({error}); copy it again"
            ) from error
        problems = [f"{kind.removesuffix('_keys')}: {report[kind]}" for kind in sorted(report) if report[kind]]
        if problems:
            told = " ".join("; ".join(problems).split())[:300]
            raise ValueError(f"{folder}: its weights do not fit its config.json: {told}")
        _require_causal(model, str(folder))
        about = read_json(folder / "config.json").get("nanolit") or {}
        return cls(model, block_size or about.get("block_size"))

    def architecture(self) -> dict[str, Any]:
        """All but the weights, as plain JSON."""
        about = {"config": self.model.config, "generation": getattr(self.model, "generation_config", None)}
        plain = {name: json.loads(told.to_json_string(use_diff=False)) for name, told in about.items() if told}
        return plain | {"block_size": self.config.block_size}

    @classmethod
    def from_architecture(cls, told: Mapping[str, Any]) -> "CausalLM":
        """The model that said `told`, with first values at random."""
        transformers = _transformers()
        settings = transformers.CONFIG_MAPPING[told["config"]["model_type"]].from_dict(told["config"])
        with plain_words():
            model = transformers.AutoModelForCausalLM.from_config(
                settings, dtype=torch.float32, trust_remote_code=False
            )
            if "generation" in told:
                model.generation_config = transformers.GenerationConfig.from_dict(told["generation"])
        return cls(model, told["block_size"])

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        cache: "PastTokens | TokenCache | None" = None,
        last_only: bool = False,
        documents: Tensor | None = None,
    ) -> Tensor:
        refuse_documents(documents)
        if targets is not None:
            return nll(self.logits(ids).float(), targets)
        return self.logits(ids, cache, last_only)

    def score(self, ids: Tensor, targets: Tensor, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        refuse_documents(documents)
        logits = self.logits(ids).float()  # (B, T, V)
        return nll(logits, targets), logits.argmax(dim=-1) == targets

    def logits(self, ids: Tensor, cache: "PastTokens | TokenCache | None" = None, last_only: bool = False) -> Tensor:
        if isinstance(cache, TokenCache):
            T, ids, cache = ids.size(1), cache.append(ids), None
            return self.logits(ids)[:, -1 if last_only else -T :]
        n_tokens = ids.size(1) + (0 if cache is None else cache.length)
        if n_tokens > self.config.block_size:
            raise ValueError(
                f"{n_tokens} tokens do not fit into block_size={self.config.block_size}; give the model fewer"
            )
        if cache is None:
            skip = {"logits_to_keep": 1} if last_only and self._can_skip else {}
            logits = self.model(input_ids=ids, use_cache=False, **skip).logits
        else:
            logits = cache.go_on(self.model, ids)
        return logits[:, -1:] if last_only else logits  # (B, T, V)

    def new_cache(self, batch: int, max_len: int) -> "PastTokens | TokenCache":
        return PastTokens() if self._can_go_on else TokenCache()

    def resize_vocabulary(self, vocab_size: int) -> None:
        """In place: every new row is the mean of the old ones, as in models/surgery.py."""
        before = self.config.vocab_size
        if vocab_size <= before:
            return
        self.model.resize_token_embeddings(vocab_size, mean_resizing=False)
        layers = [self.model.get_input_embeddings(), self.model.get_output_embeddings()]
        for table in {id(t): t for layer in layers for t in (layer.weight, getattr(layer, "bias", None))}.values():
            if table is not None:
                table.data[before:] = table.data[:before].float().mean(dim=0).to(table.dtype)
        self.config = nearest(self.model.config, self.config.block_size)

    def save(self, folder: Path | str, extra: Mapping[str, Any] | None = None) -> None:
        """As transformers writes it; `extra` goes into config.json as in models/directory.py."""
        from safetensors import SafetensorError

        folder, extra = Path(folder), dict(extra or {})
        try:
            with plain_words():
                self.model.save_pretrained(folder)
        except SafetensorError as error:
            raise OSError(f"{folder}: cannot be written ({error})") from error
        about = {"version": nanolit.__version__, "block_size": self.config.block_size, **extra.pop("nanolit", {})}
        write_json(folder / "config.json", {**read_json(folder / "config.json"), **extra, "nanolit": about})


class PastTokens:
    """A cache of transformers, of the kind that the model chooses for itself when it is first asked."""

    def __init__(self, past: Any = None, length: int = 0) -> None:
        self.past, self.length = past, length

    @torch.no_grad()
    def go_on(self, model: Any, ids: Tensor) -> Tensor:
        """Logits (B,T,V) of the new tokens `ids` (B,T), without gradients."""
        told = model(input_ids=ids, past_key_values=self.past, use_cache=True)
        self.past, self.length = told.past_key_values, self.length + ids.size(1)
        return told.logits

    def repeat(self, n: int) -> "PastTokens":
        past = copy.deepcopy(self.past)
        past.reorder_cache(torch.zeros(n, dtype=torch.long))  # each row is the first; every kind of cache can do it
        return PastTokens(past, self.length)


def nearest(settings: Any, block_size: int | None = None) -> GPTConfig:
    """The GPTConfig that costs about what a model of these settings costs. Its function is another."""
    text = settings.get_text_config()
    length = next((value for name in LENGTH if isinstance(value := getattr(text, name, None), int)), None)
    if length is None and block_size is None:
        raise ValueError("model.block_size: this model's configuration names no longest text; give one")
    if length is not None and block_size is not None and not 1 <= block_size <= length:
        raise ValueError(f"model.block_size: got {block_size}, the model's configuration allows 1 to {length}")
    width, n_head = text.hidden_size, _largest(text, "num_attention_heads") or 1
    n_kv_head = _largest(text, "num_key_value_heads") or n_head
    hidden = next((value for name in HIDDEN if (value := _largest(text, name))), 4 * width)
    activation = str(getattr(text, "hidden_act", None) or getattr(text, "activation_function", "gelu"))
    head_width = _largest(text, "head_dim") or max(width // n_head, 1)
    return GPTConfig(
        vocab_size=text.vocab_size,
        block_size=block_size or length or 1,
        n_layer=text.num_hidden_layers,
        n_head=n_head,
        n_kv_head=n_kv_head if n_head % n_kv_head == 0 else None,
        n_embd=width,
        head_width=head_width,
        mlp_hidden=hidden,
        mlp="swiglu" if "silu" in activation or "swi" in activation else "gelu",
        norm="rmsnorm" if hasattr(text, "rms_norm_eps") else "layernorm",
        position="rope" if getattr(text, "rope_parameters", None) and head_width % 2 == 0 else "learned",
        tie_embeddings=bool(getattr(settings, "tie_word_embeddings", False)),
        dropout=min(max(_dropouts(text.to_dict()), default=0.0), 0.999),
    )


def _largest(settings: Any, name: str) -> int | None:
    """A number that some configurations give for each layer."""
    value = getattr(settings, name, None)
    numbers = [n for n in (value if isinstance(value, list | tuple) else [value]) if isinstance(n, int)]
    return max(numbers, default=None)


def _dropouts(settings: Mapping[str, Any]) -> list[float]:
    """Those of the decoder; classifiers and summaries are other models."""
    named = {name: value for name, value in settings.items() if "drop" in name and isinstance(value, float)}
    return [value for name, value in named.items() if not name.startswith(("classifier", "summary"))]


def _read_settings(transformers: Any, config: str | Mapping[str, Any], vocab_size: int) -> Any:
    if isinstance(config, Mapping):
        given = dict(config)
    else:
        path = Path(config)
        if not path.exists() and hub.full_name(config) is not None:
            try:
                path = hub.config_file(config)
            except ValueError as error:
                raise ValueError(f"model.config: no {path} here, and on the Hugging Face hub: {error}") from error
        path = path / "config.json" if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"model.config: no {path} here; give a folder with config.json, or a name on the hub")
        given = {**read_json(path), "vocab_size": None}  # it goes with a tokenizer, and ours may be another
    model_type = given.pop("model_type", None)
    known = transformers.CONFIG_MAPPING
    if model_type not in known:
        hint = suggest(str(model_type), known.keys()) if model_type else "llama and gpt2 are two of them"
        raise ValueError(f"model.config.model_type: got {model_type!r}, which transformers does not know; {hint}")
    if isinstance(config, Mapping):
        _refuse_unknown(known[model_type], given)
    if given.get("vocab_size") is None:
        given = {**given, "vocab_size": vocab_size}
    elif isinstance(given["vocab_size"], int) and given["vocab_size"] < vocab_size:
        raise ValueError(
            f"model.config.vocab_size: got {given['vocab_size']}, the tokenizer has {vocab_size}; "
            "leave it out to take that"
        )
    # Those of the configuration belong to its own tokenizer; ours says its own beside the saved model.
    given |= {name: given.get(name) if isinstance(config, Mapping) else None for name in SPECIAL_IDS}
    try:
        return known[model_type].from_dict({"model_type": model_type, **given})
    except Exception as error:  # each version of transformers has its own for this
        raise ValueError(f"model.config: {' '.join(str(error).split())[:300]}") from error


def _refuse_unknown(kind: Any, given: Mapping[str, Any]) -> None:
    """transformers takes any key and does nothing with it."""
    known = {*kind().to_dict(), *kind.attribute_map, *inspect.signature(kind.__init__).parameters, "rope_theta"}
    for name in given:
        if name not in known:
            raise ValueError(f"model.config.{name}: no setting of {kind.__name__}; {suggest(name, known)}")


@torch.no_grad()
def _require_causal(model: Any, where: str) -> None:
    """Some that transformers lists among causal models look ahead unless a setting says otherwise."""
    was_training = model.training
    model.eval()
    first, second = (model(input_ids=torch.tensor([[0, last]]), use_cache=False).logits[:, 0] for last in (0, 1))
    model.train(was_training)
    # Experts see the two texts in batches of different sizes, which rounds differently.
    tolerance = 1e-5 if first.dtype == torch.float32 else 0.01 * first.std().item()
    if not torch.allclose(first, second, atol=tolerance):
        raise ValueError(f"{where} sees the tokens that it is to predict; is_decoder is false in its configuration?")


def _transformers() -> Any:
    return need("transformers", "model=hf, and models that are none of GPT-2, Llama and nanochat")
