"""Flask request whose forms are read strictly and held in memory, never in temporary files, and
whose dates can be read."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import IO, Any, cast
from wsgiref.types import WSGIEnvironment

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.http import parse_date
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
)

from service.access.refusal import RequestRefusedError

# Bytes of the head of a form's part: the field's and the file's name, and a type.
_MOST_HEAD = 16_384
_HEAD_END = re.compile(rb"\r\n\r\n|\r\r|\n\n")
# Headers that may hold a date, which Werkzeug reads; and what is not heeded without it.
_DATES = {
    "HTTP_DATE": (),
    "HTTP_IF_MODIFIED_SINCE": (),
    "HTTP_IF_UNMODIFIED_SINCE": (),
    "HTTP_IF_RANGE": ("HTTP_RANGE",),
}


class _BoundedHeads(io.RawIOBase):
    """A form as it is read, whose parts have heads that cost nothing to read: half a second goes
    into each megabyte of them."""

    def __init__(self, stream: IO[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._mark = b"--" + boundary
        self._tail = b""

    def read(self, size: int = -1, /) -> bytes:
        """Read on. Raises ``RequestEntityTooLarge``."""
        data = self._stream.read(size)
        seen = self._tail + data
        at = 0
        while (found := seen.find(self._mark, at)) >= 0:
            begin = found + len(self._mark)
            end = _HEAD_END.search(seen, begin)
            at = len(seen) if end is None else end.end()
            if at - begin > _MOST_HEAD:
                raise RequestEntityTooLarge
        self._tail = seen[-_MOST_HEAD - len(self._mark) :]
        return data


class _StrictForm(MultiPartParser):
    """Reads a form whole or not at all. Werkzeug takes what is no text for other characters, and
    a part without a name for one that is called None."""

    def parse(
        self, stream: IO[bytes], boundary: bytes, content_length: int | None
    ) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
        """Fields and files. Raises ``ValueError`` with the reason, ``RequestEntityTooLarge``."""
        texts: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        part: Field | File | None = None
        held = io.BytesIO()
        for event in self._events(stream, boundary):
            if isinstance(event, Field | File):
                part, held = event, io.BytesIO()
                if event.name is None:
                    raise ValueError("a part of it has no name")
            elif isinstance(event, Data) and part is not None:
                held.write(event.data)
                if isinstance(part, File):
                    if not event.more_data:
                        files.append((part.name, _to_file(part, held)))
                    continue
                if held.tell() > (self.max_form_memory_size or float("inf")):
                    raise RequestEntityTooLarge
                if not event.more_data:
                    text = self._text(part.name, held.getvalue(), part.headers)
                    texts.append((part.name, text))
        return self.cls(texts), self.cls(files)

    def _events(self, stream: IO[bytes], boundary: bytes) -> Iterator[Event]:
        decoder = MultipartDecoder(
            boundary, self.max_form_memory_size, max_parts=self.max_form_parts
        )
        data = b"-"
        while data:
            data = stream.read(self.buffer_size)
            try:
                decoder.receive_data(data or None)
                while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
                    yield event
            except ValueError:
                raise ValueError("it does not end with its boundary, or is no form") from None

    def _text(self, name: str, data: bytes, headers: Headers) -> str:
        charset = self.get_part_charset(headers)
        try:
            return data.decode(charset)
        except UnicodeDecodeError:
            raise ValueError(f"its field {name[:64]!r} is not {charset.upper()}") from None


def _to_file(part: File, held: io.BytesIO) -> FileStorage:
    held.seek(0)
    return FileStorage(held, part.filename, part.name, headers=part.headers)


class _FormParser(FormDataParser):
    """Reads forms of bounded heads, and refuses what it cannot read."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """Read the form. Raises ``RequestEntityTooLarge``, ``RequestRefusedError`` 400."""
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        boundary = (options or {}).get("boundary", "")
        if not boundary or not boundary.isascii():
            raise _unreadable("Content-Type names no boundary")
        mark = boundary.encode("ascii")
        reader = _StrictForm(
            max_form_memory_size=self.max_form_memory_size,
            cls=self.cls,
            max_form_parts=self.max_form_parts,
        )
        try:
            bounded = cast("IO[bytes]", _BoundedHeads(stream, mark))
            form, files = reader.parse(bounded, mark, content_length)
        except ValueError as error:
            raise _unreadable(str(error)) from None
        return stream, form, files


def _unreadable(reason: str) -> RequestRefusedError:
    """A form that cannot be read is none that is empty: what it holds would be missed silently."""
    return RequestRefusedError(400, "bad-request", f"the multipart form cannot be read: {reason}")


class MemoryRequest(Request):
    """The server has taken the whole body within its budget, so a form needs no file on disk.

    A shopper's photo then leaves no trace in a temporary folder, and a full one stops nobody.
    A date that cannot be read is as none (RFC 9110, 13.1).
    """

    form_data_parser_class = _FormParser

    def __init__(self, environ: WSGIEnvironment, *args: Any, **options: Any) -> None:
        _drop_unreadable_dates(environ)
        super().__init__(environ, *args, **options)


def _drop_unreadable_dates(environ: WSGIEnvironment) -> None:
    """Take out of ``environ`` what Werkzeug would fail at: years and hours beyond any calendar."""
    for name, with_it in _DATES.items():
        try:
            parse_date(environ.get(name))
        except (ArithmeticError, LookupError, AttributeError):
            for dropped in (name, *with_it):
                environ.pop(dropped, None)
