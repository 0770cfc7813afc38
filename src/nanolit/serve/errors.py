"""What a client is told when it cannot have what it asked for: OpenAI's error objects, always and everywhere."""

import sys
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

NO_RETRY = {"x-should-retry": "false"}  # OpenAI's client would try again after any 5xx


class Refusal(Exception):
    """Told to the client with `status`; `param` is the field of the request that is to blame."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        status: int = 400,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code, self.headers = message, param, status, code, headers

    def body(self) -> dict[str, Any]:
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, self.headers)


def busy(message: str, retry_after_s: int) -> Refusal:
    headers = {"Retry-After": str(max(1, retry_after_s))}
    return Refusal(message, status=429, code="queue_full", headers=headers)


def stopping() -> Refusal:
    return Refusal("the server is stopping; ask again later", status=503, code="stopping", headers={"Retry-After": "5"})


def too_slow(timeout_s: float) -> Refusal:
    message = f"the answer was not ready after {timeout_s:g} seconds; ask for fewer tokens, or start with timeout_s="
    return Refusal(message, status=503, code="timeout", headers=NO_RETRY)


def defect() -> Refusal:
    message = "a defect of the server; its terminal shows where"
    return Refusal(message, status=500, code="internal_error", headers=NO_RETRY)


def install(app: FastAPI) -> None:
    """Every exception that leaves a route becomes an error object."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return error.response()

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        told = f"{request.method} {request.url.path[:100]}"
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            told = f"{told}: got {request.method}, allowed: {allowed or 'another method'}"
        elif error.status_code == 404:
            told = f"{told}: no such address; the API is /v1/chat/completions, /v1/completions and /v1/models"
        else:
            told = f"{told}: {error.detail}"
        return Refusal(told, status=error.status_code, headers=error.headers).response()

    async def gone(_: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it; it is counted

    async def unexpected(_: Request, error: Exception) -> Response:
        traceback.print_exception(error, file=sys.stderr)
        return defect().response()

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, unexpected)
