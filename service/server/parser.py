"""Request parser: heads are judged before a body is read, bodies are held in memory."""

from __future__ import annotations

import re
import time
from typing import Any, Protocol
from wsgiref.types import WSGIEnvironment

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import ChunkedReceiver
from waitress.utilities import BadRequest, Error

from service.access.caller import Asker
from service.server.limits import BodyBudget, ServerLimits, Shortage

# In the environment of a request: why it is answered 503, whatever it asks.
REFUSED = "catalens.refused"
# Why it is answered 429.
EXCESS = "catalens.excess"
# Whom its body is counted for: names of addresses and keys; the connection's peer without it.
OWNERS = "catalens.owners"
# For whom it waits for a thread: an ``Asker``; a stranger of the connection's peer without it.
ASKER = "catalens.asker"
# The answer to a request that is refused by its head: a ``ReadyAnswer``.
ANSWER = "catalens.answer"

# What a chunked body may hold beside its bytes (sizes, extensions, line ends) where that is more
# than its bytes: chunks of one byte cost the server a thousand times what they carry.
_FRAMING = 64 * 2**10
_PORTION = 16 * 2**10
_HEAD_TOO_LARGE = 431
# What says of a head that is too long to be read whether a page may read its refusal.
_SITES = re.compile(rb"\n(origin|host):([^\r\n]*)(?=\r\n)", re.IGNORECASE)
_ENVIRON_NAMES = {"CONTENT_LENGTH": "CONTENT_LENGTH", "CONTENT_TYPE": "CONTENT_TYPE"}


class ReadyAnswer(Protocol):
    """An answer that needs no application."""

    def render(self) -> bytes:
        """All of it, status line and headers too; it says that the connection ends."""


class HeadCheck(Protocol):
    """Judges a request by its head."""

    def refuses(self, environ: WSGIEnvironment) -> bool:
        """Whether the application refuses this request whatever its body holds.

        It may leave ``catalens.`` entries in ``environ``, which the application then finds; with
        ``ANSWER`` among them the application need not be asked.
        """


class _BoundedChunks(ChunkedReceiver):
    """Waitress's receiver of chunked bodies, with a bound on what is no body in them."""

    error: Error | None
    raw_bytes = 0

    def received(self, s: bytes) -> int:
        """Take what arrived; returns how many bytes of it belong to this body."""
        taken = 0
        while taken < len(s) and not self.completed and self.error is None:
            portion = super().received(s[taken : taken + _PORTION])
            taken += portion
            self.raw_bytes += portion
            if self.raw_bytes - len(self) > max(_FRAMING, len(self)):
                self.error = BadRequest("more framing than body: send larger chunks")
        return taken


