import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanolit.runtime.log import setup

LOGGERS = ("nanolit", "lightning", "lightning.pytorch", "lightning.fabric")


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    before = {name: logging.getLogger(name).handlers[:] for name in LOGGERS}
    states = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in LOGGERS}
    yield
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = before[name]
        logger.level, logger.propagate = states[name]


def test_plain_to_the_user_timed_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = setup(tmp_path / "run" / "run.log")
    logger.info("hello")
    logger.debug("detail")
    assert capsys.readouterr().err == "hello\n"
    lines = (tmp_path / "run" / "run.log").read_text().splitlines()
    assert len(lines) == 2 and lines[0].endswith("INFO nanolit: hello") and lines[1].endswith("DEBUG nanolit: detail")


def test_setup_again_does_not_double(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup(tmp_path / "a.log")
    setup(tmp_path / "b.log").info("once")
    assert capsys.readouterr().err == "once\n"
    assert (tmp_path / "a.log").read_text() == "" and "once" in (tmp_path / "b.log").read_text()


def test_other_ranks_only_warn_and_write_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    logger = setup(tmp_path / "run.log")
    logger.info("quiet")
    logger.warning("loud")
    assert capsys.readouterr().err == "[rank 1] loud\n" and not (tmp_path / "run.log").exists()


def test_lightning_lines_come_once_although_the_root_logger_has_a_handler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning", sys)  # any module: only its presence counts
    logging.getLogger("lightning").addHandler(logging.StreamHandler(sys.stderr))  # as lightning/__init__.py does
    root_handler = logging.StreamHandler(sys.stderr)  # as Hydra does
    logging.getLogger().addHandler(root_handler)
    try:
        setup(tmp_path / "run.log")
        logging.getLogger("lightning.pytorch.utilities.rank_zero").info("GPU available: False")
    finally:
        logging.getLogger().removeHandler(root_handler)
    assert capsys.readouterr().err == "GPU available: False\n"
    assert (tmp_path / "run.log").read_text().count("GPU available") == 1
