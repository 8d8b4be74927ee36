"""Heads before bodies, and bodies in memory."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from service.access.caller import Asker
from service.server import ASKER, OWNERS
from service.server.limits import BodyBudget, Shortage
from tests.service.server.conftest import MakeServer, connect, echo, exchange, read_all, wait_for

POST = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


class RefusesAll:
    """Refuses every request by its head."""

    def refuses(self, environ: object) -> bool:
        return True


def open_files() -> set[str]:
    """What this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(link))
    return found


def test_a_refused_body_is_never_waited_for(serve: MakeServer) -> None:
    """The answer comes with the head alone, whatever length is announced, and nothing is held."""
    server = serve(check=RefusesAll())
    started = time.monotonic()
    for framing in (b"Content-Length: 199000", b"Transfer-Encoding: chunked"):
        answer = exchange(server, b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"Connection: close" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"bytes": 0}
    assert time.monotonic() - started < 4
    assert server.bodies.used == 0


def test_a_refused_client_that_sends_on_reads_its_answer(serve: MakeServer) -> None:
    """A connection is not closed on unread bytes, which would throw the answer away."""
    server = serve(check=RefusesAll())
    with connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 190000\r\n\r\n")
        time.sleep(0.2)
        connection.sendall(b"x" * 100_000 + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.sendall(b"x" * 50_000)
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1") == 1, "what follows a refused head is no request"


def test_a_refused_body_is_not_read_as_requests(serve: MakeServer) -> None:
    """What follows the head, at once or later, is thrown away: no head is looked for in it."""

    class Counts(RefusesAll):
        heads = 0

        def refuses(self, environ: object) -> bool:
            self.heads += 1
            return True

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        time.sleep(0.3)
        return echo(environ, start_response)

    check = Counts()
    server = serve(slow, check)
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" * 3000
    with connect(server) as connection:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.count(b"HTTP/1.1") == 1
    assert check.heads == 1


def test_a_refused_client_gets_no_100(serve: MakeServer) -> None:
    server = serve(check=RefusesAll())
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9000\r\n\r\n"
    assert exchange(server, head).startswith(b"HTTP/1.1 200")


def test_expecting_nothing_is_answered(serve: MakeServer) -> None:
    """``Expect: 100-continue`` without a body does not wait for one."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    assert exchange(serve(), head).startswith(b"HTTP/1.1 200")


def test_large_bodies_are_in_memory(serve: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """No body makes a temporary file, so a full or a watched folder does not matter."""
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    body = b"x" * 5_000_000
    server = serve(body_bytes=6_000_000, bodies_bytes=12_000_000)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    before = open_files()
    with connect(server) as connection:
        connection.sendall(head % len(body) + body[:-1])
        time.sleep(0.2)
        files = open_files() - before
        held = server.bodies.used
        connection.sendall(b"x")
        answer = read_all(connection)
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"bytes": len(body)}
    assert held >= 4_000_000
    assert [name for name in files if name.startswith("/")] == []
    assert server.bodies.used == 0


def test_bodies_share_a_budget(serve: MakeServer) -> None:
    """A body that finds no room is refused at once, and the others arrive: a peer's second as its
    own excess, another peer's where little is left. A small one still arrives."""
    server = serve()
    with connect(server) as first:
        first.sendall(POST % 190_000 + b"x" * 180_000)
        wait_for(lambda: server.bodies.used >= 180_000)
        second = exchange(server, POST % 190_000 + b"x" * 190_000)
        other = exchange(server, POST % 190_000 + b"x" * 190_000, "127.0.0.2")
        small = exchange(server, POST % 150_000 + b"x" * 150_000, "127.0.0.2")
        first.sendall(b"x" * 10_000)
        answer = read_all(first)
    assert b"catalens.excess" in second
    assert b"catalens.refused" in other
    for refusal in (second, other):
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"max_bodies_bytes" in refusal
    assert small.endswith(b'{"bytes": 150000}')
    assert answer.endswith(b'{"bytes": 190000}')
    assert server.bodies.used == 0
    with connect(server) as gone:
        gone.sendall(POST % 190_000 + b"x" * 100_000)
        wait_for(lambda: server.bodies.used == 100_000)
    # A connection that ends gives its bytes back.
    wait_for(lambda: server.bodies.used == 0)


def test_a_few_that_hold_all_they_can_leave_room(serve: MakeServer) -> None:
    """However many bodies three peers keep open, there is room for the fourth's."""
    server = serve(bodies_bytes=800_000)
    held = []
    for peer in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        for _ in range(8):
            connection = connect(server, peer)
            connection.sendall(POST % 190_000 + b"x" * 60_000)
            held.append(connection)
    wait_for(lambda: server.bodies.used == 660_000)
    answer = exchange(server, POST % 60_000 + b"x" * 60_000, "127.0.0.5")
    assert answer.endswith(b'{"bytes": 60000}')
    for connection in held:
        connection.close()


class OneKey:
    """Counts every body for one key."""

    def refuses(self, environ: dict[str, object]) -> bool:
        environ[OWNERS] = (f"address {environ['REMOTE_ADDR']}", "name page")
        return False


def test_a_key_has_its_share_from_all_addresses(serve: MakeServer) -> None:
    server = serve(check=OneKey())
    with connect(server, "127.0.0.2") as first:
        first.sendall(POST % 190_000 + b"x" * 180_000)
        wait_for(lambda: server.bodies.used >= 180_000)
        assert b"catalens.excess" in exchange(server, POST % 90_000 + b"x" * 90_000, "127.0.0.3")


class NamedAsker:
    """Refuses every request by its head, and names who asks by the header that says it."""

    def refuses(self, environ: dict[str, object]) -> bool:
        environ[ASKER] = Asker(str(environ["HTTP_NAME"]))
        return True


def test_a_request_without_a_body_waits_for_a_thread_as_who_it_is(serve: MakeServer) -> None:
    """Behind a proxy all have one address: a flood of one would hold up the questions of all. The
    answer is the application's, and the connection goes on."""
    gate = threading.Event()

    def held(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        if environ["HTTP_NAME"] == "flood":
            gate.wait(10)
        return echo(environ, start_response)

    server = serve(held, check=NamedAsker(), threads=10)
    asked = b"GET / HTTP/1.1\r\nHost: x\r\nName: %s\r\n\r\n"
    flood = [connect(server) for _ in range(20)]
    for connection in flood:
        connection.sendall(asked % b"flood")
    time.sleep(0.3)
    with connect(server) as jane:
        jane.settimeout(5)
        for _ in range(2):
            jane.sendall(asked % b"jane")
            answer = b""
            while b'{"bytes": 0}' not in answer:  # head and body may come one by one
                answer += jane.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
    gate.set()
    for connection in flood:
        connection.close()


def test_a_budget_forgets_owners_that_hold_nothing() -> None:
    """Any number of addresses leaves nothing behind; shares are exact."""
    budget = BodyBudget(100)
    assert budget.reserve(51, ("a",)) is Shortage.OWN
    assert budget.reserve(50, ("a", "k")) is None
    assert budget.reserve(1, ("b", "k")) is Shortage.OWN
    assert budget.reserve(26, ("b",)) is Shortage.SHARED
    assert budget.reserve(25, ("b",)) is None
    budget.release(50, ("a", "k"))
    budget.release(25, ("b",))
    assert (budget.used, vars(budget)["_by_owner"]) == (0, {})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"1\r\nx\r\n" * 30_000, id="chunks of one byte"),
        pytest.param(b"1;" + b"a" * 200_000, id="an endless extension"),
        pytest.param(b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 30_000, id="an endless trailer"),
    ],
)
def test_framing_is_bounded(serve: MakeServer, body: bytes) -> None:
    """What is no body in a chunked body ends in 400 before it costs anything."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(serve()) as connection:
        connection.sendall(head + body)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400"), answer


def test_chunked_bodies_arrive(serve: MakeServer) -> None:
    """Chunks of any size are one body, and the next request of the connection is read."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in (1, 5, 70_000, 20_000))
    request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s\r\n"
    sent = request % b"" + chunks + b"0\r\n\r\n" + request % b"Connection: close\r\n" + b"0\r\n\r\n"
    answer = exchange(serve(), sent)
    assert b'{"bytes": 90006}' in answer
    assert answer.endswith(b'{"bytes": 0}')


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_body_with_two_ends_is_refused(serve: MakeServer, head: bytes) -> None:
    """What a proxy before the service takes for a body is never the next request here."""
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(serve(), head + b"\r\n\r\n" + smuggled)
    assert answer.count(b"\r\n\r\n") == 1
    assert b" 400 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize("target", [b"/v1?\xff", b"//v1?\xff", b"//\xe9", b"http://x/?\xff"])
def test_an_address_of_other_characters_is_refused(serve: MakeServer, target: bytes) -> None:
    """Behind two slashes it was let in, and 500 where its question was read."""
    answer = exchange(serve(), b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
    assert answer.startswith(b"HTTP/1.1 400"), answer
