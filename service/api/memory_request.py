"""Flask request whose forms are held in memory, never in temporary files."""

from __future__ import annotations

import io
import re
from typing import IO, Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

# Bytes of the head of a form's part: the field's and the file's name, and a type.
_MOST_HEAD = 16_384
_HEAD_END = re.compile(rb"\r\n\r\n|\r\r|\n\n")


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


class _FormParser(FormDataParser):
    """Reads forms of bounded heads."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """Read the form. Raises ``RequestEntityTooLarge``."""
        boundary = (options or {}).get("boundary", "").encode("ascii", "replace")
        if mimetype == "multipart/form-data" and boundary:
            stream = _BoundedHeads(stream, boundary)  # type: ignore[assignment]
        return super().parse(stream, mimetype, content_length, options)


class MemoryRequest(Request):
    """The server has taken the whole body within its budget, so a form needs no file on disk.

    A shopper's photo then leaves no trace in a temporary folder, and a full one stops nobody.
    """

    form_data_parser_class = _FormParser

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()
