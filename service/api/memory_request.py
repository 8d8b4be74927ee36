"""Flask request whose forms are held in memory, never in temporary files."""

from __future__ import annotations

import io
from typing import IO

from flask import Request


class MemoryRequest(Request):
    """The server has taken the whole body within its budget, so a form needs no file on disk.

    A shopper's photo then leaves no trace in a temporary folder, and a full one stops nobody.
    """

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()
