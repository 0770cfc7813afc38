"""Hydra as this project wants it: plain values for the command, one-line errors, no traceback, and no grammar lessons.

An override is tried as it stands; if Hydra's grammar rejects its value it is quoted. Keys that a dataclass checks
later (`model.…`) may be given even where the YAML leaves them out.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from nanolit.cli import depth_dial
from nanolit.cli.errors import guarded
from nanolit.runtime.suggest import suggest

OPTIONS = ("--multirun", "--cfg", "--resolve", "--info", "--config-dir", "--package", "--hydra-help")
TAKE_A_WORD = ("--cfg", "--info", "--config-dir", "--package")
STOPPED = 128  # exit codes above it are those of signals
# Their values are checked against dataclasses or signatures, which know more keys than the YAML files spell out.
# A pipeline's stages have such settings too, but each its own: pipeline.training=[…] is for all of them.
CLOSED = ("pipeline",)
OPEN_SECTIONS = ("lora", "dpo", "model", "tokenizer", "data", "task", "optimizer", "schedule", "trainer")


class JobFailed(Exception):
    """A job of a sweep that ran in another process has failed, and has told why. Its argument is the exit code."""


def config_folder() -> Path:
    """`conf/` of the clone, or the copy inside an installed package."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent.parent / "conf", package / "conf"):
        if (folder / "train.yaml").exists():
            return folder
    raise FileNotFoundError(f"no conf/ folder beside or inside {package}; install nanolit again")


def run(config_name: str, task: Callable[[dict[str, Any]], int], argv: list[str], debug: bool = False) -> int:
    """Compose `config_name` with `argv` and call `task` with plain values; under --multirun once per job.

    A job that fails has told why and does not stop the others; the exit code is the worst of all.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    _refuse_foreign_experiment(config_name, argv)
    _refuse_no_settings(argv)
    _register_resolvers()
    # Hydra raises instead of printing and exiting, so that errors are told in our way.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    codes = [0]
    first_process = os.getpid()

    @hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)
    def job(config: DictConfig) -> None:
        _register_resolvers()  # a launcher may have started this job in another process, where only this function is
        codes.append(guarded(lambda: task(_plain(config)), debug))
        if codes[-1] and os.getpid() != first_process:
            raise JobFailed(codes[-1])
        if codes[-1] > STOPPED:
            raise SystemExit(codes[-1])  # somebody wants the whole sweep to end, not only this job

    def call(arguments: list[str]) -> int:
        before = sys.argv
        sys.argv = [before[0], *arguments]
        try:
            job()
        except JobFailed as failed:
            return failed.args[0]
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 2
        finally:
            sys.argv = before
        return max(codes)

    # Options may stand anywhere.
    argv = sorted(argv, key=lambda argument: argument.startswith("-") or "=" not in argument)
    argv = with_short_job_names([quoted(argument) for argument in argv])
    while True:
        try:
            return call(argv)
        except OmegaConfBaseException as error:
            raise ValueError(f"configuration: {_first_line(error)}") from error
        except HydraException as error:
            opened = _open_missing_key(config_name, argv, error)
            if opened is None:
                raise ValueError(_explain(config_name, argv, error)) from error
            argv = opened


def composed(config_name: str, argv: list[str]) -> dict[str, Any]:
    """The plain values of another command, for one that runs already."""
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    argv = [quoted(argument) for argument in argv]
    while True:
        try:
            plain: Any = OmegaConf.to_container(compose(config_name, argv), resolve=True, throw_on_missing=True)
            return plain
        except HydraException as error:
            opened = _open_missing_key(config_name, argv, error)
            if opened is None:
                raise ValueError(_explain(config_name, argv, error)) from error
            argv = opened


def _refuse_no_settings(argv: list[str]) -> None:
    for before, argument in pairwise(["", *argv]):
        is_setting = not argument.startswith(("-", "~")) and before not in TAKE_A_WORD
        if is_setting and "=" not in argument:
            told = f"data=text data.source={argument}" if Path(argument).exists() else f"{argument}=…"
            raise ValueError(f"{argument}: settings are written key=value, as {told}")
        if argument.startswith("--") and argument.partition("=")[0] not in OPTIONS:
            raise ValueError(
                f"{argument}: settings are written key=value, without dashes; options: {', '.join(OPTIONS)}"
            )


def job_overrides() -> list[str]:
    """What this run was given: of a sweep, only its own job's values."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else sys.argv[1:]


