"""Promise: connections go to checked addresses only, and no answer costs more than its limits."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from indexer.core.errors import UrlFailedError, UrlRefusedError
from indexer.fetch import http_client
from indexer.fetch.address_check import AddressCheck
from indexer.fetch.http_client import PhotoClient
from indexer.fetch.settings import FetchSettings
from tests.indexer.fetch.test_address_check import HOSTILE
from tools.bench.harness.photo_server import photo_bytes, running

PHOTO = photo_bytes("one", 64)


@contextmanager
def answering(*answers: bytes, slow_s: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends each connection its answer, byte by byte if ``slow_s``; what it heard."""
    heard: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                heard.append(sock.recv(65536))
                try:
                    step = 1 if slow_s else max(1, len(answer))
                    for start in range(0, len(answer), step):
                        sock.sendall(answer[start : start + step])
                        time.sleep(slow_s)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", heard


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def client_for(*private: str, check: AddressCheck | None = None, **changes: float) -> PhotoClient:
    settings = FetchSettings(private=frozenset(private), **changes)  # type: ignore[arg-type]
    return PhotoClient(settings, check=check)


def failure(endpoint: str, **changes: float) -> UrlFailedError:
    client = client_for(endpoint, **changes)
    with pytest.raises(UrlFailedError) as caught:
        client.get(client.check(f"http://{endpoint}/a.jpg"))
    client.close()
    return caught.value


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that a socket of this process was connected to, or a name looked up."""
    found: list[object] = []
    connect = socket.socket.connect

    def recording(self: socket.socket, address: object) -> None:
        found.append(address)
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", recording)
    return found


def test_hostile_urls_make_no_connection(connected: list[object]) -> None:
    """Of more than a hundred hostile URLs none opens a socket, whatever names resolve to."""
    client = client_for(check=AddressCheck(FetchSettings(), lambda host, port: ["127.0.0.1"]))
    for url in HOSTILE:
        with pytest.raises(UrlRefusedError):
            client.get(client.check(url))
    assert connected == []


def test_redirects_inwards_make_no_connection(connected: list[object]) -> None:
    """A server that may be asked cannot send the client to one that may not."""
    with running() as server:
        client = client_for(server.endpoint)
        for url in HOSTILE:
            if not url.startswith(("http://", "https://")) or "\x00" in url or "\ud800" in url:
                continue
            target = f"http://{server.endpoint}/to/?{url}"
            with pytest.raises((UrlRefusedError, UrlFailedError)):
                client.get(client.check(target))
        client.close()
        host, _, port = server.endpoint.partition(":")
    assert set(connected) == {(host, int(port))}


def test_a_name_is_resolved_once(connected: list[object]) -> None:
    """A name whose second answer is an inner address is connected to the first one, as checked."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["169.254.169.254"]])
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    client = client_for(check=AddressCheck(FetchSettings(), rebinding), connect_s=0.05)
    with pytest.raises(UrlFailedError):
        client.get(client.check("http://rebinding.example/a.jpg"))
    assert asked == ["rebinding.example"]
    assert connected == [("93.184.216.34", 80)]
    with pytest.raises(UrlRefusedError):
        client.get(client.check("http://rebinding.example/a.jpg"))
    assert len(connected) == 1


def test_the_server_sees_the_name_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Host`` is the URL's, though the connection went to an address; no proxy is asked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(response(PHOTO)) as (endpoint, heard):
        port = endpoint.partition(":")[2]
        settings = FetchSettings(private=frozenset({f"photos.test:{port}"}))
        check = AddressCheck(settings, lambda host, port: ["127.0.0.1"])
        client = PhotoClient(settings, check=check)
        answer = client.get(client.check(f"http://photos.test:{port}/衬 衫.jpg"))
    assert answer.data == PHOTO
    assert f"Host: photos.test:{port}".encode() in heard[0]
    assert heard[0].startswith(b"GET /%E8%A1%AC%20%E8%A1%AB.jpg HTTP/1.1")


def test_connections_are_kept() -> None:
    """Photos of one host share a connection."""
    with running() as server:
        client = client_for(server.endpoint)
        ports: set[int] = set()
        finish = server.process_request

        def counting(request: object, address: tuple[str, int]) -> None:
            ports.add(address[1])
            finish(request, address)  # type: ignore[arg-type]

        server.process_request = counting  # type: ignore[method-assign]
        for number in range(5):
            assert client.get(client.check(server.url("photo", number))).data
        client.close()
    assert len(ports) == 1


