"""Options of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from indexer.catalog.records import PhotoStorage
from indexer.feeds.column_roles import ColumnRole
from indexer.imaging.decode import ImageLimits, file_limits


@dataclass(frozen=True)
class ImportOptions:
    """How a feed is read and what may be done with it; the defaults are those of the command."""

    # The feed among several at the top of a folder or an archive.
    feed: str | None = None
    # A profile's name or file; "auto" tells by the columns.
    profile: str = "auto"
    # Where profiles of the home's own lie, which are looked at first.
    profiles: Path | None = None
    # Where no profile fits: read by a draft made from the names and values of the columns.
    draft: bool = False
    # Column to the role that somebody gave it instead of the profile's (``column_roles``). The
    # profile that comes of it is kept in ``profiles`` by an import, as ``save_as``.
    corrections: Mapping[str, ColumnRole] | None = None
    save_as: str | None = None
    # None: guessed, and said.
    encoding: str | None = None
    # Of amounts that name none (ISO 4217).
    currency: str | None = None
    # File with the names of Google's numbered categories (``vendor_categories``).
    taxonomy_file: Path | None = None
    delimiter: str | None = None
    # Where photos lie that the feed names by path; None: beside the feed.
    photos_root: Path | None = None
    # Keep copies, refer to the files where they are, or keep thumbnails only.
    photos: PhotoStorage = "copy"
    # Whether photos by address are fetched, by the fetcher that the import is given.
    fetch: bool = False
    # Attribute types by name; the others are stored, given by the profile, or inferred.
    types: Mapping[str, str] = field(default_factory=dict)
    # Delete products that the feed does not mention, unasked up to a tenth of the catalog.
    sync: bool = False
    allow_deletes: int | None = None
    # Only say what would happen.
    dry_run: bool = False
    # Take a feed that shrank by a fifth, or lost half of its photos, as it is.
    accept: bool = False
    # The command that does so for a feed that is kept in step, whose deletes are held too; None:
    # the options of an import do.
    accepted_by: str | None = None
    # Only this many new or changed products, spread over all categories.
    only_first: int | None = None
    # The feed's name among several of one home, by which it owns fields; None: its path.
    source: str | None = None
    # What a feed is called that was sent, whose place is another one each time: by it the next one
    # is judged. None: by ``source``.
    sent_as: str | None = None
    # Names of the fields and attributes that the feed may write, of products that are there; None:
    # whole products.
    only: frozenset[str] | None = None
    # With ``only``: the column by which rows are joined to products; None: by the product id.
    join: str | None = None
    # No photo outside this folder may be read; None: any. Those of an archive lie in it always.
    photos_within: Path | None = None
    # Where an archive is unpacked for as long as it is read; None: the system's place for such.
    scratch: Path | None = None
    limits: ImageLimits = field(default_factory=file_limits)
