"""The service as a process and over a real socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from indexer.core.errors import BadSettingsError, BusyError
from service import app
from service.api.openapi import ENDING
from service.app import create_app, head_check
from service.engine import Engine
from service.server import check_address, make_server
from tests.service.conftest import ODD_IDS, photo
from tests.service.server.conftest import MakeServer, ask_raw, connect, exchange, read_all

ROOT = Path(__file__).parents[3]
LIMIT = 300_000


@pytest.fixture(scope="module")
def port(shop: Engine) -> Iterator[int]:
    """A waitress server over the shop, on a free port of the loopback."""
    settings = shop.settings.replace(port=0, max_body_bytes=LIMIT, threads=4)
    app = create_app(shop, settings)
    server = make_server(app, settings, head_check(app))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield int(server.effective_port)
    server.close()
    thread.join(timeout=10)


def ask(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, Any]:
    """Status, content type and JSON body; ``path`` goes out as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=names)
        response = connection.getresponse()
        return response.status, response.headers.get_content_type(), json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("chosen", [*ODD_IDS.values(), "cross-red"])
def test_ids_survive_the_real_way(port: int, chosen: str) -> None:
    """Whatever a server decodes on the way, the id that was encoded is the id that is read."""
    segment = quote(chosen, safe="")
    status, _, product = ask(port, "GET", f"/v1/products/{segment}")
    assert (status, product["product_id"]) == (200, chosen)
    status, _, answer = ask(port, "GET", f"/v1/products/{segment}/similar?k=3&exclude=cross-tan")
    assert (status, len(answer["results"])) == (200, 3)
    status, _, answer = ask(port, "GET", f"http://127.0.0.1:{port}/v1/products/{segment}")
    assert (status, answer["product_id"]) == (200, chosen), "absolute form, as proxies send it"


def test_a_photo_is_answered_over_the_socket(port: int) -> None:
    boundary = "x" * 20
    body = (
        f"--{boundary}\r\n".encode()
        + b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        + photo("cross", "red")
        + f"\r\n--{boundary}--\r\n".encode()
    )
    kind = f"multipart/form-data; boundary={boundary}"
    status, _, answer = ask(port, "POST", "/v1/search", body, Content_Type=kind)
    assert (status, answer["results"][0]["product_id"]) == (200, "cross-red")


@pytest.mark.parametrize("times", [1.2, 6])
def test_too_large_a_body_is_a_problem_document(port: int, times: float) -> None:
    """A little over the limit or far over it, announced in Content-Length: 413, and the server goes
    on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/v1/search")
    connection.putheader("Content-Type", "application/json")
    size = int(LIMIT * times)
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    if times < 4:
        connection.send(b" " * size)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    assert (response.status, response.headers["Content-Type"]) == (413, "application/problem+json")
    assert (body["status"], body["code"], bool(body["request_id"])) == (413, "body-too-large", True)
    assert ask(port, "GET", "/livez")[0] == 200


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_document(port: int, request_head: bytes) -> None:
    """A request that the server cannot read is answered like any other failure."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(request_head)
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    told = json.loads(body)
    assert (told["code"], told["request_id"]) == ("bad-request", headers["X-Request-Id"])


def test_a_port_in_use_is_one_line(port: int, shop: Engine) -> None:
    taken = shop.settings.replace(port=port)
    with pytest.raises(BusyError, match=rf"127\.0\.0\.1 port {port} is in use"):
        make_server(create_app(shop, taken), taken)
    elsewhere = shop.settings.replace(host="192.0.2.1", port=0, api_keys=("k" * 20,))
    with pytest.raises(BadSettingsError, match=r"192\.0\.2\.1"):
        make_server(create_app(shop, elsewhere), elsewhere)


