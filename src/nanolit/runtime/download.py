"""One file from the network to the disk, whole and checked, or one line that says how to do without; not a cache.

Only `urllib`, only when asked: nothing here runs unless the file is missing.
"""

import http.client
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path

from nanolit.runtime.files import atomic_path, sha256_file

log = logging.getLogger("nanolit")

CHUNK_BYTES = 1 << 18
PROGRESS_EVERY_S = 2.0


def fetch(
    url: str,
    path: Path | str,
    sha256: str | None = None,
    attempts: int = 4,
    remedy: str = "",
    *,
    backoff_s: float = 1.0,
    timeout_s: float = 30.0,
) -> Path:
    """Brings `url` to `path` unless it is there; `remedy` is the override that avoids it ("data.source=PATH")."""
    path = Path(path)
    way_out = f"place the file at {path}" + (f" or give {remedy}" if remedy else "")
    if path.exists():
        if sha256 is not None and (found := sha256_file(path)) != sha256:
            raise ValueError(
                f"{path}: sha256 is {found}, expected {sha256}; delete it to download it again from {url}, or {way_out}"
            )
        return path
    problem = ""
    for attempt in range(attempts):
        if attempt:
            log.warning("download of %s failed (%s); trying again", url, problem)
            time.sleep(backoff_s * 2 ** (attempt - 1))
        try:
            with atomic_path(path) as temporary:
                _download(url, temporary, timeout_s)
                if sha256 is not None and (found := sha256_file(temporary)) != sha256:
                    raise _Damaged(f"sha256 is {found}, expected {sha256}")
            return path
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                break  # not there or not allowed: asking again does not help
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, _Damaged) as error:
            problem = str(getattr(error, "reason", error))
    raise ValueError(f"cannot download {url}: {problem}; {way_out}")


class _Damaged(Exception):
    """What arrived is not what was promised."""


def _download(url: str, target: Path, timeout_s: float) -> None:
    received, shown_at = 0, time.monotonic()
    with urllib.request.urlopen(url, timeout=timeout_s) as response, target.open("wb") as file:
        expected = int(response.headers["Content-Length"]) if response.headers["Content-Length"] else None
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            if time.monotonic() - shown_at >= PROGRESS_EVERY_S:
                shown_at = time.monotonic()
                share = f" of {expected / 1e6:.1f}" if expected else ""
                log.info("downloading %s: %.1f%s MB", url, received / 1e6, share)
    # A connection that closes early ends the loop like a complete file does.
    if expected is not None and received != expected:
        raise _Damaged(f"{received} of {expected} bytes arrived")
