"""Deadlines of a connection, and how it ends."""

from __future__ import annotations

import http.client
import select
import threading
import time
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from service.server import ANSWER, REFUSED
from service.server.channel import peer_name
from tests.service.server.conftest import MakeServer, connect, echo, exchange, read_all, wait_for


def test_a_head_has_a_deadline(serve: MakeServer) -> None:
    """A head sent byte by byte is answered 408; bytes do not buy time. Silence just ends."""
    server = serve(header_s=0.3)
    with connect(server) as dribbling, connect(server) as silent:
        started = time.monotonic()
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nA: ":
            try:
                dribbling.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.02)
        assert read_all(dribbling).startswith(b"HTTP/1.0 408")
        assert read_all(silent) == b""
    assert time.monotonic() - started < 4


def test_a_body_has_to_move(serve: MakeServer) -> None:
    """A body that trickles is answered 408; one that moves may take longer than a window."""
    server = serve(window_s=0.2, window_bytes=2000)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with connect(server) as slow, connect(server) as quick:
        slow.sendall(head % 9000)
        quick.sendall(head % 20_000)
        for _ in range(20):
            try:
                slow.sendall(b"x")
            except OSError:
                break
            quick.sendall(b"x" * 1000)
            time.sleep(0.02)
        assert read_all(quick).endswith(b'{"bytes": 20000}')
        assert b" 408 " in read_all(slow)


@pytest.mark.parametrize("framing", [b"Content-Length: 9000", b"Transfer-Encoding: chunked"])
def test_a_whole_body_has_a_deadline(serve: MakeServer, framing: bytes) -> None:
    """Moving in every window buys no time without end: a body is done in time for its length."""
    server = serve(window_s=0.2, window_bytes=10, body_s=0.2, body_rate=20_000.0)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + framing + b"\r\n\r\n"
    part = b"x" * 100 if b"Length" in framing else b"64\r\n%s\r\n" % (b"x" * 100)
    with connect(server) as slow:
        slow.sendall(head)
        began = time.monotonic()
        while time.monotonic() - began < 4:
            try:
                slow.sendall(part)
            except OSError:
                break
            if select.select([slow], [], [], 0.03)[0]:
                break
        assert b" 408 " in read_all(slow)
    # 0.2 s and 9,000 / 20,000 s, looked at ten times a second.
    assert 0.2 < time.monotonic() - began < 1.5
    assert server.bodies.used == 0


def test_a_longer_body_may_take_longer(serve: MakeServer) -> None:
    """The deadline grows with the length that is announced."""
    server = serve(body_s=0.1, body_rate=100_000.0)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(head + b"x" * 10_000)
        time.sleep(0.5)
        connection.sendall(b"x" * 90_000)
        assert read_all(connection).endswith(b'{"bytes": 100000}')


def test_an_answer_has_to_be_taken(serve: MakeServer) -> None:
    """A client that asks for much and reads nothing does not hold it for ever."""

    def large(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(2**25))])
        return [b"x" * 2**25]

    server = serve(large, window_s=0.2)
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until = time.monotonic() + 10
        while not server.connections and time.monotonic() < until:
            time.sleep(0.01)
        while server.connections and time.monotonic() < until:
            time.sleep(0.02)
        assert server.connections == 0, "nothing was read, and yet it ended"


@pytest.mark.parametrize("status", ["304 Not Modified", "204 No Content"])
def test_answers_without_a_body_keep_the_connection(serve: MakeServer, status: str) -> None:
    """A browser that asks whether its thumbnails are still good needs one connection."""

    def unchanged(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response(status, [("ETag", '"a"')])
        return []

    server = serve(unchanged)
    connection = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=10)
    for _ in range(2):
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        assert (response.status, response.headers["Connection"]) == (int(status[:3]), None)
    assert server.accepted == 1
    connection.close()
    asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b"Connection: close" in exchange(server, asked)


def test_a_request_that_waited_too_long_is_refused(serve: MakeServer) -> None:
    """Where all threads are busy past the deadline, the rest is answered 503, not worked on."""

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        refused = environ.get("catalens.refused", "")
        time.sleep(0 if refused else 0.3)
        start_response("503 Busy" if refused else "200 OK", [("Content-Length", "0")])
        return []

    server = serve(slow, threads=1, queue_s=0.15)
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(server) as first, connect(server) as second:
        first.sendall(head)
        time.sleep(0.05)
        second.sendall(head)
        answers = [read_all(first)[:12], read_all(second)[:12]]
    assert answers == [b"HTTP/1.1 200", b"HTTP/1.1 503"]


