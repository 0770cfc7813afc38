import errno
import hashlib
from pathlib import Path

import pytest

from nanolit.runtime.files import atomic_folder, atomic_path, read_json, sha256_file, write_json


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent and not target.exists()
    assert target.read_text() == "new" and names(target.parent) == {"file.txt"}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and names(tmp_path) == {"file.txt"}


def test_a_folder_replaces_the_older_one_or_leaves_it(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("old", "new"):
        with atomic_folder(target) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
    assert names(target / "sub") == {"new"} and names(tmp_path) == {"model"}
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "half").write_text("half")
        raise RuntimeError
    assert names(target / "sub") == {"new"} and names(tmp_path) == {"model"}


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


def test_a_full_disk_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "file") as _:
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() raises it: without a name
    assert caught.value.errno == errno.ENOSPC and str(tmp_path / "file") in str(caught.value)


def test_a_parent_that_is_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), atomic_path(tmp_path / "file" / "x") as _:
        pass


def test_json_round_trip_and_broken_json(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"x\.json: not a readable JSON file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(TypeError):
        write_json(tmp_path / "y.json", object())
    assert names(tmp_path) == {"x.json"}


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nanolit" * 100_000)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(b"nanolit" * 100_000).hexdigest()
