"""How a server behaves: addresses, limits, what requests get that say nothing. No models."""

import ipaddress
import socket
from dataclasses import dataclass

from nanolit.inference.params import TEMPERATURE, SamplingParams

# nanochat's
MAX_MESSAGES, MAX_MESSAGE_CHARS, MAX_TOTAL_CHARS = 500, 8000, 32_000


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any that is free
    api_key: str | None = None
    cors_origins: tuple[str, ...] = ()  # whose pages may call it from a browser; none but our own
    max_body_bytes: int = 2**20
    timeout_s: float = 600.0  # for a request, from its first byte to the last one of the answer
    drain_s: float = 30.0  # so long running answers may go on after SIGTERM
    temperature: float = TEMPERATURE  # this and the next two: where a request does not say
    top_k: int | None = 50
    default_max_tokens: int = 512
    log_requests: bool = False  # address, status and time of each; never what was said

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port: got {self.port}, allowed: 1 to 65535, or 0 for any that is free")
        for name, low in (("max_body_bytes", 1), ("timeout_s", 1e-3), ("drain_s", 0), ("default_max_tokens", 1)):
            value = getattr(self, name)
            if not low <= value < float("inf"):
                raise ValueError(f"{name}: got {value}, must be a number from {low:g} on")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            raise ValueError("api_key: is empty or has characters that a header cannot carry; take letters and digits")
        if self.api_key is not None and " " in self.api_key:
            raise ValueError("api_key: has a space in it; take letters and digits")
        SamplingParams(temperature=self.temperature, top_k=self.top_k)
        if self.temperature > 2:
            raise ValueError(f"temperature: got {self.temperature}, must be from 0 to 2, as in requests")
        self._check_host()
        self._check_origins()

    @property
    def is_loopback(self) -> bool:
        """Can nothing but this machine reach it?"""
        try:
            found = socket.getaddrinfo(self.host, None)
        except (OSError, UnicodeError) as error:
            raise ValueError(f"host: got {self.host!r}, which names no address of this machine ({error})") from None
        return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)

    def _check_host(self) -> None:
        if self.api_key is None and not self.is_loopback:
            raise ValueError(
                f"host: {self.host} can be reached from other machines, which needs a key; set NANOLIT_API_KEY or give "
                "api_key=, or take host=127.0.0.1"
            )

    def _check_origins(self) -> None:
        for origin in self.cors_origins:
            if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
                raise ValueError(
                    f"cors_origins: got {origin!r}, allowed: origins as https://example.org, without a path"
                )
        if "*" in self.cors_origins and self.api_key is None:
            raise ValueError(
                "cors_origins: * lets every page in the world ask this server; name origins, or set api_key"
            )
