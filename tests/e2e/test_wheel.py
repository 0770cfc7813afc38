"""The installed package, away from its repository: it carries `conf/` and composes from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(root, tmp_path_factory) -> Path:
    """The files of a fresh wheel. pip fetches the build backend, so this needs a package index."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(root)]
    done = subprocess.run(build, capture_output=True, text=True)
    if "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("pip could not get hatchling, which builds the wheel: no package index in reach")
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("nanolit-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_carries_every_recipe(unpacked, root):
    recipes = {path.relative_to(root / "conf") for path in (root / "conf").rglob("*.yaml")}
    assert Path("train.yaml") in recipes
    assert {path.relative_to(unpacked / "nanolit" / "conf") for path in unpacked.rglob("*.yaml")} == recipes


def test_it_composes_in_a_folder_of_its_own(unpacked, tmp_path):
    where = "import nanolit; print(nanolit.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    told = {}
    for what, arguments in {"where": ["-c", where], "job": ["-m", "nanolit", "train", "--cfg", "job"]}.items():
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        told[what] = done.stdout
    assert Path(told["where"].strip()).is_relative_to(unpacked), "else the clone would be tested"
    assert yaml.safe_load(told["job"])["name"] == "quick"
    assert list(tmp_path.iterdir()) == []
