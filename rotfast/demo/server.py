"""Serving the page until Ctrl-C."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

import uvicorn
from starlette.applications import Starlette

__all__ = ["bind", "is_loopback", "make_server", "serve", "url_of"]


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach the address or name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: address or name of this machine.
        port: 0 takes a free one.

    Raises:
        OSError: the name is unknown, or the port is taken or not allowed.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family)


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    address, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(app: Starlette) -> uvicorn.Server:
    """A server of the page, which tells no more than what goes wrong."""
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))


def serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Answer until Ctrl-C, or until ``should_exit`` of the server is set.

    Args:
        server: from `make_server`.
        listener: from `bind`.
    """
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        server.run(sockets=[listener])
