"""Log of the service: one JSON line per event on stderr."""

from __future__ import annotations

import sys
from typing import Any

import structlog


def make_log() -> Any:
    """A logger of its own, so that stdout stays free for answers and nobody else's logging is
    changed."""
    return structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
        cache_logger_on_first_use=True,
    )