class RequestParser(HTTPRequestParser):
    """Waitress's parser with a check of the head and a budget of bodies.

    A request that ``check`` refuses by its head, or that has no place in ``bodies``, is complete
    without its body, so that the application answers it: ``unread`` says so, ``marks`` is what
    both of them leave in its environment.
    """

    error: Error | None
    headers: dict[str, str]
    header_plus: bytes
    body_rcv: Any
    chunked: bool

    def __init__(
        self,
        adj: Adjustments,
        check: HeadCheck,
        bodies: BodyBudget,
        peer: WSGIEnvironment,
        peer_name: str,
    ) -> None:
        super().__init__(adj)
        self.unread = False
        self.marks: WSGIEnvironment = {}
        self.answer: ReadyAnswer | None = None
        self.completed_at = 0.0
        self._head_at = 0.0
        self._check = check
        self._bodies = bodies
        self._peer = peer
        self._owners: tuple[str, ...] = (peer_name,)
        self.asker = Asker(peer_name, stranger=True)
        self._reserved = 0

    def received(self, data: bytes) -> int:
        """Take what arrived; returns how many bytes of it belong to this request."""
        before = self.header_plus
        consumed: int = super().received(data)
        if self.error is not None and self.error.code == _HEAD_TOO_LARGE:
            for name, text in _SITES.findall(before + data):
                self.headers[name.decode().upper()] = text.decode("latin-1").strip(" \t")
        if self.body_rcv is not None and not self.error:
            self._hold(len(self.body_rcv))
        if self.completed:
            self.completed_at = time.monotonic()
            if self.unread or self.error:
                self.unread = True
                # What follows is the rest of this body, never the next request.
                return len(data)
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head and ask whether it is worth reading a body for."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            # An address that the standard library refuses to split.
            raise ParsingError(f"Bad URI: {error}") from error
        # Waitress says so of all that do not begin with two slashes.
        if not self.request_uri.isascii():
            raise ParsingError("Bad URI")
        self._check_framing()
        if self.body_rcv is None:
            # Waitress would wait for a body that is not announced.
            self.expect_continue = False
            # What browsers ask before a request (OPTIONS) carries no key, and is no such request.
            if self.command != "OPTIONS":
                # A thread says it where it is refused: the connection need not end.
                self._judge()
                self.answer = None
            return
        if self.chunked:
            self.body_rcv = _BoundedChunks(self.body_rcv.getbuf())
        self._head_at = time.monotonic()
        if self._judge():
            self._leave_body()

    def _judge(self) -> bool:
        """Whether the head is refused; takes over what was found about it."""
        environ = self._environ()
        refused = self._check.refuses(environ)
        self.marks = {name: environ[name] for name in environ if name.startswith("catalens.")}
        self._owners = self.marks.pop(OWNERS, self._owners)
        self.asker = self.marks.pop(ASKER, self.asker)
        self.answer = self.marks.pop(ANSWER, None)
        return refused

    def _check_framing(self) -> None:
        """Raise ``ParsingError`` where two servers could disagree on where this body ends, so that
        the rest of it is the next request for one of them (RFC 9112, 6.1)."""
        if "TRANSFER_ENCODING" in self.headers:  # Waitress takes it off where it heeds it
            raise ParsingError("Transfer-Encoding is of HTTP/1.1 alone: send Content-Length")
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("both Content-Length and Transfer-Encoding: send one of them")

    def is_late(self, now: float, limits: ServerLimits) -> bool:
        """Whether the body takes longer than one of its length may; of a chunked one that is what
        has arrived."""
        if self.body_rcv is None or not self._head_at:
            return False
        size = max(self.content_length, self._reserved)
        return now - self._head_at > limits.body_deadline_s(size)

    def expire(self) -> None:
        """End a request that does not arrive; it is answered 408."""
        late = Error("the request did not arrive in time: send it faster")
        late.code = 408
        late.reason = "Request Timeout"
        self.error = late
        self.unread = True
        self.completed = True
        self.expect_continue = False

    def close(self) -> None:
        """Let go of the body."""
        super().close()
        self._bodies.release(self._reserved, self._owners)
        self._reserved = 0

    def _hold(self, size: int) -> None:
        shortage = self._bodies.reserve(size - self._reserved, self._owners)
        if shortage is None:
            self._reserved = size
            return
        self.close()
        if shortage is Shortage.OWN:
            self.marks[EXCESS] = (
                "other requests of the same address or key hold half of the bytes that all bodies "
                "may (setting max_bodies_bytes): send fewer at once"
            )
        else:
            self.marks[REFUSED] = (
                f"the bodies of other requests leave too little of {self._bodies.limit} bytes "
                "(setting max_bodies_bytes): try again shortly"
            )
        self._leave_body()
        self.completed = True

    def _leave_body(self) -> None:
        self.unread = True
        self.body_rcv = None
        self.content_length = 0
        self.chunked = False
        self.expect_continue = False

    def _environ(self) -> WSGIEnvironment:
        environ: WSGIEnvironment = {
            **self._peer,
            "REQUEST_METHOD": self.command,
            "PATH_INFO": self.path,
            "REQUEST_URI": self.request_uri,
            "QUERY_STRING": self.query,
            "SCRIPT_NAME": "",
            "wsgi.url_scheme": self.url_scheme,
        }
        for name, value in self.headers.items():
            environ.setdefault(_ENVIRON_NAMES.get(name, f"HTTP_{name}"), value)
        return environ
