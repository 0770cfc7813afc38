"""The house rules that a machine can check: who imports whom, where third-party packages live, file sizes, nothing
heavy at import.
"""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "nanolit"

# Folder -> folders that it may import. `runtime` is open to all.
MAY_IMPORT = {
    "runtime": set(),
    "village": set(),
    "models": set(),
    "optim": set(),
    "tokenizers": set(),
    "report": set(),
    "tasks": {"village", "tokenizers"},
    "data": {"village", "tasks", "tokenizers"},
    "interop": {"models", "tokenizers"},
    "inference": {"models", "tokenizers"},
    "evals": {"village", "inference", "tasks", "tokenizers", "models"},
    "datamodules": {"data", "tasks", "tokenizers"},
    "training": {"models", "optim", "inference", "evals", "tasks", "tokenizers"},
    "serve": {"inference", "tokenizers"},
    "cli": {
        *("village", "models", "optim", "tokenizers", "report", "tasks", "data", "interop", "inference", "evals"),
        *("datamodules", "training", "serve"),
    },
}
# Package -> the only folders that may import it.
KEPT_IN = {
    "hydra": {"cli"},
    "omegaconf": {"cli"},
    "lightning": {"datamodules", "training", "cli"},
    "tiktoken": {"tokenizers"},
    "tokenizers": {"tokenizers"},
    "rustbpe": {"tokenizers"},
    "datasets": {"data", "tasks"},
    "pyarrow": {"data", "tasks"},
    "safetensors": {"models", "interop"},
    "transformers": {"interop"},
    "huggingface_hub": {"interop", "data"},
    "matplotlib": {"report"},
    "lm_eval": {"evals"},
    "fastapi": {"serve"},
    "uvicorn": {"serve"},
    "starlette": {"serve"},
    "wandb": {"cli", "training"},
    "pickle": set(),
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
FORBIDDEN_NAMES = {"utils", "helpers", "manager", "misc", "common"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"line {node.lineno}: write nanolit.…, a dot hides whose it is"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "nanolit")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_keep_to_the_table(path):
    here = room(path)
    if not here:
        return  # nanolit/__init__.py and __main__.py only name what is elsewhere
    assert here in MAY_IMPORT, f"{here}/ is not in the table: say what it may import"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "nanolit" and len(parts) > 1:
            allowed = MAY_IMPORT[here] | {here, "runtime"}
            assert parts[1] in allowed or parts[1].startswith("__"), f"{here}/ may not import nanolit.{parts[1]}"
        elif parts[0] in KEPT_IN:
            assert here in KEPT_IN[parts[0]], f"{parts[0]} belongs into {KEPT_IN[parts[0]] or 'no folder'}, not {here}/"


def test_a_relative_import_is_refused(tmp_path):
    for line in ("from . import gpt", "from ..models import gpt"):
        (tmp_path / "module.py").write_text(line)
        with pytest.raises(AssertionError, match=r"write nanolit\.…"):
            list(imports(tmp_path / "module.py"))


def test_the_village_is_pure_python():
    for path in (PACKAGE / "village").glob("*.py"):
        for name in imports(path):
            first = name.partition(".")[0]
            assert first == "nanolit" or first in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_the_table_has_no_cycle():
    def reach(folder: str, seen: tuple[str, ...]) -> None:
        assert folder not in seen, f"cycle: {' -> '.join((*seen, folder))}"
        for other in MAY_IMPORT[folder]:
            reach(other, (*seen, folder))

    for folder in MAY_IMPORT:
        reach(folder, ())


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_functions_and_names_stay_small_and_telling(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES, "split it: one file is one idea"
    assert path.stem not in FORBIDDEN_NAMES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, f"{node.name} is too long"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"


def test_every_room_and_module_says_what_it_is():
    for path in modules():
        if path.name != "__init__.py" or room(path) == "":
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} has no docstring"


def test_the_model_reads_in_one_sitting():
    text = (PACKAGE / "models" / "gpt.py").read_text()
    assert len(text.splitlines()) <= 500
    for family in ("gpt2", "llama", "nanochat", "qwen"):
        assert f'"{family}"' not in text.lower(), "a family is a choice of fields, never a name"


@pytest.mark.parametrize("path", sorted((PACKAGE / "tasks").glob("*.py")), ids=lambda p: p.name)
def test_a_task_fits_on_a_few_screens(path):
    assert len(path.read_text().splitlines()) < 150, (
        "a task is short: what others could use belongs into a file of its own"
    )


def test_the_training_module_stays_thin():
    text = (PACKAGE / "training" / "language_model.py").read_text()
    assert len(text.splitlines()) < 200, "what is not the step itself belongs into a callback"


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a part of a configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)


def test_every_target_in_conf_can_be_imported():
    files = sorted((ROOT / "conf").rglob("*.yaml"))
    found = {target for path in files for target in targets(yaml.safe_load(path.read_text()))}
    assert len(found) > 8
    for target in found:
        module, _, name = target.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name, None)), f"{target} is nowhere"


@pytest.mark.parametrize(
    "module",
    [
        *("nanolit", "nanolit.cli.main", "nanolit.cli.train", "nanolit.cli.generate", "nanolit.cli.eval"),
        *("nanolit.cli.chat", "nanolit.cli.serve"),
        *("nanolit.cli.import_model", "nanolit.cli.export_model", "nanolit.cli.data", "nanolit.cli.tokenizer"),
        *("nanolit.cli.prepare",),
    ],
)
def test_nothing_heavy_is_imported_before_a_command_needs_it(module):
    heavy = ("torch", "lightning", "hydra", "transformers", "datasets", "wandb", "numpy")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_train_py_is_thin():
    assert len((ROOT / "train.py").read_text().splitlines()) <= 16


def test_no_private_paths_or_stubs_are_shipped():
    for path in [*modules(), ROOT / "train.py", *(ROOT / "conf").rglob("*.yaml")]:
        text = path.read_text()
        for word in ("NotImplementedError", "TODO", "FIXME"):
            assert word not in text, f"{path.relative_to(ROOT)} holds {word}"
