"""Who may ask, and what browsers are told about the answers: key, Host header, security headers. No routes."""

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanolit.serve.errors import Refusal
from nanolit.serve.settings import ServerSettings

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """Stands before the application."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings, self.is_loopback = app, settings, settings.is_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal is not None:
            return await refusal.response()(scope, receive, sending)
        return await self.app(scope, receive, sending)

    def _refusal(self, path: str, headers: Headers) -> Refusal | None:
        host = headers.get("host", "")
        # The page of another site whose name suddenly means 127.0.0.1 still sends its own name (DNS rebinding).
        if self.is_loopback and not _is_local(host, self.settings.host):
            return Refusal(f"got the Host header {host[:100]!r}, allowed: localhost, or an address of it", status=403)
        key = self.settings.api_key
        if key is None or is_open(path):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode()):
            return None
        told = "the key is wrong" if given else "this server needs its key; send Authorization: Bearer KEY"
        challenge = {"WWW-Authenticate": "Bearer"}
        return Refusal(told, status=401, code="invalid_api_key", headers=challenge)


def is_open(path: str) -> bool:
    """The page asks for the key itself, and whether a server is alive is no secret."""
    return path in ("/", "/health") or path.startswith("/ui/")


def _is_local(host: str, ours: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", ours.lower()):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
