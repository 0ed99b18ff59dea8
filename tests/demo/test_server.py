"""Listening: loopback or not, addresses of both kinds, a port that is taken."""

import socket

import pytest

pytest.importorskip("uvicorn", reason="needs rotfast[demo]")

from rotfast.demo.server import bind, is_loopback, url_of


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.org", False),
    ],
)
def test_what_is_loopback(host, loopback):
    assert is_loopback(host) == loopback


@pytest.mark.parametrize(
    ("host", "start"),
    [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")],
)
def test_the_address_of_the_page(host, start):
    if ":" in host and not socket.has_ipv6:
        pytest.skip("needs IPv6")
    with bind(host, 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"{start}{port}/"


def test_loopback_alone_is_listened_on():
    with bind("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_refused():
    with bind("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", listener.getsockname()[1])
