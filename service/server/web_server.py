"""Waitress server on one address, until a signal ends it."""

from __future__ import annotations

import errno
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from indexer.core.errors import BadSettingsError, BusyError
from service.logging import make_log
from service.server.channel import HttpChannel
from service.server.dispatcher import FairDispatcher
from service.server.limits import BodyBudget, ServerLimits
from service.server.parser import HeadCheck
from service.settings import Capacity, Settings

# Bytes read from a connection at a time: a photo in one or two steps instead of thirty.
_AT_ONCE = 256 * 1024
_HEAD_BYTES = 64 * 1024
_IN_MEMORY = 2**62  # bodies and answers never go to temporary files
_BACKLOG = 1024
_ACCEPTS = 64  # connections taken in one turn of the loop
_LOOK_S = 0.1
_NEW_S = 1.0
_SPARE_FILES = 256  # descriptors for all else
_PROBES = ("/livez", "/readyz")


class Listener(TcpWSGIServer):
    """A listening socket of ``web``."""

    channel_class = HttpChannel
    web: WebServer
    _paused_until = 0.0

    def readable(self) -> bool:
        """Whether to take a connection."""
        paused = time.monotonic() < self._paused_until
        return bool(self.accepting) and not paused and self.web.has_room()

    def accept(self) -> Any:
        """A new connection and its address, None for none."""
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            # Tried again when something was closed, not in a circle.
            self._paused_until = time.monotonic() + _LOOK_S
            self.web.end_silent()
            return None

    def handle_accept(self) -> None:
        """Take the connections that are there."""
        for _ in range(_ACCEPTS):
            before = self.web.accepted
            super().handle_accept()
            if self.web.accepted == before:
                return
            self.web.newest.read_early()
            if not self.web.has_room():
                return

    def add_task(self, task: HttpChannel) -> None:
        """Give a request to a thread; questions of health have one of their own."""
        request = task.requests[0]
        if request.answer is not None and threading.get_ident() == self.web.thread:
            task.is_refused = True  # which the loop answers itself, when it has taken what it read
            return
        probe = not request.error and request.path in self.web.probes
        (self.web.probe_tasks if probe and not request.unread else self.task_dispatcher).add_task(
            task
        )

    def stop_accepting(self) -> None:
        """Take what has connected already, then close the socket."""
        before = -1
        while before != self.web.accepted:
            before = self.web.accepted
            super().handle_accept()
        wasyncore.dispatcher.close(self)