def test_a_port_in_use_is_found_before_the_index_is_loaded(
    port: int, shop: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve` asks for its address first, of each family that its host has."""
    opened: list[object] = []
    monkeypatch.setattr(app, "Engine", opened.append)
    with pytest.raises(BusyError, match=rf"127\.0\.0\.1 port {port} is in use: stop what"):
        app.serve(shop.settings.replace(port=port))
    with pytest.raises(BadSettingsError, match=r"cannot listen on 192\.0\.2\.1"):
        app.serve(shop.settings.replace(host="192.0.2.1", port=0, api_keys=("k" * 20,)))
    with pytest.raises(BusyError, match=f"localhost port {port} is in use"):
        check_address(shop.settings.replace(host="localhost", port=port))
    check_address(shop.settings.replace(host="localhost", port=0))
    assert opened == []


@pytest.mark.long
def test_the_process_says_where_it_is_and_stops_cleanly(template: Path) -> None:
    """It prints its address, logs one JSON line per request on stderr, what its libraries log
    too, says what it did not check, and ends with 0 on SIGTERM."""
    code = (
        "import logging, sys, warnings; from service import app; "
        "from service.settings import Settings; make = app.create_app; "
        "app.create_app = lambda *given: (logging.getLogger('waitress.queue').warning("
        "'Task queue depth is %d', 1), warnings.warn('old\\nuse'), make(*given))[2]; "
        "app.serve(Settings.make(home=sys.argv[1], port=0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(template)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Catalens answers at http://127.0.0.1:"), line
        port = int(line.rstrip("/\n").rpartition(":")[2])
        status, _, answer = ask(port, "GET", "/v1/products/cross-red", X_Request_Id="look-here")
        assert (status, answer["request_id"]) == (200, "look-here")
        # Sent by whoever wants files to be read again, which they are anyway.
        process.send_signal(signal.SIGHUP)
        assert ask(port, "GET", "/livez")[0] == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    events = [json.loads(text) for text in errors.splitlines()]
    asked = [event for event in events if event["event"] == "request" and event["path"] != "/livez"]
    assert [(event["request_id"], event["path"], event["status"]) for event in asked] == [
        ("look-here", "/v1/products/cross-red", 200)
    ]
    (unchecked,) = [event for event in events if event["event"] == "not checked at start"]
    assert "originals" in unchecked["what"]
    assert unchecked["check"] == f"catalens verify --home {template}"
    library = {event["logger"]: event["message"] for event in events if event["event"] == "library"}
    assert library["waitress.queue"] == "Task queue depth is 1"
    assert "old\nuse" in library["py.warnings"]


def test_one_peer_cannot_keep_others_out(serve: MakeServer) -> None:
    """Half-open connections end each other, the oldest first; who asks is answered."""
    server = serve(unfinished=20, connections=60)
    silent = [connect(server) for _ in range(80)]
    kept = [connect(server) for _ in range(3)]
    for connection in kept:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200")
    assert read_all(silent[0]) == b""
    for connection in (*silent, *kept):
        connection.close()


def test_connections_that_wait_make_room(serve: MakeServer) -> None:
    """At the limit of all connections one that waits for its next request ends."""
    server = serve(unfinished=20, connections=20)
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    idle = []
    for _ in range(30):
        connection = connect(server)
        assert ask_raw(connection, head).startswith(b"HTTP/1.1 200")
        idle.append(connection)
    assert idle[0].recv(65536) == b""
    assert ask_raw(idle[-1], head).startswith(b"HTTP/1.1 200")
    for connection in idle:
        connection.close()


def test_answers_that_nobody_takes_hold_a_bounded_memory(serve: MakeServer) -> None:
    """Of clients that take large answers slowly, the largest of the peer with most of them end;
    whoever takes an answer gets all of it, and small ones stay."""
    size = 2**24  # more than the system takes off

    def large(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        answer = bytes(size if environ["PATH_INFO"] == "/large" else 10)
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]

    server = serve(large, answers_bytes=3 * size, taken_s=0.3)

    def slow(path: str, source: str) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((source, 0))
        client.connect(("127.0.0.1", server.effective_port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return client

    clients = [slow("/large", "127.0.0.2") for _ in range(8)] + [slow("/large", "127.0.0.3")]
    until = time.monotonic() + 10
    while time.monotonic() < until:
        held = {channel: channel.total_outbufs_len for channel in server._all()}
        answered = server.accepted == len(clients) and all(held.values())
        if answered and len(held) < len(clients) and sum(held.values()) <= 3 * size:
            break
        time.sleep(0.05)
    assert len(held) < len(clients)
    assert sum(held.values()) <= 3 * size
    assert "127.0.0.3" in {channel.peer for channel in held}
    with socket.create_connection(("127.0.0.1", server.effective_port)) as quick:
        quick.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with quick.makefile("rb") as answer:
            assert len(answer.read()) > size
    for client in clients:
        client.close()


def test_probes_do_not_wait_for_others(serve: MakeServer) -> None:
    """``/livez`` is answered where every thread is taken."""
    free = threading.Event()

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] != "/livez":
            free.wait(10)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    server = serve(slow, threads=1)
    with connect(server) as held, connect(server) as waiting:
        for connection in (held, waiting):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        started = time.monotonic()
        probe = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert exchange(server, probe).startswith(b"HTTP/1.1 200")
        took = time.monotonic() - started
        free.set()
        assert read_all(waiting).startswith(b"HTTP/1.1 200")
    assert took < 1


def test_what_was_begun_is_answered(serve: MakeServer) -> None:
    """``stop``: what runs, waits or has sent its first byte is answered, and then it ends."""

    stopped = threading.Event()

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = environ["wsgi.input"].read()
        stopped.wait(30)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    server = serve(slow, threads=2, grace_s=0.3)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"
    whole = [connect(server) for _ in range(6)]
    parts = [connect(server) for _ in range(2)]
    for connection in whole:
        connection.sendall(head + b"abcdef")
    parts[0].sendall(head[:20])
    parts[1].sendall(head + b"abc")
    time.sleep(0.1)
    server.stop()
    time.sleep(0.6)
    stopped.set()
    parts[0].sendall(head[20:] + b"abcdef")
    parts[1].sendall(b"def")
    for connection in (*whole, *parts):
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert answer.endswith(b"abcdef")
        assert b"Connection: close" in answer, "the client does not ask here again"
        connection.close()
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset
        connect(server)


def test_an_answer_without_an_end_ends_with_the_server(serve: MakeServer) -> None:
    """A page that follows a job does not hold up the end: its stream is told, and ends whole."""

    def follow(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        yield b": begun"
        assert environ[ENDING].wait(30)
        yield b": ended"

    server = serve(follow)
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = b""
        while b": begun" not in begun:
            part = connection.recv(65536)
            assert part, begun
            begun += part
        server.stop()
        began = time.monotonic()
        rest = read_all(connection)
    assert rest.endswith(b": ended\r\n0\r\n\r\n")
    assert time.monotonic() - began < 3


def test_a_kept_connection_has_a_moment_at_the_end(serve: MakeServer) -> None:
    """The next request of a client that did not know is answered too."""
    server = serve(grace_s=1.0)
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server) as connection:
        assert ask_raw(connection, head).startswith(b"HTTP/1.1 200")
        server.stop()
        time.sleep(0.3)
        connection.sendall(head)
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_what_never_ends_is_cut(serve: MakeServer) -> None:
    """After ``drain_s`` the server ends whatever is open."""
    server = serve(drain_s=0.4, header_s=60)
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.1)
        started = time.monotonic()
        server.stop()
        assert read_all(connection) == b""
        assert 0.2 < time.monotonic() - started < 3
