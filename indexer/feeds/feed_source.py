"""Feed source: which file of DATA is the feed, and which files beside it are not."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from indexer.core.contained_files import contained_path
from indexer.core.errors import BadDataError
from indexer.feeds.archives import unpack
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.folder import is_system_name, printable
from indexer.feeds.notice import Notice
from indexer.feeds.photo_files import is_photo
from indexer.feeds.table_format import FORMATS, read_head

# That an archive may unpack to, where nobody says.
MOST_BYTES = 64 << 30
# Folders in one another that are entered.
_MOST_ENTERED = 3
# What a folder of photos was always read by where it holds one; of several feeds it is meant if it
# is the only one with the column that these need.
_MANIFESTS = (".csv", ".jsonl", ".parquet")
_FEEDS = (
    *_MANIFESTS,
    *(".tsv", ".tab", ".psv", ".ndjson", ".jl", ".xml", ".rss", ".atom", ".xlsx", ".xlsm", ".pq"),
)
# Of which an object of JSON has several where it is a product, not a setting.
_PRODUCT_NAMES = frozenset(
    {"id", "product_id", "sku", "handle", "title", "name", "image", "images", "image_link", "price"}
)
# Read as a feed only where they look like one: notes and settings end like this too.
_DOUBTFUL = (".txt", ".json", ".lst", ".list", ".feed")


class Unpacked:
    """Folder that an archive was unpacked to; removed once nothing refers to it any more."""

    def __init__(self, archive: Path, scratch: Path | None, most_bytes: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="catalens-", dir=scratch))
        self.close = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        try:
            unpack(archive, self.path / "archive", most_bytes=most_bytes)
        except BaseException as error:
            self.close()
            if isinstance(error, BadDataError):
                raise BadDataError(f"{archive}: {error}") from error
            raise


@dataclass(frozen=True)
class FeedSource:
    """Where products come from: the feed at ``path``, or the photos below ``root``.

    ``root`` is also where a feed's photos lie. ``notices`` name what is not read. Of an archive,
    ``unpacked`` keeps the files for as long as it is referred to; photos then lie below ``root``
    only, and cannot be referred to later.
    """

    root: Path
    path: Path | None = None
    notices: list[Notice] = field(default_factory=list)
    unpacked: Unpacked | None = None

    def close(self) -> None:
        """Remove what was unpacked now."""
        if self.unpacked is not None:
            self.unpacked.close()

    def __enter__(self) -> FeedSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_feed(
    data: Path,
    *,
    name: str | None = None,
    scratch: Path | None = None,
    most_bytes: int = MOST_BYTES,
    within: Path | None = None,
) -> FeedSource:
    """Which feed DATA means: the file itself, or the only one at the top of a folder or zip; none
    for photos alone.

    ``name`` chooses among several. A zip is unpacked to a folder in ``scratch`` (the system's
    place for such), at most ``most_bytes``; one folder in it that holds all the rest is entered.
    ``within``: a link that leads out of it is passed over, so nobody's feed is read by its way.
    Raises ``BadDataError`` where DATA is missing, or holds several feeds and it cannot be told
    which one is meant.
    """
    data = Path(data)
    if not data.exists():
        raise BadDataError(f"{data} does not exist")
    if data.is_dir():
        return _in_folder(data, data, name, within)
    if within is not None and contained_path(within, data) is None:
        raise BadDataError(f"{data.name} lies outside the folder that imports may read from")
    if not data.is_file():
        raise BadDataError(f"{data} is neither a folder nor a file")
    if not is_archive(data):
        return FeedSource(data.parent, data)
    unpacked = Unpacked(data, scratch, most_bytes)
    folder = inner_folder(unpacked.path / "archive")
    try:
        return replace(_in_folder(folder, data, name, None), unpacked=unpacked)
    except BadDataError:
        unpacked.close()
        raise


def inner_folder(folder: Path, within: Path | None = None) -> Path:
    """The folder that an unpacked archive is about: where one folder holds all the rest, as
    programs pack them, that one.

    A folder of photos stays a class.
    """
    for _ in range(_MOST_ENTERED):
        top = _visible(folder, within)
        folders = [entry for entry in top if entry.is_dir()]
        if len(folders) != 1 or any(is_photo(entry.name) or _is_feed(entry) for entry in top):
            return folder
        inner = _visible(folders[0], within)
        has_feed = any(map(_is_feed, inner))
        has_photo = any(is_photo(entry.name) for entry in inner)
        if not has_feed and (has_photo or not any(entry.is_dir() for entry in inner)):
            return folder
        folder = folders[0]
    return folder


def is_archive(path: Path) -> bool:
    """Whether a file is a zip that is to be unpacked: workbooks are zips too."""
    try:
        with path.open("rb") as file:
            if not file.read(4).startswith(b"PK"):
                return False
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror}") from error
    return FORMATS["xlsx"].fits(read_head(FeedFile(path))) < 3 and zipfile.is_zipfile(path)


def _visible(folder: Path, within: Path | None) -> list[Path]:
    """What stands in a folder; where ``within`` is given, without links that lead out of it."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadDataError(f"{folder} cannot be read: {error.strerror}") from error
    return [
        entry
        for entry in entries
        if not entry.name.startswith((".", "~$"))
        and not is_system_name(entry.name)
        and (within is None or contained_path(within, entry) is not None)
    ]