def test_a_peer_is_an_address_or_a_network() -> None:
    assert peer_name("192.0.2.7") == "192.0.2.7"
    assert peer_name("2001:db8::1") == peer_name("2001:db8:0:0:5::9") == "2001:db8:0:0"
    assert peer_name("fe80::1%eth0") == "fe80:0:0:0"
    assert peer_name("::1") == "0:0:0:0"


def test_requests_sent_far_ahead_end_the_connection(serve: MakeServer) -> None:
    """Some are answered in their order, and the last answer says that the rest was thrown away:
    ten thousand of one read would hold up everybody else."""
    server = serve()
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
        answers = read_all(connection)
    count = answers.count(b"HTTP/1.1 200 OK")
    assert 100 < count < 300
    assert answers.count(b"Connection: close") == 1


def test_some_requests_sent_ahead_are_all_answered(serve: MakeServer) -> None:
    """A client that sends a few at once, one of them with a body, gets every answer."""
    server = serve()
    body = b"x" * 10_000
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n" + body
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 40 + post + last)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 42
    assert answers.count(b'"bytes": 10000') == 1


class _Refusal:
    """A ready answer, and a check that leaves it."""

    answered = 0

    def refuses(self, environ: WSGIEnvironment) -> bool:
        if environ["PATH_INFO"] != "/refused":
            return False
        environ.update({ANSWER: self, REFUSED: "by the application"})
        return True

    def render(self) -> bytes:
        self.answered += 1
        return b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwait"


def test_a_ready_answer_needs_no_thread(serve: MakeServer) -> None:
    """Whoever is refused by its head is told so while all threads work, also where it sends all of
    its body, several times what the kernel holds, before it reads."""
    working, free = threading.Event(), threading.Event()

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        working.set()
        assert free.wait(10)
        return echo(environ, start_response)

    check = _Refusal()
    server = serve(slow, check, threads=1, body_bytes=50_000_000)
    head = b"POST /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with connect(server) as taken:
        taken.sendall(head % (b"", 1) + b"x")
        assert working.wait(5)
        for size in (1, 100_000, 40_000_000):
            with connect(server) as connection:
                connection.sendall(head % (b"refused", size) + b"x" * size)
                assert read_all(connection).endswith(b"\r\n\r\nwait")
        free.set()
        assert read_all(taken).endswith(b'{"bytes": 1}')
    assert check.answered == 3
    wait_for(lambda: server.connections == 0)


def test_a_ready_answer_keeps_its_place(serve: MakeServer) -> None:
    """Behind a request that is being answered the application refuses, in turn."""
    check = _Refusal()
    sent = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    sent += b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n" + b"x" * 900
    first, second = exchange(serve(check=check), sent).split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert second.startswith(b"503")
    assert b"by the application" in second
    assert check.answered == 0


PAGE = b"Host: x\r\nOrigin: https://shop.example\r\n"
REFUSALS = {
    400: b"POST / HTTP/1.1\r\n" + PAGE + b"Content-Length: much\r\n\r\n",
    408: b"POST / HTTP/1.1\r\n" + PAGE + b"Content-Length: 9\r\n\r\n",
    413: b"POST / HTTP/1.1\r\n" + PAGE + b"Content-Length: 999999\r\n\r\n",
    431: b"GET / HTTP/1.1\r\n" + PAGE + b"Cookie: " + b"c" * 70_000 + b"\r\n\r\n",
    500: b"GET / HTTP/1.1\r\n" + PAGE + b"\r\n",
    501: b"POST / HTTP/1.1\r\n" + PAGE + b"Transfer-Encoding: gzip\r\n\r\n",
}


def broken(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    raise RuntimeError("what no application should do")


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("allowed", ["https://shop.example", "https://other.example", ""])
def test_a_page_may_read_what_the_server_refuses(
    serve: MakeServer, status: int, allowed: str
) -> None:
    """What is answered before any route is known names the page's origin where that is allowed,
    else the page takes the refusal for a broken network; caches keep the answers apart."""
    server = serve(broken, body_s=0.1, origins=(allowed,) if allowed else ())
    head = exchange(server, REFUSALS[status]).partition(b"\r\n\r\n")[0].lower()
    assert head.split(b" ", 2)[1] == b"%d" % status
    named = b"access-control-allow-origin: https://shop.example" in head
    assert named == (allowed == "https://shop.example")
    assert (b"access-control-expose-headers" in head) == named
    policy = b"cross-origin" if named else b"same-origin"
    assert b"cross-origin-resource-policy: " + policy in head
    assert (b"vary: origin" in head) == bool(allowed)
