"""HTTP client for photos: checked addresses, bounded answers, kept connections."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from indexer.core.errors import UrlFailedError, UrlRefusedError
from indexer.fetch.address_check import AddressCheck, CheckedURL
from indexer.fetch.content import JUDGED_BYTES, judge_content
from indexer.fetch.settings import FetchSettings

_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
PIECE = 64 * 1024
# Of an answer that is not wanted: read to its end, so that the connection can be used again.
_DRAINED = 16 * 1024
_KEPT_S = 30.0
# Idle connections of all hosts together: whoever names hosts could else take all descriptors.
_MOST_KEPT = 64
_LONGEST_TAG = 512
_AGENT = "Catalens/1 (photos of a shop's own catalog)"
# Asked again, these may give a photo.
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529}


@dataclass(frozen=True)
class HTTPAnswer:
    """What a server gave for a photo: its bytes, or None where it is unchanged (304)."""

    data: bytes | None
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True)
class _KeptConnection:
    endpoint: tuple[str, str]
    connection: HTTPConnection
    since: float


class _Watchdog:
    """Ends requests whose time is over: a server may send a byte now and then for ever."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[int, tuple[float, HTTPConnection]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def watch(self, connection: HTTPConnection, deadline: float) -> Iterator[None]:
        """Shut the connection down at ``deadline`` (``time.monotonic``) if it is still inside."""
        key = id(connection)
        with self._changed:
            self._watched[key] = (deadline, connection)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fetch-time", daemon=True)
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._watched.pop(key, None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for key, (deadline, connection) in list(self._watched.items()):
                    if deadline <= now:
                        del self._watched[key]
                        _shut_down(connection)
                first = min((deadline for deadline, _ in self._watched.values()), default=None)
                # At most a second late for a deadline that came meanwhile.
                self._changed.wait(None if first is None else max(0.01, min(first - now, 1.0)))


def _shut_down(connection: HTTPConnection) -> None:
    sock = getattr(connection, "sock", None)
    if sock is not None:
        with suppress(OSError):
            # Of the plain socket: TLS would wait for the other side.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class PhotoClient:
    """Asks for photos, each hop of a redirect checked anew. Safe to call from many threads.

    Connections go to the address that was checked, with the URL's own name in ``Host`` and TLS.
    The environment's proxies are not used: they would resolve names themselves. Close it.
    """

    accept = "image/*,*/*;q=0.1"

    def __init__(
        self,
        settings: FetchSettings,
        *,
        check: AddressCheck | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._check = check or AddressCheck(settings)
        self._tls = tls
        self._watchdog = _Watchdog()
        self._lock = threading.Lock()
        self._kept: list[_KeptConnection] = []  # the oldest first

    def close(self) -> None:
        """Close all kept connections."""
        self._watchdog.close()
        with self._lock:
            kept, self._kept = self._kept, []
        for entry in kept:
            entry.connection.close()

    def check(self, url: str) -> CheckedURL:
        """The URL in checked form. Raises ``UrlRefusedError``."""
        return self._check.check(url)

    def get(
        self,
        url: CheckedURL,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        total_s: float | None = None,
    ) -> HTTPAnswer:
        """Fetch one photo; with ``etag`` or ``last_modified``, only if it changed.

        Raises ``UrlRefusedError`` where the URL or a redirect must not be followed,
        ``UrlFailedError`` for everything else that gives no photo.
        """
        headers = {"Accept": self.accept, "Accept-Encoding": "identity"}
        headers["User-Agent"] = _AGENT
        if etag:
            headers["If-None-Match"] = etag
        elif last_modified:
            headers["If-Modified-Since"] = last_modified
        deadline = time.monotonic() + (total_s or self._settings.total_s)
        seen = {url.text}
        for _ in range(_MOST_REDIRECTS + 1):
            found = self._ask(url, headers, deadline)
            if isinstance(found, HTTPAnswer):
                return found
            if found.scheme == "http" and url.scheme == "https":
                raise UrlRefusedError("a redirect leads from https to http")
            if found.text in seen:
                raise UrlFailedError("the URL redirects to itself")
            seen.add(found.text)
            url = found
        raise UrlFailedError(f"more than {_MOST_REDIRECTS} redirects")

    # -- one hop

    def _ask(
        self, url: CheckedURL, headers: Mapping[str, str], deadline: float
    ) -> HTTPAnswer | CheckedURL:
        """The answer, or where it redirects to."""
        connection = self._take(url)
        if connection is not None:
            try:
                return self._exchange(connection, url, headers, deadline)
            except _StaleError:
                # The server closed it meanwhile; a new connection says whether it answers.
                pass
        connection = self._connect(url, deadline)
        try:
            return self._exchange(connection, url, headers, deadline)
        except _StaleError as error:
            raise UrlFailedError(
                f"the connection broke: {_words(error.__cause__)}", transient=True
            ) from error

    def _exchange(
        self,
        connection: HTTPConnection,
        url: CheckedURL,
        headers: Mapping[str, str],
        deadline: float,
    ) -> HTTPAnswer | CheckedURL:
        reusable = False
        response: BaseHTTPResponse | None = None
        try:
            with self._watchdog.watch(connection, deadline):
                connection.request(
                    "GET",
                    url.target,
                    headers={**headers, "Host": url.netloc},
                    preload_content=False,
                    decode_content=False,
                )
                response = connection.getresponse()
                answer, reusable = self._read(response, url, deadline)
                return answer
        except TimeoutError as error:
            raise self._too_late() from error
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            if time.monotonic() >= deadline or "timed out" in str(error):
                raise self._too_late() from error
            if response is None:
                raise _StaleError from error
            raise UrlFailedError(
                f"the answer broke off: {_words(error)}", transient=True
            ) from error
        finally:
            if reusable and response is not None and connection.sock is not None:
                self._keep(url, connection)
            else:
                connection.close()

    def _read(
        self, response: BaseHTTPResponse, url: CheckedURL, deadline: float
    ) -> tuple[HTTPAnswer | CheckedURL, bool]:
        """What the response says, and whether its connection can be used again."""
        keeps = response.version >= 11 and "close" not in (
            response.headers.get("Connection", "").lower()
        )
        etag = _tag(response.headers.get("ETag"))
        last_modified = _tag(response.headers.get("Last-Modified"))
        if response.status == 304:
            return HTTPAnswer(None, etag, last_modified), keeps
        if response.status in _REDIRECTS:
            location = response.headers.get("Location")
            if not location:
                raise UrlFailedError(f"HTTP {response.status} without an address to go to")
            # The bytes of a header are read as Latin-1; addresses are UTF-8.
            with suppress(UnicodeError):
                location = location.encode("latin-1").decode()
            keeps = keeps and _drain(response)
            return self._check.check(location, url), keeps
        if response.status != 200:
            raise _refusal(response, self._settings.longest_wait_s)
        data = self.take_body(response, deadline)
        return HTTPAnswer(data, etag, last_modified), keeps

    def take_body(self, response: BaseHTTPResponse, deadline: float) -> bytes:
        """Read the body of an answer that is wanted. Raises ``UrlFailedError``."""
        return _body(response, self._settings.max_bytes, deadline)

    def _too_late(self) -> UrlFailedError:
        return UrlFailedError("the server did not answer in time", transient=True)

    # -- connections

    def _connect(self, url: CheckedURL, deadline: float) -> HTTPConnection:
        """A new connection to the first checked address that takes one."""
        failure: Exception | None = None
        for address in self._check.addresses(url):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            connection = self._make(url, address, min(left, self._settings.connect_s))
            try:
                connection.connect()
                sock = connection.sock
                if sock is None:
                    raise OSError("no connection")
                sock.settimeout(self._settings.read_s)
                return connection
            except (HTTPError, HTTPException, OSError, ValueError) as error:
                connection.close()
                failure = error
        if failure is None:
            raise self._too_late()
        if isinstance(failure, ssl.SSLError) or isinstance(failure.__cause__, ssl.SSLError):
            raise UrlFailedError(f"TLS with {url.host} failed: {_words(failure)}") from failure
        raise UrlFailedError(
            f"no connection to {url.host} port {url.port}: {_words(failure)}", transient=True
        ) from failure

    def _make(self, url: CheckedURL, address: str, connect_s: float) -> HTTPConnection:
        if url.scheme == "http":
            return HTTPConnection(address, url.port, timeout=connect_s)
        return HTTPSConnection(
            address,
            url.port,
            timeout=connect_s,
            ssl_context=self._context(),
            server_hostname=url.host,
        )

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return self._tls

    def _take(self, url: CheckedURL) -> HTTPConnection | None:
        endpoint = (url.scheme, url.endpoint)
        with self._lock:
            self._end_kept(_MOST_KEPT)
            for place in reversed(range(len(self._kept))):
                if self._kept[place].endpoint == endpoint:
                    return self._kept.pop(place).connection
        return None

    def _keep(self, url: CheckedURL, connection: HTTPConnection) -> None:
        endpoint = (url.scheme, url.endpoint)
        with self._lock:
            own = sum(entry.endpoint == endpoint for entry in self._kept)
            if own < self._settings.connections:
                self._end_kept(_MOST_KEPT - 1)
                self._kept.append(_KeptConnection(endpoint, connection, time.monotonic()))
                return
        connection.close()

    def _end_kept(self, most: int) -> None:
        """Close what was kept for too long, and the oldest beyond ``most``."""
        before = time.monotonic() - _KEPT_S
        while self._kept and (self._kept[0].since < before or len(self._kept) > most):
            self._kept.pop(0).connection.close()


class _StaleError(Exception):
    """No byte of an answer came."""


def _refusal(response: BaseHTTPResponse, longest_wait_s: float) -> UrlFailedError:
    """The failure that an HTTP status means."""
    wait = _retry_after(response.headers.get("Retry-After"), longest_wait_s)
    transient = response.status in _TRANSIENT
    return UrlFailedError(
        f"HTTP {response.status}{_reason(response)}",
        transient=transient,
        status=response.status,
        retry_after_s=wait,
    )


def _reason(response: BaseHTTPResponse) -> str:
    words = {
        403: "forbidden",
        404: "not found",
        410: "gone",
        429: "too many requests",
        500: "server error",
        503: "unavailable",
    }
    found = words.get(response.status)
    return f" ({found})" if found else ""


def _retry_after(text: str | None, longest_s: float) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date; bounded."""
    if not text:
        return None
    text = text.strip()
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text[:9])
        else:
            at = parsedate_to_datetime(text)
            now = datetime.datetime.now(at.tzinfo or datetime.UTC)
            seconds = (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
            seconds -= now.timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), longest_s)


def _body(response: BaseHTTPResponse, most: int, deadline: float) -> bytes:
    """The whole body, judged as soon as its first bytes are there. Raises ``UrlFailedError``."""
    announced = response.headers.get("Content-Length", "")
    too_large = UrlFailedError(f"the photo has more than {most} bytes")
    if announced.isascii() and announced.isdigit() and int(announced[:19]) > most:
        raise too_large
    unpack = answer_unpacker(response.headers.get("Content-Encoding", ""))
    parts = bytearray()
    judged = False
    while piece := response.read(PIECE):
        if time.monotonic() >= deadline:
            raise TimeoutError("timed out")
        if unpack is not None:
            try:
                piece = unpack.decompress(piece, most + 1 - len(parts))
            except zlib.error as error:
                raise UrlFailedError("the answer's compression is damaged") from error
            if unpack.unused_data:
                # All of it would be kept, however long the server goes on.
                raise UrlFailedError("the answer goes on behind the end of its compression")
        parts += piece
        if len(parts) > most:
            raise too_large
        if not judged and len(parts) >= JUDGED_BYTES:
            judge_content(bytes(parts[:JUDGED_BYTES]))
            judged = True
    if time.monotonic() >= deadline:
        # Cut off by the watchdog, which looks like the end where no length was announced.
        raise TimeoutError("timed out")
    if not judged:
        judge_content(bytes(parts[:JUDGED_BYTES]))
    if unpack is not None and not unpack.eof:
        raise UrlFailedError("the answer broke off", transient=True)
    return bytes(parts)


def answer_unpacker(encoding: str) -> zlib._Decompress | None:
    """What undoes a compression that was not asked for. Raises ``UrlFailedError``."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip", "deflate"):
        # Both, told apart by their first bytes.
        return zlib.decompressobj(32 + zlib.MAX_WBITS)
    raise UrlFailedError(f"the answer is compressed in a way that was not asked for: {name[:40]!r}")


def _drain(response: BaseHTTPResponse) -> bool:
    """Read a short body that nobody wants; False where it is longer."""
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced[:19]) > _DRAINED:
        return False
    left = _DRAINED
    while left > 0:
        piece = response.read(left)
        if not piece:
            return True
        left -= len(piece)
    return False


def _tag(text: str | None) -> str | None:
    """A header that is sent back later; None where it is too long or not printable ASCII."""
    if not text or len(text) > _LONGEST_TAG or not (text.isascii() and text.isprintable()):
        return None
    return text


def _words(error: BaseException | None) -> str:
    """What an exception of the network means, without its objects and addresses."""
    while error is not None and isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "no answer" if error is None else type(error).__name__.removesuffix("Error").lower()
