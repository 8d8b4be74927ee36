"""RFC 9457 problem documents: one table from kinds of failures to HTTP statuses."""

from __future__ import annotations

import errno
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, default_exceptions

from indexer.core import errors
from indexer.core.atomic_files import storage_failure
from indexer.core.errors import CatalensError
from service.access.refusal import RequestRefusedError
from service.settings import without_options

MEDIA_TYPE = "application/problem+json"

# The first row that the exception is an instance of counts: failures with a status of their own,
# then the kinds.
STATUS: tuple[tuple[type[CatalensError], int], ...] = (
    (errors.UnsupportedFormatError, 415),
    (errors.ImageTooLargeError, 413),
    (errors.CursorGoneError, 410),
    (errors.ChangedError, 412),
    (errors.DiskFullError, 507),
    (errors.UrlFailedError, 502),
    (errors.InvalidInputError, 422),
    (errors.NotFoundError, 404),
    (errors.ConflictError, 409),
    (errors.UnavailableError, 503),
)

_SHOWN_FAULTS, _MOST_FAULTS = 50, 2000
# Characters of one text in an answer: what a client sent comes back in it, which may be megabytes.
_MOST_DETAIL, _MOST_FAULT = 4000, 400

# Failures of HTTP itself, by status; any other status is named after its phrase ("gone").
_HTTP_CODES = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "body-too-large",
    415: "unsupported-media-type",
    422: "invalid-request",
    429: "too-many-requests",
    431: "headers-too-large",
    500: "internal",
    501: "not-implemented",
}


# Refusals that share a status, or whose status says too little.
_REFUSALS = {
    "bad-json": "The body, or a part of it that must be JSON, is none: the detail says where.",
    "too-many-values": "A JSON document holds more values than one may: send it in several "
    "requests.",
    "invalid-request": "Fields are missing, unknown or of another kind than the schema says: "
    "`errors` names each.",
    "forbidden": "The key is known, and what was asked is not for its role.",
    "forbidden-host": "The name in Host is not one that this service answers under.",
    "forbidden-origin": "A browser asked for a page of a site that is not allowed to ask.",
    "too-many-requests": "This key, or this address, asked more often than it may: wait as long as "
    "Retry-After says. The service itself has room.",
}


# Why a job failed, where that is no failure of its work.
_JOBS = {
    "interrupted": "The service was stopped while the job was queued or ran. What was committed "
    "stays: start it again.",
    "worker-died": "The process of the job ended before its work was done, as where the system "
    "killed it for its memory; the detail names the signal or the exit code. What was committed "
    "stays: start it again.",
}


class InvalidRequestError(Exception):
    """Fields that do not fit the schema: 422 with one entry per field."""

    def __init__(self, faults: list[dict[str, str]]) -> None:
        self.faults = [_shortened(fault) for fault in faults]
        super().__init__("; ".join(f"{one['field']}: {one['message']}" for one in self.faults))

    @classmethod
    def from_error(cls, error: ValidationError) -> InvalidRequestError:
        """One entry for each fault that pydantic found, but for very many."""
        count = error.error_count()
        if count > _MOST_FAULTS:
            # Telling a quarter of a million faults takes seconds, and answers them with megabytes.
            return cls([{"field": "body", "message": f"{count} faults in its fields"}])
        faults = []
        entries = error.errors(include_url=False, include_context=False, include_input=False)
        for entry in entries[:_SHOWN_FAULTS]:
            unknown = entry["type"] == "extra_forbidden"
            field = ".".join(str(part) for part in entry["loc"]) or "body"
            message = "unknown field" if unknown else entry["msg"]
            faults.append({"field": field, "message": message})
        if count > _SHOWN_FAULTS:
            faults.append({"field": "body", "message": f"and {count - _SHOWN_FAULTS} more faults"})
        return cls(faults)


def shorten(text: str, most: int) -> str:
    """``text``; of a longer one its begin and its end, where a message says what to do."""
    if len(text) <= most:
        return text
    gap = f" ... {len(text) - most} characters ... "
    return f"{text[: most * 3 // 4]}{gap}{text[len(text) - most // 4 :]}"


def _shortened(fault: dict[str, str]) -> dict[str, str]:
    return {name: shorten(text, _MOST_FAULT) for name, text in fault.items()}


