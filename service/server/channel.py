"""Channel: one connection, with deadlines for what arrives and what is taken."""

from __future__ import annotations

import json
import socket
import sys
import time
import uuid
from contextlib import suppress
from typing import Any
from wsgiref.types import WSGIEnvironment

from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import ErrorTask, WSGITask

from service.access.sharing import headers_without_route
from service.api.errors import MEDIA_TYPE, document
from service.api.openapi import ENDING
from service.api.refusals import ALWAYS, UNLESS_SAID
from service.server.parser import REFUSED, RequestParser

_CODES = {
    400: "bad-request",
    408: "request-timeout",
    413: "body-too-large",
    431: "headers-too-large",
    501: "not-implemented",
}
# Requests that a connection may send ahead of their answers, and bytes of heads and bodies that are
# taken before they are counted: a read may hold ten thousand requests, which hold up all others.
_MOST_AHEAD = 100
_HEAD_PORTION, _BODY_PORTION = 4096, 32 * 1024
# Where bodies go that nobody waits for: nowhere on Linux, whose TCP then copies nothing.
_THROWN = bytearray(2**20)
_DISCARD = socket.MSG_TRUNC if sys.platform.startswith("linux") else 0


class _ProblemTask(ErrorTask):
    """What Waitress answers by itself (a request it cannot read), as a problem document."""

    def execute(self) -> None:
        """Write the document."""
        error = self.request.error
        code = _CODES.get(error.code, "internal")
        detail = str(error.body) if error.code < 500 else error.reason
        request_id = uuid.uuid4().hex
        body = (json.dumps(document(error.code, code, detail, request_id)) + "\n").encode()
        self.status = f"{error.code} {error.reason}"
        told = {"X-Request-Id": request_id, "Content-Type": MEDIA_TYPE}
        shared = headers_without_route(self._asked_headers(), self.channel.server.web.settings)
        self.response_headers += {**UNLESS_SAID, **shared, **ALWAYS, **told}.items()
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)

    def _asked_headers(self) -> dict[str, str]:
        """The headers of the request, by lower-case names, as far as they were read. Of one that
        the application failed at, Waitress answers another with none."""
        requests = self.channel.requests
        asked = requests[0] if requests else self.request
        return {name.replace("_", "-").lower(): text for name, text in asked.headers.items()}


class _RequestTask(WSGITask):
    """Waitress's task, which ends a connection where its rest is no request or the server ends."""

    def get_environment(self) -> WSGIEnvironment:
        """The WSGI environment, with what was found out about the head."""
        request, limits = self.request, self.channel.server.web.limits
        if time.monotonic() - request.completed_at > limits.queue_s:
            request.marks[REFUSED] = "no time for this before its deadline: try again shortly"
        environ: WSGIEnvironment = super().get_environment()
        environ.update(request.marks)
        environ[ENDING] = self.channel.server.web.ending
        return environ

    def build_response_header(self) -> bytes:
        """Status and headers."""
        if self.request.unread or self.channel.server.web.draining:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header

    def set_close_on_finish(self) -> None:
        """Say that the connection ends, but for an answer that needs no length to end."""
        request = self.request
        asked = request.connection_close or request.unread or self.channel.server.web.draining
        if self.version == "1.1" and self.status and not self.has_body and not asked:
            return
        super().set_close_on_finish()


