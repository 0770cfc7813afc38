"""`nanolit serve model=MODEL …`: OpenAI's API and a web page over one model or several, by our engine or by vLLM."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanolit.cli.arguments import list_settings, read_arguments, run_command
from nanolit.cli.open_model import MODEL_WANTED, WriterConfig, locate
from nanolit.inference.params import EngineSettings, Weights
from nanolit.serve.settings import ServerSettings

if TYPE_CHECKING:
    from nanolit.inference.worker import Worker
    from nanolit.serve.served import Served

API_KEY = "NANOLIT_API_KEY"
HELP = f"""usage: nanolit serve model=MODEL [key=value …]

  nanolit serve model=runs/mine                                  http://127.0.0.1:8000
  {API_KEY}=… nanolit serve model=runs/mine host=0.0.0.0
  nanolit serve model=[runs/a,runs/b] device=[cuda:0,cuda:1]     both models on both devices

MODEL is a run folder, a model directory, a folder of Hugging Face, or a name on its hub. The page is at /, the API
under /v1, and OpenAI's clients work unchanged. Only this machine can reach it unless host= says otherwise, which needs
a key in {API_KEY} or api_key=. SIGTERM or Ctrl-C lets running answers end, a second one does not.
backend=vllm hands one model over to vLLM, where it is installed.
"""


@dataclass(frozen=True, kw_only=True)
class ServeConfig(ServerSettings, EngineSettings):
    """How the server and each engine behave, and what they serve."""

    model: tuple[str, ...]
    device: tuple[str, ...] = ("auto",)  # a worker on each
    weights: Weights = "auto"
    draft: str | None = None
    backend: Literal["nanolit", "vllm"] = "nanolit"

    def __post_init__(self) -> None:
        ServerSettings.__post_init__(self)
        EngineSettings.__post_init__(self)
        for name in ("model", "device"):
            if not getattr(self, name):
                raise ValueError(f"{name}: got an empty list; give at least one")


def main(argv: list[str] | None = None) -> int:
    return run_command(argv, f"{HELP}\n{list_settings(ServeConfig)}", read, run)


def read(argv: list[str]) -> ServeConfig:
    missing = {"model": MODEL_WANTED}
    if key := os.environ.get(API_KEY):
        argv = [f"api_key={key}", *argv]  # what is said on the command line comes later and counts
    return read_arguments(ServeConfig, argv, missing, lists=("model", "device", "cors_origins"))


def run(config: ServeConfig) -> int:
    if config.backend == "vllm":
        from nanolit.cli import vllm

        return vllm.serve(config)
    try:
        from nanolit.serve.run import Server, bind
        from nanolit.serve.served import Models
    except ModuleNotFoundError as error:
        raise ValueError(f"nanolit serve needs the serve extra ({error}): pip install 'nanolit[serve]'") from error

    sources = named(config.model)
    listener = bind(_part(ServerSettings, config))  # before minutes go by with loading
    workers: list[Worker] = []
    try:
        served = [open_served(name, source, config, workers) for name, source in sources.items()]
        Server(Models(served), config, listener).run()
    finally:
        for worker in workers:
            worker.close(timeout_s=0)
        listener.close()
    return 0


def named(sources: Sequence[str]) -> dict[str, str]:
    """Models by the last part of their path that is a name: of a run its own, not the time it began."""
    found: dict[str, str] = {}
    for source in sources:
        path = Path(source).resolve() if Path(source).exists() else Path(source)
        parts = [part for part in path.parts if part not in (path.root, "model")] or [source]
        name = "/".join(parts[-2:] if parts[-1][:1].isdigit() else parts[-1:])
        name = source if name in found else name
        if name in found or source in found.values():
            raise ValueError(f"model: got {source} twice; name each once")
        found[name] = source
    return found


def open_served(name: str, source: str, config: ServeConfig, workers: "list[Worker]") -> "Served":
    """Its workers are added to `workers`."""
    from nanolit.inference.worker import Worker
    from nanolit.serve.served import Served

    folder = locate(source)
    for device in config.device:
        writer = WriterConfig(model=str(folder), device=device, weights=config.weights, draft=config.draft)
        model, tokenizer, draft = writer.open()
        on = str(next(iter(model.parameters())).device)
        workers.append(Worker(model, tokenizer, settings=_part(EngineSettings, config), name=on, draft=draft))
    return Served(name, workers[-len(config.device) :], fingerprint(folder, config))


def fingerprint(folder: Path, config: ServeConfig) -> str:
    from nanolit import __version__

    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.*"))]
    told = repr((__version__, config.weights, config.device, files))
    return f"fp_{hashlib.sha256(told.encode()).hexdigest()[:10]}"


def _part(cls: type, config: ServeConfig) -> Any:
    return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})
