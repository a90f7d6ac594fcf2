"""Exported modules over HTTP: requests that wait together share a forward pass."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainers.errors import ExportError
from trainers.serving import Asked, Modules

ROWS_TOGETHER = 256
"""Requests are answered together up to about so many rows."""
MOST_WAITING = 1024
"""Requests that may wait; more are turned away, so that nobody waits for ever."""

Rows = list[dict[str, Any]]


class Texts(BaseModel):
    """The body of POST /predict."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] | list[list[str]]
    """Lists of words where words are tagged."""
    pairs: list[str] | None = None
    """The second texts, where the module reads pairs."""
    module: str | None = None
    """Name of the module; may be left out where there is one."""


class Desk:
    """Where requests wait; one at a time is worked on, together with all that had come by then."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules
        self._waiting: asyncio.Queue[tuple[Asked, asyncio.Future[Rows]]] = asyncio.Queue(MOST_WAITING)

    async def predict(self, asked: Asked) -> Rows:
        """What the module says of each text.

        Raises:
            asyncio.QueueFull: if too many wait already.
        """
        answer: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((asked, answer))
        return await answer

    async def work(self) -> None:
        """Answer, until cancelled."""
        while True:
            together = [await self._waiting.get()]
            while not self._waiting.empty() and sum(len(one.texts) for one, _ in together) < ROWS_TOGETHER:
                together.append(self._waiting.get_nowait())
            await self._answer(together)

    async def _answer(self, together: Sequence[tuple[Asked, asyncio.Future[Rows]]]) -> None:
        try:
            answers = await asyncio.to_thread(self._modules.predict, [asked for asked, _ in together])
        except Exception as error:
            if len(together) == 1:
                _settle(together[0][1], error)
                return
            for one in together:  # what broke one must not break the others
                await self._answer([one])
        else:
            for (_, future), rows in zip(together, answers, strict=True):
                _settle(future, rows)


def _settle(future: asyncio.Future[Rows], result: Rows | Exception) -> None:
    if future.done():  # the client has gone
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def application(modules: Modules, max_bytes: int) -> FastAPI:
    """The application: POST /predict, GET / and GET /health; errors are {"error": one line}."""
    desk = Desk(modules)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(desk.work())
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    # Without the pages of documentation: they load scripts from elsewhere.
    app = FastAPI(title="Peltier", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit, most=max_bytes)
    app.add_exception_handler(AnyHTTPException, _told)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _failed)

    @app.get("/")
    def index() -> dict[str, Any]:
        return {"modules": {name: _facts(modules, name) for name in modules}}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(body: Texts) -> dict[str, Any]:
        asked = _checked(modules, body)
        try:
            rows = await desk.predict(asked) if asked.texts else []
        except asyncio.QueueFull:
            raise HTTPException(503, f"{MOST_WAITING} requests wait already; try again later") from None
        return {"module": asked.module, "predictions": rows}

    return app


def _checked(modules: Modules, body: Texts) -> Asked:
    """The request, if a module can answer it."""
    name = body.module if body.module is not None else next(iter(modules)) if len(modules) == 1 else None
    if name is None:
        raise HTTPException(400, f'name a "module"; modules: {", ".join(modules)}')
    if body.pairs is not None and len(body.pairs) != len(body.texts):
        raise HTTPException(400, f"{len(body.texts)} texts and {len(body.pairs)} pairs; give one for each")
    try:
        modules[name].check_pairs(body.pairs)
        modules[name].unlabelled(body.texts, body.pairs)
    except ExportError as error:
        raise HTTPException(400 if name in modules else 404, str(error)) from None
    if not modules[name].reads_words and any(not isinstance(text, str) for text in body.texts):
        raise HTTPException(400, "this module reads texts; give each as a string")
    return Asked(name, body.texts, body.pairs)


def _facts(modules: Modules, name: str) -> dict[str, Any]:
    module = modules[name]
    return {
        "kind": module.kind,
        "labels": list(module.labels),
        "method": module.manifest["method"],
        "max_length": module.manifest["max_length"],
        "pairs": module.manifest["task"]["columns"]["text_pair"] is not None,
        "words": module.reads_words,
    }


# ------------------------------------------------------------------------------------- errors


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": " ".join(text.split())}, status)


async def _told(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return _error(error.status_code, str(error.detail))


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return _error(422, f'{place}: {first["msg"]}; give {{"texts": ["a text", "another"]}} as JSON')


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return _error(500, f"the module failed ({type(error).__name__}); see what the server printed")


class BodyLimit:
    """Turns away requests that are too large before they are read as JSON."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application around another: hands on the body once it is whole."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._most:
                response = _error(413, f"the request is larger than {self._most:,} bytes; send fewer texts")
                await response(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replayed, send)


def run(modules: Modules, listener: socket.socket, max_bytes: int) -> None:
    """Serve on a socket that listens, until a signal comes."""
    config = uvicorn.Config(application(modules, max_bytes), log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[listener])