def _in_folder(folder: Path, data: Path, name: str | None, within: Path | None) -> FeedSource:
    """The feed at the top of ``folder``, which the user knows as ``data``."""
    top = _visible(folder, within)
    if name is not None:
        return FeedSource(folder, _named(data, top, name))
    feeds = [entry for entry in top if _is_feed(entry)]
    if len(feeds) > 1:
        manifests = [entry for entry in feeds if entry.suffix.lower() in _MANIFESTS]
        if len(manifests) == 1 and _is_native(manifests[0]):
            others = [entry for entry in feeds if entry != manifests[0]]
            return FeedSource(folder, manifests[0], [_not_read(o, manifests[0]) for o in others])
        names = ", ".join(printable(entry.name) for entry in feeds)
        raise BadDataError(
            f"{data} holds several feeds ({names}): name the one to read (by its path, or the "
            "field feed of an upload), or take the others out"
        )
    if not feeds and not any(is_photo(entry.name) for entry in top):
        # A folder that somebody unpacked himself.
        inner = inner_folder(folder, within)
        if inner != folder and any(map(_is_feed, _visible(inner, within))):
            return _in_folder(inner, data, name, within)
    return FeedSource(folder, feeds[0] if feeds else None)


def _named(data: Path, top: list[Path], name: str) -> Path:
    for entry in top:
        if entry.name == name and entry.is_file():
            return entry
    names = ", ".join(printable(entry.name) for entry in top if _is_feed(entry)) or "none"
    raise BadDataError(f"{data} has no feed {name!r} at its top; feeds there: {names}")


def _not_read(entry: Path, feed: Path) -> Notice:
    where = printable(entry.name)
    return Notice(where, f"not read: {feed.name} beside it is the feed", "feed-not-read")


def _is_feed(entry: Path) -> bool:
    name = entry.name.lower().removesuffix(".gz")
    if not entry.is_file():
        return False
    if name.endswith(_FEEDS):
        return True
    if not name.endswith(_DOUBTFUL):
        return False
    try:
        head = read_head(FeedFile(entry))
    except (BadDataError, OSError):
        return False
    if head.text.startswith("{"):
        return len(_PRODUCT_NAMES & _columns(entry)) > 1
    return max(format_.fits(head) for format_ in FORMATS) > 1


def _is_native(entry: Path) -> bool:
    """Whether a manifest has the one column that a manifest needs."""
    return "image" in _columns(entry)


def _columns(entry: Path) -> set[str]:
    from indexer.feeds.reader import open_table

    try:
        return set(open_table(entry).columns)
    except BadDataError:
        return set()
