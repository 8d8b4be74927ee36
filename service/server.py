"""Waitress server on one address, until a signal stops it."""

from __future__ import annotations

import errno
import json
import signal
import uuid
from typing import Any
from wsgiref.types import WSGIApplication

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import create_server
from waitress.task import ErrorTask

from indexer.core.errors import BadSettingsError, BusyError
from service.api.errors import MEDIA_TYPE, document
from service.settings import Settings

# Bodies up to this many times the limit are read and answered in order; beyond, the connection is
# cut with the answer.
_PATIENCE = 4
# Bytes read from a connection at a time: a photo in one or two steps instead of thirty.
_AT_ONCE = 256 * 1024
_CODES = {
    400: "bad-request",
    413: "body-too-large",
    431: "headers-too-large",
    501: "not-implemented",
}


class _ProblemTask(ErrorTask):
    """What waitress answers by itself (a request it cannot read), as a problem document."""

    def execute(self) -> None:
        error = self.request.error
        code = _CODES.get(error.code, "internal")
        detail = str(error.body) if error.code < 500 else error.reason
        body = (json.dumps(document(error.code, code, detail, uuid.uuid4().hex)) + "\n").encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", MEDIA_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _RequestParser(HTTPRequestParser):
    """Waitress's parser; an address that the standard library refuses to split is a 400 as well."""

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise ParsingError(f"Bad URI: {error}") from error


class _Channel(HTTPChannel):
    error_task_class = _ProblemTask
    parser_class = _RequestParser


def make_server(app: WSGIApplication, settings: Settings) -> Any:
    """A listening waitress server; ``effective_port`` is its port, ``run()`` serves, ``close()``
    ends.

    Raises ``BusyError`` for a port in use, ``BadSettingsError`` for an address that is not this
    machine's.
    """
    try:
        server = create_server(
            app,
            host=settings.host,
            port=settings.port,
            threads=settings.threads,
            ident=None,
            connection_limit=500,
            recv_bytes=_AT_ONCE,
            asyncore_use_poll=True,  # select() ends at 1,024 descriptors
            channel_timeout=60,
            max_request_body_size=_PATIENCE * settings.max_body_bytes,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"{where} is in use: stop what listens there, or choose another --port"
            ) from error
        raise BadSettingsError(f"cannot listen on {where}: {error.strerror or error}") from error
    except ValueError as error:
        raise BadSettingsError(
            f"cannot listen on {settings.host} port {settings.port}: {error}"
        ) from error
    server.channel_class = _Channel
    return server


def run_server(app: WSGIApplication, settings: Settings, log: Any) -> None:
    """Serve until SIGTERM or SIGINT, then stop cleanly. Prints the address."""
    server = make_server(app, settings)

    def stop(*_: object) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"Catalens answers at http://{host}:{server.effective_port}/", flush=True)
    try:
        server.run()  # returns when `stop` raises
    except SystemExit:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        server.close()
        log.info("stopped")