class WebServer:
    """Answers HTTP on the addresses of a host; ``run`` serves, ``stop`` ends it."""

    def __init__(
        self,
        app: WSGIApplication,
        adjustments: Adjustments,
        limits: ServerLimits,
        check: HeadCheck,
        settings: Settings,
        *,
        log: Any = None,
    ) -> None:
        self.limits = limits
        self.settings = settings
        self.check = check
        self.bodies = BodyBudget(limits.bodies_bytes)
        prefix = settings.public_address.prefix
        self.probes = frozenset({*_PROBES, *(prefix + path for path in _PROBES)})
        self.probe_tasks = FairDispatcher()
        self.accepted = 0
        self.thread = 0  # of the loop
        self.newest: HttpChannel
        self._log = log or make_log()
        self._tasks = FairDispatcher()
        self._map: dict[int, Any] = {}
        self._channels: dict[str, dict[HttpChannel, None]] = {}  # by peer, oldest first
        self._count = 0
        self._stopping = False
        self._drained_from: float | None = None
        self.ending = threading.Event()
        self._ended = False
        self._finished = threading.Event()
        self._finished.set()
        self.listeners = self._listen(app, adjustments)
        self.effective_port = int(self.listeners[0].effective_port)
        self._tasks.set_thread_count(adjustments.threads)
        self.probe_tasks.set_thread_count(1)

    def _listen(self, app: WSGIApplication, adjustments: Adjustments) -> list[Listener]:
        made: list[Listener] = []
        # A free port is free for one family of addresses.
        listen = adjustments.listen[: None if adjustments.port else 1]
        try:
            for sockinfo in listen:
                listener = Listener(
                    app, self._map, dispatcher=self._tasks, adj=adjustments, sockinfo=sockinfo
                )
                listener.web = self
                made.append(listener)
        except BaseException:
            wasyncore.close_all(self._map)
            raise
        return made

    @property
    def draining(self) -> bool:
        """Whether it ends: answers close their connections."""
        return self._drained_from is not None

    # -- connections

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._count

    def add_channel(self, channel: HttpChannel) -> None:
        """Count a new connection; of a peer with many that say nothing the oldest ends."""
        self.accepted += 1
        self.newest = channel
        self._count += 1
        mates = self._channels.setdefault(channel.peer, {})
        mates[channel] = None
        if len(mates) > self.limits.unfinished:
            silent = [mate for mate in mates if mate.waiting and not mate.used]
            if len(silent) > self.limits.unfinished:
                silent[0].handle_close()

    def remove_channel(self, channel: HttpChannel) -> None:
        """Forget a connection that ended."""
        mates = self._channels.get(channel.peer, {})
        if channel in mates:
            del mates[channel]
            self._count -= 1
            if not mates:
                del self._channels[channel.peer]

    def has_room(self) -> bool:
        """Whether one more connection may come, if need be for one that waits."""
        return self._count < self.limits.connections or self.end_silent()

    def end_silent(self) -> bool:
        """End a connection that waits, of the peer with most of them; False where none does."""
        silent: list[HttpChannel] = []
        for mates in self._channels.values():
            found = [mate for mate in mates if mate.waiting]
            silent = max(silent, found, key=len)
        if not silent:
            return False
        # Those that never asked first, but for the newest, which ask in a moment.
        before = time.monotonic() - _NEW_S
        never = [channel for channel in silent if not channel.used and channel.since < before]
        min(never or silent, key=lambda channel: channel.since).handle_close()
        return True

    def _all(self) -> list[HttpChannel]:
        return [channel for mates in self._channels.values() for channel in mates]

    # -- its life

    def run(self) -> None:
        """Serve until ``stop`` or ``close``, and then until all that was begun is answered."""
        self._finished.clear()
        self.thread = threading.get_ident()
        looked = 0.0
        try:
            while not self._ended:
                wasyncore.poll2(_LOOK_S, self._map)
                now = time.monotonic()
                if now - looked >= _LOOK_S:
                    looked = now
                    self._look(now)
        finally:
            self._clean()
            self._finished.set()

    def stop(self) -> None:
        """Take no more connections, answer what was begun, then let ``run`` return.

        Safe in a signal handler and from any thread.
        """
        self._stopping = True
        self._wake()

    def close(self) -> None:
        """End at once, whatever is being answered."""
        self._ended = True
        self._wake()
        if self._finished.wait(timeout=10):
            self._clean()

    def _wake(self) -> None:
        with suppress(OSError, IndexError):
            self.listeners[0].pull_trigger()

    def _look(self, now: float) -> None:
        for channel in self._all():
            channel.look(now)
        self._end_untaken(now)
        if not self._stopping:
            return
        if self._drained_from is None:
            self._drained_from = now
            self.ending.set()
            for listener in self.listeners:
                listener.stop_accepting()
        waited = now - self._drained_from
        for channel in self._all():
            idle_s = now - max(channel.since, self._drained_from)
            if channel.idle and idle_s > self.limits.grace_s:
                channel.handle_close()
        if self._count and waited > self.limits.drain_s:
            self._log.warning("connections cut", connections=self._count, after_s=round(waited, 1))
            self._ended = True
        self._ended = self._ended or not self._count

    def _end_untaken(self, now: float) -> None:
        """End connections that do not take their answers, where all hold more than they may: the
        largest of the peer that holds most."""
        held = sum(channel.total_outbufs_len for channel in self._all())
        while held > self.limits.answers_bytes:
            worst = self._largest_untaken(now, spares=held <= 2 * self.limits.answers_bytes)
            if worst is None:
                return
            held -= worst.total_outbufs_len
            self._log.warning(
                "answer not taken: its connection ended", bytes=worst.total_outbufs_len
            )
            worst.handle_close()

    def _largest_untaken(self, now: float, *, spares: bool) -> HttpChannel | None:
        """The largest answer that waits for long, of the peer that holds most. Not of one that
        holds less than half of what another does, whose answers are still new: that one's largest
        it is then, or none with ``spares``."""
        most: list[HttpChannel] = []
        slow: list[HttpChannel] = []
        most_bytes = slow_bytes = 0
        for mates in self._channels.values():
            held = sum(channel.total_outbufs_len for channel in mates)
            found = [channel for channel in mates if channel.is_behind(now)]
            if held > most_bytes:
                most_bytes, most = held, list(mates)
            if found and held > slow_bytes:
                slow_bytes, slow = held, found
        if 2 * slow_bytes < most_bytes:
            slow = [] if spares else most
        return max(slow, key=lambda channel: channel.total_outbufs_len, default=None)

    def _clean(self) -> None:
        self.probe_tasks.shutdown(timeout=1)
        self._tasks.shutdown(timeout=1)
        for channel in self._all():
            channel.handle_close()
        for listener in self.listeners:
            listener.trigger.close()
        wasyncore.close_all(self._map)


