"""Log of the service: one JSON line per event on stderr."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any

import structlog

from indexer.core.printable import plain_json


def make_log() -> Any:
    """A logger of its own, so that stdout stays free for answers and nobody else's logging is
    changed."""
    return structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        cache_logger_on_first_use=True,
    )


def _dumps(event: object, **_: object) -> str:
    return plain_json(json.dumps(event, ensure_ascii=False, default=str))


class _LibraryHandler(logging.Handler):
    """Writes what libraries log through the standard library as lines of the service's log."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
            write(
                "library",
                logger=record.name,
                message=record.getMessage(),
                exc_info=record.exc_info or None,
            )
        except Exception:
            self.handleError(record)


def capture_library_logs(log: Any) -> None:
    """Send what libraries log or warn about to ``log``, so that stderr holds JSON lines only.

    For the process of ``serve``, which owns its logging; waitress, for one, says there that
    requests wait for a thread.
    """
    logging.captureWarnings(True)
    # Pillow has one for each value of a damaged file: tens of thousands, if somebody wants.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    root = logging.getLogger()
    root.handlers = [_LibraryHandler(log)]
    root.setLevel(logging.WARNING)
