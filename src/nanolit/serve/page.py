"""The files of the web page, known when the server starts: no request names a path."""

import hashlib
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response

from nanolit.serve.errors import Refusal

FOLDER = Path(__file__).parent / "ui"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Page:
    def __init__(self, folder: Path = FOLDER) -> None:
        files = [path for path in sorted(folder.rglob("*")) if path.suffix in TYPES]
        self._files = {path.relative_to(folder).as_posix(): (path.read_bytes(), TYPES[path.suffix]) for path in files}

    def response(self, name: str, request: Request) -> Response:
        if name not in self._files:
            raise Refusal(f"{request.url.path[:100]}: no such file of the page", status=404)
        content, kind = self._files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}  # asked about each time, sent when it changed
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)
