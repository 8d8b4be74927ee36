"""Input of an import or a training: a feed or a folder of photos, opened with the profile that
reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from indexer.core.errors import BadDataError
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import Notices
from indexer.feeds.join import joining_profile
from indexer.feeds.notice import Notice
from indexer.feeds.photo_folder import PhotoFolderTable
from indexer.feeds.price_list import join_column
from indexer.feeds.product_reader import ProductReader
from indexer.feeds.profile import FeedProfile, load_profile
from indexer.feeds.profile_choice import choose_profile
from indexer.feeds.reader import FeedSource, find_feed, open_table
from indexer.feeds.table import LostLines, Table

_NATIVE = "catalens"
# The code of a row that names no product.
_NO_ID = "no-id"


# Rows that name no product, of which so many are remembered.
_MOST_UNNAMED = 10_000


class FeedInput:
    """A feed that can be read as often as needed.

    ``skipped`` takes rows that are left out, ``warnings`` values. ``unnamed``: where rows stand of
    which it cannot be told what product they speak of.
    """

    def __init__(
        self,
        source: FeedSource,
        table: Table,
        profile: FeedProfile,
        why: str,
        skipped: Notices,
        warnings: Notices,
        *,
        changes: bool = False,
    ) -> None:
        # Keeps what an archive was unpacked to.
        self.source = source
        self.table = table
        self.profile = profile
        self.why = why
        self.skipped = skipped
        self.warnings = warnings
        self.unnamed: list[str] = []
        # The profile as data, where somebody corrected its columns.
        self.corrected: Mapping[str, Any] | None = None
        self.reader = ProductReader(table, profile, warn=warnings, skip=self, changes=changes)

    def append(self, notice: Notice) -> None:
        """Take a row that the reader leaves out."""
        self.skipped.append(notice)
        if notice.code == _NO_ID and len(self.unnamed) < _MOST_UNNAMED:
            self.unnamed.append(notice.where)

    def photo_options(self, options: ImportOptions) -> ImportOptions:
        """``options`` by which photos are read: an archive may come from anybody, so it names files
        of its own only, or below ``photos_root``."""
        if self.source.unpacked is None or options.photos_root is not None:
            return options
        return replace(options, photos_within=self.source.root)

    @property
    def notices(self) -> int:
        """How many notices there are so far."""
        return self.skipped.total + self.warnings.total

    def lost(self) -> LostLines:
        """An empty list of lost lines that knows which columns name a product."""
        header = self.reader.plan.header
        return LostLines(
            id_columns=tuple(found.column for found in header.all(self.profile.id)),
            image_columns=tuple(found.column for found in header.all(self.profile.photo_columns)),
        )


def open_input(
    data: Path, options: ImportOptions, *, skipped: Notices, warnings: Notices
) -> FeedInput:
    """Find the feed of ``data`` and the profile that fits it.

    Raises ``BadDataError`` where there is none, or more than one could be meant.
    """
    source = find_feed(
        Path(data), name=options.feed, scratch=options.scratch, within=options.photos_within
    )
    if source.unpacked is not None and options.photos == "reference":
        raise BadDataError("photos of an archive are copied: reference needs a folder")
    skipped += source.notices
    corrected: Mapping[str, Any] | None = None
    if source.path is None:
        table: Table = PhotoFolderTable(source.root, options.photos_within)
        if options.profile not in ("auto", _NATIVE):
            raise BadDataError(
                f"{data} is a folder of photos without a feed, so profile {options.profile!r} has "
                "nothing to read"
            )
        profile = load_profile(_NATIVE)
        why = "a folder of photos"
    else:
        table = open_table(
            source.path,
            encoding=options.encoding,
            delimiter=options.delimiter,
            within=options.photos_within,
        )
        chosen = choose_profile(table, options)
        profile = chosen.profile
        why = chosen.why
        corrected = chosen.corrected
    if options.join is not None:
        profile = joining_profile(profile, join_column(table, options.join))
    changes = options.join is not None or options.only is not None
    found = FeedInput(source, table, profile, why, skipped, warnings, changes=changes)
    found.corrected = corrected
    return found
