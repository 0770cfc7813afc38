"""A server from its address to its last answer: binding, uvicorn, and an orderly end."""

import asyncio
import socket
import sys
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from nanolit.serve.app import make_app
from nanolit.serve.reply import Going
from nanolit.serve.served import Models
from nanolit.serve.settings import ServerSettings

HEAD_S = 20.0  # from a connection to its first request
MAX_CONNECTIONS = 1000
LATE_S = 2.0  # for writing to clients why they get no more


def bind(settings: ServerSettings) -> socket.socket:
    """A socket with the address; it does not listen yet, so a model may be opened in between."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"host: got {host!r}, which names no address of this machine ({error.strerror})") from None
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would let two servers have one address
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections to clients that read no more end, where the system can
            timeout_ms = int(min(settings.timeout_s, 1e6) * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
        listener.bind(address)
    except OSError as error:
        listener.close()
        remedy = "take another with port=, or port=0 for any that is free"
        raise ValueError(f"port: {host}:{port} cannot be had ({error.strerror}); {remedy}") from None
    return listener


def url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Impatient(H11Protocol):
    """Hangs up on who has sent no whole head of a request after a while; uvicorn would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.late = self.loop.call_later(HEAD_S, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self.late.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        if self.cycle is None:
            self.transport.close()


class Server(uvicorn.Server):
    """Stops at the first signal as soon as the running answers have ended, at the latest after `drain_s`, and at the
    second one at once."""

    def __init__(self, models: Models, settings: ServerSettings, listener: socket.socket) -> None:
        self.models, self.settings, self.listener, self.going = models, settings, listener, Going()
        super().__init__(
            uvicorn.Config(
                make_app(models, settings, self.going),
                http=Impatient,
                limit_concurrency=MAX_CONNECTIONS,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # what is unexpected we tell ourselves
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=settings.drain_s + LATE_S,  # type: ignore[arg-type]  # it is only waited for
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or [self.listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        names = ", ".join(self.models.by_id)
        print(f"{names} at {url(self.listener)}; the page is there, the API under /v1; Ctrl-C stops it", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.going.is_draining = True
        late = asyncio.get_running_loop().call_later(self.settings.drain_s, self.going.end_all)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