def status_of(error: CatalensError) -> int:
    """The HTTP status of a failure; 500 for what a client cannot cause."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def document(status: int, code: str, detail: str, request_id: str, **more: Any) -> dict[str, Any]:
    """The members of a problem document; ``type`` is a relative reference to its explanation."""
    return {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": shorten(detail, _MOST_DETAIL),
        "code": code,
        "request_id": request_id,
        **more,
    }


def item_problem(
    error: InvalidRequestError | CatalensError, request_id: str, log: Any
) -> dict[str, Any]:
    """The document of one item's failure inside an answer: of a ``CatalensError`` or of
    ``InvalidRequestError``."""
    if isinstance(error, InvalidRequestError):
        return document(422, "invalid-request", str(error), request_id, errors=error.faults)
    return document(*of_error(error, log), request_id)


def problem(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """A problem response for the current request."""
    body = (
        json.dumps(
            document(status, code, detail, g.get("request_id", ""), **more), ensure_ascii=False
        )
        + "\n"
    )
    # A client may have sent half of a surrogate pair, which is JSON as an escape alone.
    response = Response(
        body.encode("utf-8", "backslashreplace"), status=status, content_type=MEDIA_TYPE
    )
    response.headers.update(headers or {})
    if status == 503:
        response.headers.setdefault("Retry-After", "1")
    return response


def of_error(error: CatalensError, log: Any) -> tuple[int, str, str]:
    """(status, code, detail) of a failure. What names files of this machine goes to the log
    instead."""
    status = status_of(error)
    if status == 500 or isinstance(
        error, (errors.StorageError, errors.ReadOnlyError, errors.BusyError)
    ):
        log.error("failed", request_id=g.get("request_id", ""), code=error.code, error=str(error))
        hidden = "the service cannot answer; its log says why"
        return status, error.code, summary(type(error)) if status != 500 else hidden
    return status, error.code, without_options(shorten(str(error), _MOST_DETAIL))


def summary(kind: type[CatalensError]) -> str:
    """What a kind of failure means, as one line."""
    return " ".join((kind.__doc__ or "").split())


def explain(code: str) -> str | None:
    """What a code means, for ``GET /problems/{code}``; None for an unknown one."""
    known: list[type[CatalensError]] = [CatalensError]
    for kind in known:
        if kind is not CatalensError and vars(kind).get("code") == code:
            return summary(kind)
        known.extend(kind.__subclasses__())
    if text := _REFUSALS.get(code) or _JOBS.get(code):
        return text
    found = next((status for status in HTTPStatus if _http_code(status) == code), None)
    return None if found is None or found < 400 else found.description or found.phrase


def _http_code(status: int) -> str:
    """The code of a failure of HTTP itself."""
    return _HTTP_CODES.get(status) or HTTPStatus(status).phrase.lower().replace(" ", "-")


def _too_large(app: Flask) -> str:
    most = int(app.config["MAX_CONTENT_LENGTH"])
    if request.mimetype == "multipart/form-data" and (request.content_length or 0) <= most:
        return (
            f"the form has more than {app.config['MAX_FORM_PARTS']} parts, or a text in it more "
            f"than {app.config['MAX_FORM_MEMORY_SIZE']} bytes, or too long a name"
        )
    return f"the request is larger than the {most} bytes allowed (setting max_body_bytes)"


def install(app: Flask, log: Any) -> None:
    """Every failure of ``app`` leaves as a problem document; unexpected ones are logged with their
    traceback."""

    @app.errorhandler(CatalensError)
    def expected(error: CatalensError) -> Response:
        return problem(*of_error(error, log))

    @app.errorhandler(OSError)
    def system(error: OSError) -> Response:
        # A disk that is full, read-only or failing, wherever that was found.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            return expected(storage_failure(Path(str(error.filename or "a file")), error))
        return unexpected(error)

    @app.errorhandler(RequestRefusedError)
    def refused(error: RequestRefusedError) -> Response:
        return problem(error.status, error.code, error.detail, headers=error.headers)

    @app.errorhandler(InvalidRequestError)
    def invalid(error: InvalidRequestError) -> Response:
        return problem(422, "invalid-request", str(error), errors=error.faults)

    def http(error: HTTPException) -> Response:
        status = error.code or 500
        headers = {
            name: value
            for name, value in error.get_headers()
            if name.lower() not in ("content-type",)
        }
        if status == 404:
            detail = f"nothing at {request.path}"
            if request.path.startswith("/v1/products/"):
                detail += (
                    "; a slash in an id is sent as %2F, and where a reverse proxy decodes it, "
                    "the setting decoded_slashes joins it again"
                )
        elif status == 405:
            detail = (
                f"{request.method} is not offered at {request.path} (offered: "
                f"{headers.get('Allow', '-')})"
            )
        elif status == 413:
            detail = _too_large(app)
        elif status == 500:
            detail = "an unexpected failure; the service's log says why"
        else:
            detail = error.description or HTTPStatus(status).description
        return problem(status, _http_code(status), detail, headers=headers)

    # One by one and not HTTPException itself: that would also catch the redirects and ready
    # responses of abort().
    for kind in default_exceptions.values():
        app.register_error_handler(kind, http)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.error("failed", request_id=g.get("request_id", ""), exc_info=error)
        return problem(500, "internal", "an unexpected failure; the service's log says why")