class _NoCheck:
    """Refuses nothing."""

    def refuses(self, environ: WSGIEnvironment) -> bool:
        """False."""
        return False


def make_server(
    app: WSGIApplication,
    settings: Settings,
    check: HeadCheck | None = None,
    *,
    limits: ServerLimits | None = None,
    log: Any = None,
) -> WebServer:
    """A listening server; ``check`` judges requests before their bodies are read.

    Raises ``BusyError`` for a port in use, ``BadSettingsError`` for an address that is not this
    machine's.
    """
    limits = limits or ServerLimits.of(settings)
    with _address_errors(settings):
        adjustments = Adjustments(
            host=settings.host,
            port=settings.port,
            threads=Capacity.of(settings).threads,
            ident=None,
            backlog=_BACKLOG,
            recv_bytes=_AT_ONCE,
            max_request_header_size=_HEAD_BYTES,
            max_request_body_size=limits.body_bytes + 1,
            inbuf_overflow=_IN_MEMORY,
            outbuf_overflow=_IN_MEMORY,
            # Read where a trusted proxy wrote them: service.access.addresses.
            clear_untrusted_proxy_headers=False,
        )
        return WebServer(
            app,
            adjustments,
            limits,
            check or _NoCheck(),
            settings,
            log=log,
        )


def check_address(settings: Settings) -> None:
    """Raise as ``make_server`` where a server could not listen now, before anything is loaded for
    it."""
    with _address_errors(settings):
        for family, kind, protocol, address in Adjustments(
            host=settings.host, port=settings.port
        ).listen:
            with socket.socket(family, kind, protocol) as probe:
                # As the server does.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)


@contextmanager
def _address_errors(settings: Settings) -> Iterator[None]:
    where = f"{settings.host} port {settings.port}"
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"{where} is in use: stop what listens there, or choose another --port"
            ) from error
        raise BadSettingsError(f"cannot listen on {where}: {error.strerror or error}") from error
    except ValueError as error:
        raise BadSettingsError(f"cannot listen on {where}: {error}") from error


def run_server(
    app: WSGIApplication, settings: Settings, log: Any, check: HeadCheck | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, answer what was begun, and return. Prints the address.

    A second signal ends at once.
    """
    _raise_file_limit(settings.max_connections)
    server = make_server(app, settings, check, log=log)
    signals: list[int] = []

    def end(number: int, _: object) -> None:
        signals.append(number)
        if len(signals) > 1:
            raise SystemExit(0)
        server.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    if hasattr(signal, "SIGHUP") and not sys.stdin.isatty():
        # Keys are followed as they change; whoever asks for it must not end the service.
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: None)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"Catalens answers at http://{host}:{server.effective_port}/", flush=True)
    try:
        server.run()
    except SystemExit:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.close()
        log.info("stopped")


def _raise_file_limit(connections: int) -> None:
    """Let the process open as many files as it may have connections, as far as it is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
