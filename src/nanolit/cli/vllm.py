"""`nanolit serve backend=vllm`: the same model, served by vLLM, which is asked for and not imported."""

import os
import shutil
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanolit.cli.serve import ServeConfig

READS = ("model", "host", "port", "api_key", "max_len", "backend")


def serve(config: "ServeConfig") -> int:
    """Becomes vLLM: its signals, output and exit code are the command's."""
    arguments = command(config)
    executable = shutil.which("vllm")
    if executable is None:
        raise ValueError(
            "backend: vllm is not installed here; pip install vllm where there is a GPU, or leave backend out"
        )
    if config.api_key is not None:
        os.environ["VLLM_API_KEY"] = config.api_key  # a command line can be read by everybody on the machine
    print(" ".join(arguments), flush=True)
    os.execv(executable, arguments)


def command(config: "ServeConfig") -> list[str]:
    from nanolit.cli.export_model import find_architecture
    from nanolit.cli.open_model import is_foreign, locate
    from nanolit.cli.serve import named
    from nanolit.models.directory import read_config

    for field in fields(config):
        if field.name not in READS and getattr(config, field.name) != field.default:
            raise ValueError(f"{field.name}: backend=vllm does not read it; leave it out")
    if len(config.model) > 1:
        raise ValueError(f"model: got {len(config.model)}, and vLLM serves one; start it once for each")
    ((name, source),) = named(config.model).items()
    folder = locate(source)
    if not is_foreign(folder):
        find_architecture(read_config(folder))  # refuses what transformers, and so vLLM, has no word for
    told = ["vllm", "serve", str(folder), "--host", config.host, "--port", str(config.port or 8000)]
    told += ["--served-model-name", name]
    return told if config.max_len is None else [*told, "--max-model-len", str(config.max_len)]
