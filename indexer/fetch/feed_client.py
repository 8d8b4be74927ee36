"""HTTP client for feeds: to a file, only if they changed, with the checks of photos."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from urllib3.response import BaseHTTPResponse

from indexer.core.atomic_files import (
    PRIVATE_MODE,
    folder_aside,
    private_mode,
    replace_file,
    storage_failure,
)
from indexer.core.errors import UrlFailedError
from indexer.fetch.http_client import PIECE, PhotoClient, answer_unpacker
from indexer.fetch.settings import FetchSettings

# A feed of five million rows is about as large.
MAX_FEED_BYTES = 4 * 2**30
_TOTAL_S = 1800.0
# Shops make an export when it is asked for: until then not a byte comes.
_READ_S = 180.0


@dataclass(frozen=True)
class FetchedFeed:
    """What a request for a feed gave: whether it changed, and the tags of the answer."""

    changed: bool
    etag: str | None
    last_modified: str | None


class FeedClient(PhotoClient):
    """Fetches feeds. An address in a private network must be named in ``FetchSettings.private``.

    Close it.
    """

    accept = "text/csv,application/xml,application/json,*/*;q=0.5"

    def __init__(self, settings: FetchSettings) -> None:
        read_s = max(settings.read_s, _READ_S)
        super().__init__(
            replace(settings, max_bytes=MAX_FEED_BYTES, total_s=_TOTAL_S, read_s=read_s)
        )
        self._file: IO[bytes] | None = None

    def fetch(
        self,
        address: str,
        target: Path,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
    ) -> FetchedFeed:
        """Write the feed at ``address`` to ``target``, whole or not at all.

        Raises ``UrlRefusedError``, ``UrlFailedError``, ``StorageError``.
        """
        url = self.check(address)
        try:
            with folder_aside(target, PRIVATE_MODE) as aside:
                with (aside / "feed").open("wb") as file:
                    # Its owner's alone: a shop's feed may list what nobody sees yet.
                    (aside / "feed").chmod(private_mode(target.parent))
                    self._file = file
                    answer = self.get(url, etag=etag, last_modified=last_modified, total_s=_TOTAL_S)
                if answer.data is not None:
                    replace_file(aside / "feed", target)
            if answer.data is None and not (etag or last_modified):
                raise UrlFailedError("the server says that the feed is unchanged, though it is new")
            return FetchedFeed(
                answer.data is not None, answer.etag or etag, answer.last_modified or last_modified
            )
        except OSError as error:
            raise storage_failure(target, error) from error
        finally:
            self._file = None

    def take_body(self, response: BaseHTTPResponse, deadline: float) -> bytes:
        """Write the body to the file as it comes. Raises ``UrlFailedError``."""
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        unpack = answer_unpacker(response.headers.get("Content-Encoding", ""))
        size = 0
        while piece := response.read(PIECE):
            if time.monotonic() >= deadline:
                raise TimeoutError("timed out")
            while piece:
                try:
                    data = piece if unpack is None else unpack.decompress(piece, PIECE)
                except zlib.error as error:
                    raise UrlFailedError("the answer's compression is damaged") from error
                if unpack is not None and unpack.eof and (unpack.unused_data or not data):
                    raise UrlFailedError("the answer goes on behind the end of its compression")
                piece = b"" if unpack is None else unpack.unconsumed_tail
                size += len(data)
                if size > MAX_FEED_BYTES:
                    raise UrlFailedError(f"the feed has more than {MAX_FEED_BYTES:,} bytes")
                self._file.write(data)
        if time.monotonic() >= deadline:
            # Cut off by the watchdog, which looks like the end where no length was announced.
            raise TimeoutError("timed out")
        if unpack is not None and not unpack.eof:
            raise UrlFailedError("the answer broke off", transient=True)
        if not size:
            raise UrlFailedError("the feed is empty")
        return b""