class HttpChannel(HTTPChannel):
    """A connection of ``server``, a ``Listener``."""

    request: RequestParser | None
    requests: list[RequestParser]
    task_class = _RequestTask
    error_task_class = _ProblemTask

    def __init__(
        self, server: Any, sock: socket.socket, addr: Any, adj: Adjustments, map: Any = None
    ) -> None:
        super().__init__(server, sock, addr, adj, map=map)
        self.peer = peer_name(addr[0])
        self.since = time.monotonic()  # when what it does now began
        self.used = False  # whether a whole head ever arrived
        self.is_refused = False  # whether the loop answers the first of ``requests``
        self._lingers = False
        self._linger_until: float | None = None
        self._left_bytes = server.web.limits.body_bytes
        self._parser: RequestParser | None = None  # of the last request that began
        self._moved = 0  # bytes in and out
        self._window = self.since
        self._window_moved = 0
        server.web.add_channel(self)

    def parser_class(self, adj: Adjustments) -> RequestParser:
        """A parser of the next request."""
        web = self.server.web
        peer = {
            "REMOTE_ADDR": self.addr[0],
            "SERVER_NAME": self.server.server_name,
            "SERVER_PORT": str(self.server.effective_port),
        }
        self._parser = RequestParser(adj, web.check, web.bodies, peer, self.peer)
        return self._parser

    # -- what it is doing, asked by the loop

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or its answer taken."""
        return bool(self.requests or self.total_outbufs_len)

    @property
    def waiting(self) -> bool:
        """Whether it has sent nothing that is worth anything: no request, or part of a head."""
        return not self.busy and (self.request is None or not self.request.headers_finished)

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has arrived."""
        return not self.busy and self.request is None

    def is_behind(self, now: float) -> bool:
        """Whether its answer is there for a while and not taken."""
        return bool(self.total_outbufs_len) and now - self.since > self.server.web.limits.taken_s

    def look(self, now: float) -> None:
        """End what takes too long."""
        limits = self.server.web.limits
        if self._linger_until is not None:
            if now > self._linger_until:
                self.handle_close()
            return
        # Bytes move while a body arrives and while an answer is taken.
        if now - self._window > limits.window_s:
            slow = self._moved - self._window_moved < limits.window_bytes
            self._window = now
            self._window_moved = self._moved
            if slow:
                self._end_slow()
        if self.request is not None and not self.requests and self.request.is_late(now, limits):
            self._expire()
        if not self.waiting:
            return
        waits = now - self.since
        if self.request is not None and waits > limits.header_s:
            self._expire()
        elif self.request is None and waits > (limits.idle_s if self.used else limits.header_s):
            self.handle_close()

    def _end_slow(self) -> None:
        if self.total_outbufs_len:
            self.handle_close()
        elif self.request is not None and self.request.headers_finished and not self.requests:
            self._expire()

    def _expire(self) -> None:
        with self.requests_lock:
            request = self.request
            if request is None:
                return
            self.request = None
            request.expire()
            self.requests.append(request)
            self.server.add_task(self)

    def _begin(self) -> None:
        self.since = self._window = time.monotonic()
        self._window_moved = self._moved

    # -- what arrives

    def readable(self) -> bool:
        """Whether to read from it."""
        return self._linger_until is not None or bool(super().readable())

    def handle_read(self) -> None:
        """Read, and throw away what nobody waits for."""
        if self._linger_until is None:
            super().handle_read()
            return
        try:
            count = self.socket.recv_into(_THROWN, 0, _DISCARD)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._left_bytes -= count
        if not count or self._left_bytes < 0:
            self.handle_close()

    def received(self, data: bytes) -> bool:
        """Take what arrived; what follows a body that nobody reads is the rest of it."""
        if self._parser is not None and self._parser.unread:
            self._moved += len(data)
            return False
        before, head = self.request, self.request is not None and self.request.headers_finished
        took = False
        start = 0
        while start < len(data):
            inside = self.request is not None and self.request.headers_finished
            end = start + (_BODY_PORTION if inside else _HEAD_PORTION)
            took = bool(super().received(data[start:end])) or took
            start = end
            if self.is_refused:
                self._refuse()
            if self._parser is not None and self._parser.unread:
                break
            if len(self.requests) > _MOST_AHEAD:
                # Those are answered, the last of them says that the connection ends.
                self.requests[-1].unread = True
                if self.request is not None:
                    self.request.close()
                    self.request = None
                break
        self._moved += len(data)
        now_head = self.request is not None and self.request.headers_finished
        if self.request is not before or now_head != head:
            self._begin()
        self.used = self.used or now_head or bool(self.requests)
        return took

    def read_early(self) -> None:
        """Read what came with the connection: a turn of the loop less."""
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except OSError:
            return  # nothing yet, or what the loop finds out
        if data:
            self.received(data)

    # -- what is sent

    def _refuse(self) -> None:
        """Answer a request that is refused by its head, in the loop."""
        self.is_refused = False
        self.used = True
        with self.requests_lock:
            answer = self.requests[0].answer
            assert answer is not None
            for request in self.requests:
                request.close()
            self.requests = []
            self._lingers = self.close_when_flushed = True
        with suppress(ClientDisconnected):
            self.write_soon(answer.render())
        if not self.total_outbufs_len and not self.will_close:
            self._linger()

    def service(self) -> None:
        """Answer one request."""
        self._lingers = self._lingers or self.requests[0].unread
        self._begin()
        super().service()
        self._begin()

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what the connection takes now."""
        sent: int = super().send(data, do_close=do_close)
        self._moved += sent
        return sent

    def writable(self) -> bool:
        """Whether there is something to send or to end."""
        return self._linger_until is None and bool(super().writable())

    def handle_write(self) -> None:
        """Send on; of a connection with unread bytes, end only our half."""
        if not self._lingers or not self.close_when_flushed or self.will_close:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len:
            self._linger()

    def _linger(self) -> None:
        """Read on for a moment: a connection closed on unread bytes loses its last answer."""
        self.close_when_flushed = False
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()
            return
        self._linger_until = time.monotonic() + self.server.web.limits.linger_s

    def handle_close(self) -> None:
        """End the connection and let go of what it holds."""
        if self.request is not None:
            self.request.close()
            self.request = None
        self.server.web.remove_channel(self)
        with suppress(OSError):
            super().handle_close()


def peer_name(address: str) -> str:
    """Whose connection it is: an IPv4 address, or the /64 network of an IPv6 one."""
    if ":" not in address or address.lower().startswith("::ffff:"):
        return address
    left, gap, right = address.partition("%")[0].partition("::")
    groups = [*left.split(":")]
    if gap:
        tail = right.split(":") if right else []
        groups += ["0"] * (8 - len(groups) - len(tail)) + tail
    return ":".join(group or "0" for group in groups[:4])
