"""Refusal of a request by the rules of HTTP and of access."""

from __future__ import annotations


class RequestRefusedError(Exception):
    """A request turned away by HTTP rules (status, code and headers of its own), not by an answer
    that failed."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
