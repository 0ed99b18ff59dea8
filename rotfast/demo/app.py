"""The page's answers: a few in JSON around a model, and static files. Nothing comes from another machine."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import Tensor

from rotfast.demo.drawing import as_input
from rotfast.demo.explorer import Explorer

__all__ = ["make_app"]

_PAGE = Path(__file__).parent / "page"
_LARGEST_BODY = 1 << 20
_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


class _BadRequestError(Exception):
    """What the page sent is wrong; the message says how."""


def make_app(
    explorer: Explorer,
    *,
    title: str,
    examples: tuple[Tensor, Tensor] | None = None,
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]"),
) -> Starlette:
    """The application that serves the page of one model.

    GET / and /static/ answer the page; GET /api/model what there is to explore; GET /api/example?digit=D an
    example; POST /api/encode?turn=DEGREES&centred=0|1 takes a drawing (n·n bytes, 0 paper, 255 ink) and
    answers its code and what the model saw; POST /api/decode takes {"code": [...]} and answers an image.
    Images are base64 of bytes, row by row. What is wrong is answered with {"error": message}.

    Args:
        explorer: the model.
        title: what the page shows of the run.
        examples: uint8 (N, H, H) and their labels (N,), for the buttons of digits; None leaves them out.
        hosts: names under which a browser may ask, since a page elsewhere could have its own name point here;
            ("*",) for all.

    Returns:
        The application, for any ASGI server.
    """
    state = _State(explorer, title, examples)
    routes = [
        Route("/", _page),
        Route("/api/model", state.model),
        Route("/api/example", state.example),
        Route("/api/encode", state.encode, methods=["POST"]),
        Route("/api/decode", state.decode, methods=["POST"]),
        Mount("/static", StaticFiles(directory=_PAGE)),
    ]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)), Middleware(_AddHeaders)]
    return Starlette(
        routes=routes, middleware=middleware, exception_handlers={_BadRequestError: _bad_request}
    )


async def _page(request: Request) -> Response:
    return FileResponse(_PAGE / "index.html")


async def _bad_request(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


class _State:
    """The model behind the page and its answers."""

    def __init__(self, explorer: Explorer, title: str, examples: tuple[Tensor, Tensor] | None) -> None:
        self._explorer, self._title, self._examples = explorer, title, examples
        self._lock = threading.Lock()
        self._turns: dict[int, int] = {}

    async def model(self, request: Request) -> Response:
        """What there is to explore."""
        digits = [] if self._examples is None else self._examples[1].unique().tolist()
        return JSONResponse(
            {
                "title": self._title,
                "image_size": self._explorer.image_size,
                "dimensions": [asdict(dimension) for dimension in self._explorer.dimensions],
                "digits": digits,
            }
        )

    async def example(self, request: Request) -> Response:
        """An example of a digit, the next one at every call."""
        digit = int(_number(request, "digit"))
        images, labels = self._examples or (torch.empty(0), torch.empty(0))
        (places,) = (labels == digit).nonzero(as_tuple=True)
        if not len(places):
            raise _BadRequestError(f"there is no example of {digit}")
        turn = self._turns.get(digit, 0)
        self._turns[digit] = turn + 1
        return JSONResponse({"image": _encoded(images[places[turn % len(places)]].float() / 255)})

    async def encode(self, request: Request) -> Response:
        """The code of a drawing."""
        turn, centred = _number(request, "turn"), bool(_number(request, "centred"))
        body = await _body(request)
        side = math.isqrt(len(body))
        if side < 8 or side * side != len(body):
            raise _BadRequestError(f"a drawing must be n·n bytes with n of at least 8, got {len(body)}")
        drawing = torch.frombuffer(bytearray(body), dtype=torch.uint8).view(side, side).float() / 255
        image = as_input(drawing, self._explorer.image_size, turn, centred)
        code = await run_in_threadpool(self._locked, self._explorer.encode, image)
        if not code.isfinite().all():
            raise _BadRequestError("the model's code of this drawing is not finite")
        return JSONResponse({"code": code[0].tolist(), "image": _encoded(image[0, 0])})

    async def decode(self, request: Request) -> Response:
        """The image of a code."""
        code = torch.tensor([_code(await _body(request), len(self._explorer.dimensions))])
        image = await run_in_threadpool(self._locked, self._explorer.decode, code)
        return JSONResponse({"image": _encoded(image[0, 0])})

    def _locked(self, step: Any, x: Tensor) -> Tensor:
        """One pass at a time, without gradients."""
        with self._lock, torch.inference_mode():
            result: Tensor = step(x).float().cpu()
        return result


class _AddHeaders:
    """Answers that load nothing from elsewhere and are not kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _number(request: Request, name: str) -> float:
    text = request.query_params.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _BadRequestError(f"{name} must be a number, got {text!r}")
    return value


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_BODY:
            raise _BadRequestError(f"a request must be at most {_LARGEST_BODY} bytes")
    return bytes(body)


def _code(body: bytes, size: int) -> list[float]:
    try:
        content = json.loads(body)
    except ValueError as error:
        raise _BadRequestError(f"a code must come as JSON: {error}") from error
    code = content.get("code") if isinstance(content, dict) else None
    numbers = isinstance(code, list) and all(type(value) in (int, float) for value in code)
    if not isinstance(code, list) or not numbers or len(code) != size:
        raise _BadRequestError(f'a code must be {{"code": [...]}} with {size} numbers')
    if not all(math.isfinite(value) for value in code):
        raise _BadRequestError("a code must be finite")
    return [float(value) for value in code]


def _encoded(image: Tensor) -> str:
    """Base64 of the bytes of an image (H, W) in [0, 1]."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return base64.b64encode(pixels.numpy().tobytes()).decode()
