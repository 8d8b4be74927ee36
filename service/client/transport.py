"""Transport of the client: requests to the service, their files and forms, and its problems."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, get_args
from urllib.parse import quote, urlencode

import urllib3
from pydantic import BaseModel

from service.api.form_fields import FieldValues, encode_fields
from service.query.query import RequestModel
from service.query.shown_product import ShownProduct

# The bytes of a photo, or where its file is.
PhotoInput = bytes | str | Path
Reply = TypeVar("Reply", bound=BaseModel)
# The fields of one photo's or one write's answer, or its ``problem``.
BatchRow = FieldValues
Fields = Mapping[str, Any]

_AGAIN = urllib3.Retry(
    total=3,
    connect=3,
    read=0,
    status=3,
    status_forcelist=(429, 503),
    backoff_factor=0.2,
    allowed_methods=None,
    raise_on_status=False,
)


class ProblemError(Exception):
    """The problem document (RFC 9457) that was answered; ``status`` 0 where nothing came.

    ``code`` is stable; ``detail`` says what is wrong and where; ``errors`` lists wrong fields.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        request_id: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.errors = tuple(errors)


class Transport:
    """Sends calls and reads their answers; a ``Client`` has the calls by name."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, key: str | None = None, timeout_s: float = 30.0
    ) -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pool = urllib3.PoolManager(
            headers=headers, timeout=timeout_s, retries=_AGAIN, maxsize=8
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.clear()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Fields | None = None,
        body: Fields | None = None,
        form: Sequence[tuple[str, Any]] | None = None,
    ) -> BatchRow:
        """Any call, its answer as it stands. ``query``, ``body`` (JSON) or ``form`` (name, value or
        file tuple)."""
        return dict(json.loads(self._send(method, path, query=query, body=body, form=form)))

    # -- inside

    def _ask(
        self,
        path: str,
        reply: type[Reply],
        image: PhotoInput | None,
        model: type[RequestModel],
        fields: Fields,
    ) -> Reply:
        if image is None:
            return self._post(path, reply, fields)
        return self._form(path, reply, [("image", image)], model, fields)

    def _get(self, path: str, reply: type[Reply], query: Fields) -> Reply:
        return self._answer(self._send("GET", path, query=query), reply, query)

    def _post(self, path: str, reply: type[Reply], fields: Fields) -> Reply:
        return self._send_json("POST", path, reply, _given(fields))

    def _send_json(self, method: str, path: str, reply: type[Reply], fields: Fields) -> Reply:
        return self._answer(self._send(method, path, body=fields), reply, fields)

    def _form(
        self,
        path: str,
        reply: type[Reply],
        files: Sequence[tuple[str, PhotoInput]],
        model: type[RequestModel] | None,
        fields: Fields,
        method: str = "POST",
    ) -> Reply:
        form = [*file_parts(files), *encode_fields(model, _given(fields))]
        return self._answer(self._send(method, path, form=form), reply, fields)

    def _batch(
        self,
        question: str,
        images: Sequence[PhotoInput],
        model: type[RequestModel],
        options: Fields,
    ) -> list[BatchRow]:
        files = file_parts([("images", image) for image in images])
        form = [*files, *encode_fields(model, _given(options))]
        return list(self.call("POST", f"/v1/{question}:batch", form=form)["results"])

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Fields | None = None,
        body: Fields | None = None,
        form: Sequence[tuple[str, Any]] | None = None,
        if_match: int | None = None,
    ) -> bytes:
        texts = [
            (name, one)
            for name, value in _given(query or {}).items()
            for one in (_texts(value) if name in _MANY else [_text(value)])
        ]
        options: FieldValues = {} if body is None else {"json": body}
        if form is not None:
            options["fields"] = form
        if if_match is not None:
            options["headers"] = {"If-Match": f'"{if_match}"'}
        return self._request(
            method, f"{path}{'?' + urlencode(texts) if texts else ''}", **options
        ).data

    def _request(self, method: str, target: str, **options: Any) -> urllib3.BaseHTTPResponse:
        address = f"{self._url}{target}"
        try:
            headers = {**self._pool.headers, **options.pop("headers", {})}
            response = self._pool.request(method, address, headers=headers, **options)
        except urllib3.exceptions.HTTPError as error:
            raise ProblemError(0, "offline", f"{self._url} does not answer: {error}") from error
        if response.status >= 400:
            raise _problem(response)
        return response

    @staticmethod
    def _answer(data: bytes, reply: type[Reply], asked: Fields | None = None) -> Reply:
        if asked and asked.get("fields") and _shows_products(reply):
            return _partly(reply, json.loads(data))
        return reply.model_validate_json(data)


_MANY = frozenset({"exclude", "fields"})  # query parameters that may be repeated


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def file_parts(files: Sequence[tuple[str, PhotoInput]]) -> list[tuple[str, Any]]:
    """File fields of a form, each with the name of its file."""
    parts: list[tuple[str, Any]] = []
    for name, photo in files:
        data = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
        file_name = "photo" if isinstance(photo, bytes) else Path(photo).name
        parts.append((name, (file_name, data, "application/octet-stream")))
    return parts


def _given(fields: Fields) -> FieldValues:
    return {name: value for name, value in fields.items() if value is not None}


def _problem(response: urllib3.BaseHTTPResponse) -> ProblemError:
    try:
        found = json.loads(response.data)
        return ProblemError(
            response.status,
            found["code"],
            found["detail"],
            request_id=found.get("request_id"),
            errors=found.get("errors") or (),
        )
    except (ValueError, KeyError, TypeError):
        return ProblemError(
            response.status, "unknown", f"{response.reason}: the answer is not the service's own"
        )


def _shows_products(reply: type[BaseModel]) -> bool:
    return issubclass(reply, ShownProduct) or _row_type(reply) is not None


def _row_type(reply: type[BaseModel]) -> Any:
    """The type of a page's products, if it has some."""
    field = reply.model_fields.get("results")
    rows = get_args(field.annotation) if field is not None else ()
    return rows[0] if rows and issubclass(rows[0], ShownProduct) else None


def _partly(reply: type[Reply], document: FieldValues) -> Reply:
    """An answer with the chosen fields of its products; all others are None."""
    row_type = _row_type(reply)
    if row_type is not None:
        nothing = dict.fromkeys(entry.name for entry in dataclasses.fields(row_type))
        rows = [row_type(**{**nothing, **row}) for row in document["results"]]
        document = {**document, "results": rows}
    return reply.model_construct(**{**dict.fromkeys(reply.model_fields), **document})


def quoted(text: str) -> str:
    """A segment of a path."""
    return quote(text, safe="")


def product_path(product_id: str) -> str:
    """Where a product is."""
    return f"/v1/products/{quoted(product_id)}"
