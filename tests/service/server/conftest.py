"""Servers over tiny WSGI applications, and raw connections to them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from service.server import WebServer, make_server
from service.server.limits import ServerLimits
from service.settings import Settings

MakeServer = Callable[..., WebServer]


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answers how many bytes the body had, and what the server says about it."""
    body = environ["wsgi.input"].read()
    marks = {name: environ[name] for name in environ if name.startswith("catalens.")}
    answer = json.dumps({"bytes": len(body), **marks}).encode()
    status = "503 Service Unavailable" if marks else "200 OK"
    start_response(status, [("Content-Length", str(len(answer)))])
    return [answer]


def limits(**changes: Any) -> ServerLimits:
    """Small limits, with ``changes``."""
    small: dict[str, Any] = {
        "body_bytes": 200_000,
        "bodies_bytes": 500_000,
        "connections": 100,
        "drain_s": 5.0,
        "queue_s": 5.0,
    }
    return ServerLimits(**{**small, **changes})


@pytest.fixture
def serve(tmp_path: Any) -> Iterator[MakeServer]:
    """Starts servers on the loopback, and ends them."""
    started: list[tuple[WebServer, threading.Thread]] = []

    def start(app: WSGIApplication = echo, check: Any = None, **changes: Any) -> WebServer:
        settings = Settings(
            home=tmp_path,
            port=0,
            threads=changes.pop("threads", 4),
            allowed_origins=changes.pop("origins", ()),
        )
        server = make_server(app, settings, check, limits=limits(**changes))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.close()
        thread.join(timeout=10)


def connect(server: WebServer, peer: str = "127.0.0.1") -> socket.socket:
    """A connection of ``peer`` that is silent so far."""
    return socket.create_connection(
        ("127.0.0.1", server.effective_port), timeout=10, source_address=(peer, 0)
    )


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side ends."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def exchange(server: WebServer, sent: bytes, peer: str = "127.0.0.1") -> bytes:
    """What is answered to ``sent`` of ``peer`` until the connection ends."""
    with connect(server, peer) as connection:
        connection.sendall(sent)
        return read_all(connection)


def ask_raw(connection: socket.socket, sent: bytes) -> bytes:
    """The answer of ``echo`` or of nothing to ``sent``, on a connection that stays open."""
    connection.sendall(sent)
    answer = connection.recv(65536)
    while b"\r\n\r\n" not in answer or (b"Content-Length: 12" in answer and answer[-1:] != b"}"):
        answer += connection.recv(65536)
    return answer


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait until ``holds``."""
    until = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.01)
