"""The body of a request as a JSON object, or a refusal: too long, too slow, no UTF-8, no JSON, nothing that is text."""

import asyncio
import json
import math
from typing import Any, NoReturn

from fastapi import Request

from nanolit.serve.errors import Refusal

PATIENCE = 8  # times the limit are read and let go: a client that still sends would not hear why it is refused


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """Counted while it comes: a client may say nothing, or something else, about its length."""
    # Other types a page of another site may send here without asking first; this one needs the consent of CORS.
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(f"got a body of type {kind[:60]!r}, allowed: application/json; send that as Content-Type")
    body, n = bytearray(), 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                n += len(part)
                if n <= max_bytes:
                    body += part
                elif n > PATIENCE * max_bytes:
                    break
    except TimeoutError:
        raise Refusal("the body did not come in time; send it faster", status=408, code="timeout") from None
    if n > max_bytes:
        # What may still come is not read, so the connection cannot go on.
        headers = {"Connection": "close"}
        raise Refusal(f"the body is longer than {max_bytes} bytes; send less", status=413, headers=headers)
    return bytes(body)


def read_object(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"the body is not UTF-8 (byte {error.start}); send JSON in UTF-8") from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise Refusal(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Refusal("the body is nested too deeply; no request needs that") from None
    except UnicodeEncodeError:
        raise Refusal("the body holds half of a surrogate pair (\\ud800 to \\udfff), which is no text") from None
    except ValueError:
        raise Refusal("the body holds a number with more digits than any field takes") from None
    if not isinstance(value, dict):
        raise Refusal("the body is not a JSON object; send {…}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise Refusal(f"the body holds {name}, which JSON does not know; send a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Refusal(f"the body holds the number {text[:30]}, which is too large; send a smaller one")
    return value