def test_kept_connections_are_few_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names hosts of their own takes no descriptor for each, and an idle connection ends
    also where its host is never asked again."""
    monkeypatch.setattr(http_client, "_MOST_KEPT", 3)
    with ExitStack() as stack:
        hosts = [stack.enter_context(running()) for _ in range(5)]
        client = client_for(*(host.endpoint for host in hosts))
        for host in hosts:
            assert client.get(client.check(host.url("photo", 1))).data
        assert [entry.endpoint[1] for entry in client._kept] == [h.endpoint for h in hosts[2:]]
        monkeypatch.setattr(http_client, "_KEPT_S", 0.0)
        assert client.get(client.check(hosts[0].url("photo", 1))).data
        assert len(client._kept) == 1
        client.close()


@pytest.mark.parametrize(
    ("answer", "reason", "transient"),
    [
        (response(b"<!DOCTYPE html><p>Hello"), "web page", False),
        (response(b"\n  <html><head>"), "web page", False),
        (response(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "SVG", False),
        (response(b'{"error": "no"}'), "JSON", False),
        (response(b"%PDF-1.7 ..."), "PDF", False),
        (response(b""), "without content", False),
        (response(b"no", status="404 Not Found"), "HTTP 404", False),
        (response(b"no", status="410 Gone"), "HTTP 410", False),
        (response(b"no", status="403 Forbidden"), "HTTP 403", False),
        (response(b"no", status="500 Oops"), "HTTP 500", True),
        (response(b"no", "Retry-After: 7", status="429 Slow"), "HTTP 429", True),
        (response(b"", "Location: ", status="302 Found"), "without an address", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + PHOTO[:600], "broke", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + PHOTO, "more than", False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO + bytes(40_000), "more than", False),
        (response(gzip.compress(PHOTO + bytes(10**7)), "Content-Encoding: gzip"), "more", False),
        (response(b"x", "Content-Encoding: br"), "compressed", False),
        (response(b"nonsense", "Content-Encoding: gzip"), "damaged", False),
        (response(gzip.compress(PHOTO) + b"x" * 99, "Content-Encoding: gzip"), "behind", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n", "", True),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "", True),
        (b"nonsense\r\n\r\n", "", True),
        (b"", "", True),
    ],
)
def test_what_is_no_photo_fails_with_its_reason(
    answer: bytes, reason: str, transient: bool
) -> None:
    """The content decides, never the suffix; sizes are bounded before and while they are read."""
    with answering(answer, answer) as (endpoint, _):
        found = failure(endpoint, max_bytes=32_000)
    assert reason in str(found)
    assert found.transient == transient


def test_a_compressed_photo_is_unpacked() -> None:
    """A server that compresses unasked is understood, within the limit of bytes."""
    with answering(response(gzip.compress(PHOTO), "Content-Encoding: gzip")) as (endpoint, _):
        client = client_for(endpoint)
        assert client.get(client.check(f"http://{endpoint}/")).data == PHOTO


def test_retry_after_is_a_number_or_a_date_and_bounded() -> None:
    """Seconds or a date, at most ``longest_wait_s``; nonsense is none."""
    texts = ("7", "99999999", "Fri, 31 Dec 2100 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "x")
    found = []
    for text in texts:
        answer = response(b"", f"Retry-After: {text}", status="503 Busy")
        with answering(answer) as (endpoint, _):
            found.append(failure(endpoint, longest_wait_s=60.0).retry_after_s)
    assert found == [7.0, 60.0, 60.0, 0.0, None]


def test_a_server_that_drips_is_cut_off() -> None:
    """A byte now and then, in the head or in the body, does not outlast the photo's deadline."""
    bodiless = b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO
    for answer in (b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 500, bodiless):
        with answering(answer, slow_s=0.02) as (endpoint, _):
            started = time.monotonic()
            found = failure(endpoint, total_s=0.25)
            assert time.monotonic() - started < 2.0
            assert found.transient
            assert "in time" in str(found)


def test_redirects_end() -> None:
    """A URL to itself, and too many hops, fail; five are followed, with relative addresses."""
    with answering(response(b"", "Location: a.jpg", status="301 Moved")) as (endpoint, _):
        client = client_for(endpoint)
        with pytest.raises(UrlFailedError, match="to itself"):
            client.get(client.check(f"http://{endpoint}/a.jpg"))
    with running() as server:
        client = client_for(server.endpoint)
        base = f"http://{server.endpoint}/to/"
        hops = server.url("photo", 1)
        for _ in range(5):
            hops = f"{base}?{hops.replace('%', '%25')}"
        assert client.get(client.check(hops)).data
        with pytest.raises(UrlFailedError, match="more than 5 redirects"):
            client.get(client.check(f"{base}?{hops}"))
        assert client.get(client.check(f"{base}?/photo/3.jpg")).data
        client.close()


def test_no_redirect_from_https_to_http() -> None:
    """What was asked for encrypted is not fetched in the clear."""
    with secured(b"HTTP/1.1 302 Found\r\nLocation: http://photos.test/\r\n\r\n") as (port, tls):
        client = tls_client(port, tls)
        with pytest.raises(UrlRefusedError, match="https to http"):
            client.get(client.check(f"https://photos.test:{port}/a.jpg"))


def test_tls_checks_the_name_of_the_url() -> None:
    """The certificate must be of the URL's host, and of an authority that is trusted."""
    with secured(response(PHOTO), response(PHOTO), response(PHOTO)) as (port, tls):
        client = tls_client(port, tls)
        assert client.get(client.check(f"https://photos.test:{port}/a.jpg")).data == PHOTO
        with pytest.raises(UrlFailedError, match=r"TLS with other\.test failed"):
            client.get(client.check(f"https://other.test:{port}/a.jpg"))
        stranger = tls_client(port, None)
        with pytest.raises(UrlFailedError, match=r"TLS with photos\.test failed: self-signed"):
            stranger.get(stranger.check(f"https://photos.test:{port}/a.jpg"))


def tls_client(port: int, tls: ssl.SSLContext | None) -> PhotoClient:
    names = frozenset({f"photos.test:{port}", f"other.test:{port}"})
    settings = FetchSettings(private=names)
    check = AddressCheck(settings, lambda host, port: ["127.0.0.1"])
    return PhotoClient(settings, check=check, tls=tls)


@contextmanager
def secured(*answers: bytes) -> Iterator[tuple[int, ssl.SSLContext]]:
    """A TLS server with a certificate for photos.test, and a context that trusts it."""
    folder = Path(__file__).parent
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "photos-test.pem")

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            try:
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) as sock:
                    sock.recv(65536)
                    sock.sendall(answer)
            except OSError:
                continue

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        trusted = ssl.create_default_context(cafile=str(folder / "photos-test.pem"))
        yield listener.getsockname()[1], trusted
