"""The addresses of the server: what is asked where, and which file of this folder answers."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from nanolit import __version__
from nanolit.serve import errors
from nanolit.serve.access import Gate
from nanolit.serve.body import read_body, read_object
from nanolit.serve.metrics import Counted, Metrics
from nanolit.serve.page import Page
from nanolit.serve.reply import Going, Reply
from nanolit.serve.requests import Order, read_chat, read_completion
from nanolit.serve.responses import ChatForm, Form, TextForm
from nanolit.serve.served import Models
from nanolit.serve.settings import MAX_MESSAGE_CHARS, MAX_MESSAGES, MAX_TOTAL_CHARS, ServerSettings

Reader = Callable[[Mapping[str, Any], Models, ServerSettings, str], Order]


def make_app(models: Models, settings: ServerSettings, going: Going | None = None) -> ASGIApp:
    """`going`: where whoever runs it finds the answers that are being written."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    metrics, page, started = Metrics(), Page(), time.monotonic()
    going = Going() if going is None else going
    errors.install(app)

    async def answer(request: Request, read: Reader, form: type[Form]) -> Response:
        since = time.perf_counter()
        body = await read_body(request, settings.max_body_bytes, settings.timeout_s)
        address = request.client.host if request.client else ""
        # Tokenizing a long prompt takes a while, in which other answers go on.
        order = await asyncio.to_thread(lambda: read(read_object(body), models, settings, address))
        if going.is_draining:
            raise errors.stopping()
        return Reply(form(order), going, metrics, settings.timeout_s, since)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await answer(request, read_chat, ChatForm)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await answer(request, read_completion, TextForm)

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model.card() for model in models]}

    @app.get("/v1/models/{name:path}")
    async def tell_model(name: str) -> dict[str, Any]:
        return models.find(name).card()

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        return _health(models, going)

    @app.get("/stats")
    async def stats() -> dict[str, Any]:
        told = [{"id": model.id, "workers": _workers(model.workers)} for model in models]
        return {"uptime_s": round(time.monotonic() - started, 3), "answers": len(going), "models": told}

    @app.get("/metrics")
    async def tell_metrics() -> Response:
        return PlainTextResponse(metrics.text(models), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return page.response("index.html", request)

    @app.get("/ui/config.json")
    async def configuration() -> dict[str, Any]:
        return page_configuration(models, settings)

    @app.get("/ui/{name:path}")
    async def file(name: str, request: Request) -> Response:
        return page.response(name, request)

    return _around(app, settings, metrics)


def page_configuration(models: Models, settings: ServerSettings) -> dict[str, Any]:
    names = list(models.by_id)
    chatting = [model.id for model in models if model.is_chat]
    return {
        "model": (chatting or names)[0],
        "models": names,
        "needs_key": settings.api_key is not None,
        "limits": {
            "max_messages": MAX_MESSAGES,
            "max_message_chars": MAX_MESSAGE_CHARS,
            "max_total_chars": MAX_TOTAL_CHARS,
        },
        "defaults": {
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "max_tokens": settings.default_max_tokens,
        },
    }


def _health(models: Models, going: Going) -> Response:
    dead = [model.id for model in models if not model.is_alive]
    status = "draining" if going.is_draining else f"{dead[0]} has died" if dead else "ok"
    told = {"status": status, "models": list(models.by_id), "version": __version__}
    return JSONResponse(told, 503 if dead else 200)


def _workers(workers) -> list[dict[str, Any]]:
    return [{"device": worker.name, **vars(worker.stats())} for worker in workers]


def _around(app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> ASGIApp:
    """From the inside out: the key is asked for after a browser has asked whether its page may send one."""
    guarded: ASGIApp = Gate(app, settings)
    if settings.cors_origins:
        methods, headers = ["GET", "POST"], ["*"]
        guarded = CORSMiddleware(guarded, settings.cors_origins, allow_methods=methods, allow_headers=headers)
    return Counted(guarded, metrics, settings.log_requests)
