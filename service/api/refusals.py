"""Answers to requests that are refused by their heads, without a thread or the framework."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from service.access.caller import Caller
from service.access.refusal import RequestRefusedError
from service.access.sharing import foreign_origin, is_shared, sharing_headers
from service.api.errors import MEDIA_TYPE, document
from service.api.request_times import RequestTimes
from service.inference.admission import OverloadedError
from service.settings import Settings

# Of every answer, and of those that say nothing else.
ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
UNLESS_SAID = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Characters; what a client sends may have 64,000.
LOGGED_PATH = 1000
LOGGED_METHOD = 16
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_LOGGED_EVERY_S = 1.0


def choose_request_id(given: str) -> str:
    """The id that a client gives its request, where it is a plain one, or else a new one."""
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class RefusalLog:
    """Lines of refused requests in the log. One of each second for ``overloaded``, with how many
    there were since the line before: to write a line costs as much as the refusal. All others
    have a line each.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._since = 0
        self._logged_at = -_LOGGED_EVERY_S

    def add(self, code: str, **fields: Any) -> None:
        """Count a refusal, and write what is due."""
        if code == OverloadedError.code:
            self._since += 1
            now = time.monotonic()
            if now - self._logged_at < _LOGGED_EVERY_S:
                return
            fields["refused"] = self._since
            self._since, self._logged_at = 0, now
        self._log.info("request", **fields)


@dataclass(frozen=True)
class HeadRefusal:
    """A request that is refused by its head. ``render`` gives the answer, once."""

    method: str
    path: str
    rule: str | None
    headers: Mapping[str, str]  # of the request, by lower-case names
    error: RequestRefusedError
    caller: Caller | None
    settings: Settings
    requests: RequestTimes
    log: RefusalLog
    began: float = field(default_factory=time.perf_counter)

    def render(self) -> bytes:
        """The whole answer, which ends the connection; it is counted and logged."""
        status, code = self.error.status, self.error.code
        request_id = choose_request_id(self.headers.get("x-request-id", ""))
        told = document(status, code, self.error.detail, request_id)
        body = (json.dumps(told, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        lines = "".join(
            f"{name}: {value}\r\n"
            for name, value in self._answer_headers(request_id, len(body)).items()
        )
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n"
        took = time.perf_counter() - self.began
        self.requests.observe(self.rule, self.method, status, took)
        self.log.add(
            code,
            request_id=request_id,
            caller="" if self.caller is None else self.caller.name,
            method=self.method[:LOGGED_METHOD],
            path=self.path[:LOGGED_PATH],
            status=status,
            latency_ms=round(took * 1000, 2),
        )
        return head.encode("latin-1") + (b"" if self.method == "HEAD" else body)

    def _answer_headers(self, request_id: str, length: int) -> dict[str, str]:
        shared: dict[str, str] = {}
        if self.settings.allowed_origins and is_shared(self.method, self.rule):
            shared = sharing_headers(foreign_origin(self.headers, self.settings))
        return {
            **UNLESS_SAID,
            **shared,
            **ALWAYS,
            **self.error.headers,
            "X-Request-Id": request_id,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(length),
            "Date": formatdate(usegmt=True),
            "Connection": "close",
        }
