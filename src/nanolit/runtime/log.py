"""The one logger, "nanolit": plain lines for the user, timed lines for the run folder; not a metrics store.

Lightning's own loggers are led into the same two places, because under Hydra, which gives the root logger a handler
too, each of their lines comes twice.
"""

import logging
import sys
from pathlib import Path

from nanolit.runtime.dist import is_main, rank


def setup(run_log: Path | None = None) -> logging.Logger:
    """Messages go to standard error (warnings only, but for the first process), every level goes to `run_log`."""
    logger = logging.getLogger("nanolit")
    handlers: list[logging.Handler] = [_to_user()]
    if run_log is not None and is_main():
        run_log.parent.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(run_log, encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(to_file)
    _lead(logger, handlers, logging.DEBUG if run_log is not None else logging.INFO)
    if "lightning" in sys.modules:
        for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
            _lead(logging.getLogger(name), handlers, logging.INFO)
    return logger


def close() -> None:
    """Lets go of `run_log`; messages still go to standard error. For a process that does one run after another."""
    logger = logging.getLogger("nanolit")
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            for name in ("nanolit", "lightning", "lightning.pytorch", "lightning.fabric"):
                logging.getLogger(name).removeHandler(handler)
            handler.close()


def _to_user() -> logging.Handler:
    to_user = logging.StreamHandler(sys.stderr)
    to_user.setLevel(logging.INFO if is_main() else logging.WARNING)
    to_user.setFormatter(logging.Formatter("%(message)s" if is_main() else f"[rank {rank()}] %(message)s"))
    return to_user


def _lead(logger: logging.Logger, handlers: list[logging.Handler], level: int) -> None:
    """Makes `handlers` the only ones that see this logger's messages."""
    for old in list(logger.handlers):
        logger.removeHandler(old)
        if isinstance(old, logging.FileHandler):
            old.close()
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
