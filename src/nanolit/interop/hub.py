"""A name on the Hugging Face hub becomes a folder on this machine: downloaded once, found again without a network.

It opens nothing that it fetches, and it fetches no code.
"""

import re
from pathlib import Path

from nanolit.interop.packages import need

OPENAI = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")  # short names, as in nanoGPT
ABOUT = ("config.json", "generation_config.json", "chat_template.jinja", "special_tokens_map.json", "tokenizer*.json")
SAFE = ("*.safetensors", "*.safetensors.index.json")
PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def full_name(name: str) -> str | None:
    """`org/name` of what `name` may mean on the hub; None if it can mean nothing there."""
    if name in OPENAI:
        return f"openai-community/{name}"
    return name if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) else None


def snapshot(name: str) -> Path:
    """The folder of model `name`: configuration, tokenizer and weights, pickled ones only if there are no others."""
    folder = _fetch(name, (*ABOUT, *SAFE))
    return folder if any(folder.glob("*.safetensors")) else _fetch(name, (*ABOUT, *SAFE, *PICKLED))


def config_file(name: str) -> Path:
    """The config.json of the model `name` alone."""
    return _fetch(name, ("config.json",)) / "config.json"


def _fetch(name: str, patterns: tuple[str, ...]) -> Path:
    hub = need("huggingface_hub", f"model {name}")
    from huggingface_hub import errors

    repository = full_name(name)
    if repository is None:
        raise ValueError(f"{name}: is no name on the Hugging Face hub; those are gpt2, gpt2-xl, … or ORG/NAME")
    by_hand = f"or get https://huggingface.co/{repository} elsewhere and give the path of its folder instead of {name}"
    try:
        folder = Path(hub.snapshot_download(repository, allow_patterns=list(patterns)))
    except errors.GatedRepoError as error:
        remedy = "ask for access on its page and set HF_TOKEN (`hf auth login`)"
        raise ValueError(f"{name}: {repository} is open only to whom its owners admit; {remedy}, {by_hand}") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        # The hub does not tell a private repository from none.
        raise ValueError(f"{name}: no model {repository} on the hub, or a private one (HF_TOKEN); {by_hand}") from error
    except (errors.HTTPError, OSError) as error:  # also of huggingface_hub's own, that it is offline or has not got it
        if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
            raise  # of this machine: a full disk, for one
        why = "HF_HUB_OFFLINE is set" if hub.constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise ValueError(
            f"{name}: not on this machine, and {why}; go online (HF_ENDPOINT, a proxy), {by_hand}"
        ) from error
    if not (folder / "config.json").is_file():
        raise ValueError(f"{name}: {repository} has no config.json, so it is no model of transformers; {by_hand}")
    return folder
