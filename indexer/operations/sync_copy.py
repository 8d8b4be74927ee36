"""Copy of a feed that lies at an address, and as what it was imported last."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from importlib import metadata
from typing import Any

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import (
    canonical_json,
    close_file,
    file_stamp,
    read_sealed_json,
    remove_asides,
    storage_failure,
    write_sealed_json,
)
from indexer.core.home import Home
from indexer.feeds.import_report import ImportReport
from indexer.fetch.feed_client import FeedClient, FetchedFeed
from indexer.fetch.settings import FetchSettings
from indexer.operations.sync_source import SyncSource, SyncSources


class FeedCopy:
    """The file that holds what an address gave last, in the home's folder ``sync``.

    The answer's tags are kept once what it held is imported, together with the file and the address
    that they belong to: a feed that was held, or whose import failed, is asked for whole again.
    """

    def __init__(self, home: Home, sources: SyncSources, source: SyncSource) -> None:
        self.path = sources.copy_of(source)
        self._home = home
        self._source = source
        self._state = sources.state_of(source.name)

    def fetch(self, fetching: FetchSettings, *, whole: bool) -> FetchedFeed:
        """Ask the address; ``whole``: whatever is known of it. Raises ``UrlRefusedError``,
        ``UrlFailedError``, ``StorageError``."""
        # What a kill left of an answer.
        remove_asides(self.path.with_name(self._source.name))
        for path in (self.path, self._state):
            close_file(path)
        known = {} if whole else self._known()
        client = FeedClient(fetching)
        try:
            return client.fetch(
                self._source.feed,
                self.path,
                etag=known.get("etag"),
                last_modified=known.get("last_modified"),
            )
        finally:
            client.close()

    def is_settled(self, fetching: FetchSettings) -> bool:
        """Whether reading the copy again would change nothing: all of its rows are in the catalog,
        which nobody changed since, and no photo by address is to be asked again."""
        known = self._known()
        if self._source.fetch and not 0 <= time.time() - known.get("at", 0.0) < fetching.recheck_s:
            return False
        return known.get("mark") == self._mark()

    def remember(self, fetched: FetchedFeed, report: ImportReport) -> None:
        """Keep the answer's tags, now that what it held is imported. Raises ``StorageError``."""
        state = {
            "address": self._source.feed,
            "file": file_stamp(self.path),
            "etag": fetched.etag,
            "last_modified": fetched.last_modified,
            "at": time.time(),
            # Rows that were left out may be taken another time: their photo or product may come.
            "mark": None if report.skipped.total else self._mark(),
        }
        try:
            # The address may hold a token.
            write_sealed_json(self._state, state, private=True)
        except OSError as error:
            raise storage_failure(self._state, error) from error

    def _known(self) -> dict[str, Any]:
        """What was remembered of this very file and address; nothing of another."""
        try:
            known = read_sealed_json(self._state)
            stamp = file_stamp(self.path)
            is_same = stamp is not None and known["file"] == [*stamp]
            return known if is_same and known["address"] == self._source.feed else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _mark(self) -> str:
        """What decides, beside the feed, what an import of it does."""
        source = {**asdict(self._source), "every_s": None, "created": None}
        with open_catalog(self._home) as catalog:
            parts = [
                metadata.version("catalens"),
                source,
                catalog.change_log.identity(),
                catalog.last_sequence(),
                catalog.owners(),
            ]
        return hashlib.sha256(canonical_json(parts)).hexdigest()