def make(node: dict[str, Any], **extra: Any) -> Any:
    """The object that a node with a `_target_` describes; what is wrong with its values is told in the object's own
    words.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, **extra)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        raise ValueError(f"{node['_target_']}: {error.__cause__ or _first_line(error)}") from error


def _plain(config: Any) -> dict[str, Any]:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import InterpolationResolutionError

    hydra_config = HydraConfig.get()
    explicit = any(override.split("=")[0].lstrip("+") == "run_dir" for override in hydra_config.overrides.task)
    if hydra_config.mode == RunMode.MULTIRUN and "run_dir" in config and not explicit:
        with open_dict(config):  # each job of a sweep has a folder of its own
            config.run_dir = hydra_config.runtime.output_dir
    raw: Any = OmegaConf.to_container(config, resolve=False)
    try:
        depth_dial.check(raw, list(hydra_config.overrides.task))
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except ValueError as error:
        with suppress(OSError):
            Path(hydra_config.runtime.output_dir).rmdir()  # Hydra has made it; nothing is left of what did not begin
        # Of a resolver that refused a value its own words say it best.
        raise (_first_error(error) if isinstance(error, InterpolationResolutionError) else error) from None
    assert isinstance(plain, dict)
    if by_depth := list(depth_dial.followers(raw)):
        plain["by_depth"] = by_depth
    return plain


def _first_error(error: BaseException) -> BaseException:
    while error.__context__ is not None:
        error = error.__context__
    return error


def _register_resolvers() -> None:
    from omegaconf import OmegaConf

    if not OmegaConf.has_resolver("run_time"):
        OmegaConf.register_new_resolver("run_time", _run_time, use_cache=True)
        depth_dial.register()


def _run_time() -> str:
    """Names a run folder: the scheduler's job, which is the same for all its processes and after a requeue, or the
    time.
    """
    from datetime import datetime

    from nanolit.runtime import dist

    if dist.started_by_srun():
        return f"job_{os.environ['SLURM_JOB_ID']}"
    if dist.world_size() > 1:
        job = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        if job == "none":
            raise ValueError("run_dir: several processes were started from outside; name their folder, run_dir=PATH")
        return f"job_{job}"
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def quoted(argument: str) -> str:
    """The override as Hydra's grammar can read it: `prompt=a, b: c` becomes `prompt='a, b: c'`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-"):
        return argument
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{key}='{escaped}'"
    return argument


def with_short_job_names(argv: list[str]) -> list[str]:
    """A sweep's jobs are named by what differs between them; all overrides together make too long a name."""
    if not {"-m", "--multirun"} & set(argv):
        return argv
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    same = ["run_dir"]
    for argument in argv:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            continue  # told when the arguments are composed
        if not override.is_sweep_override():
            same.append(override.get_key_element().lstrip("+~"))
    return [f"hydra.job.config.override_dirname.exclude_keys=[{','.join(same)}]", *argv]


def _open_missing_key(config_name: str, argv: list[str], error: Exception) -> list[str] | None:
    """The same arguments with `++` before the one that names a key absent from the YAML of an open section."""
    missing = re.search(r"Could not override '([^']+)'", str(error))
    if not missing or config_name in CLOSED or missing[1].split(".")[0] not in OPEN_SECTIONS or "." not in missing[1]:
        return None
    changed = [f"++{a}" if a.partition("=")[0] == missing[1] else a for a in argv]
    return changed if changed != argv else None


def _explain(config_name: str, argv: list[str], error: Exception) -> str:
    text = str(error)
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, name = found[1].rpartition("/")
        options = experiments(config_name) if group == "experiment" else option_names(group)
        return f"{group}={name}: no such choice; {suggest(name, options)}"
    if found := re.search(r"Could not (?:override|delete|append to config) '?([\w.@/-]+)'?", text):
        key = found[1].rstrip(".")
        if config_name in CLOSED and key.split(".")[0] != "pipeline":
            return f"{key}: is no setting of a pipeline; for all its training stages give pipeline.training=[{key}=…]"
        allowed = {*_all_keys(config_name), *(f"{group}=" for group in groups())}
        command = "python train.py" if config_name == "train" else f"nanolit {config_name.replace('_', ' ')}"
        return f"{key}: no such setting; {suggest(key, allowed, otherwise=f'{command} --help lists what there is')}"
    if "mismatched input" in text or "token recognition" in text or "no viable alternative" in text:
        return f"cannot read the arguments {argv}: write each as key=value ({_first_line(error)})"
    return _first_line(error)


def _all_keys(config_name: str) -> Iterable[str]:
    import yaml

    folder = config_folder()
    for path in [folder / f"{config_name}.yaml", *folder.glob("*/*.yaml")]:
        values = yaml.safe_load(path.read_text()) or {}
        is_global = "@package _global_" in path.read_text()
        prefix = "" if path.parent == folder or is_global else f"{path.parent.name}."
        yield from _flat(values, prefix)


def _flat(values: dict[str, Any], prefix: str) -> Iterable[str]:
    for key, value in values.items():
        if key in ("defaults", "hydra"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")


def groups() -> list[str]:
    return sorted(path.name for path in config_folder().iterdir() if path.is_dir())


def option_names(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("[!_]*.yaml"))


def experiments(config_name: str) -> list[str]:
    """Those of a command: an evaluation's names begin with eval_, all others are trained."""
    return [name for name in option_names("experiment") if name.startswith("eval_") == (config_name == "eval")]


def _refuse_foreign_experiment(config_name: str, argv: list[str]) -> None:
    """Another command's experiment would compose into settings that nobody has heard of."""
    foreign = {*option_names("experiment")} - {*experiments(config_name)}
    for argument in argv:
        key, _, value = argument.partition("=")
        for name in re.findall(r"[\w-]+", value) if key == "experiment" else ():
            if name in foreign:
                command = "nanolit eval" if name.startswith("eval_") else "python train.py"
                raise ValueError(f"experiment={name}: is run by `{command} experiment={name}`, not here")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
