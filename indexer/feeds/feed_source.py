"""Feed source: which file of DATA is the feed, and which files beside it are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.folder import is_system_name, printable
from indexer.feeds.notice import Notice
from indexer.feeds.table_format import FORMATS, read_head

# What a folder of photos was always read by where it holds one; of several feeds it is meant if it
# is the only one with the column that these need.
_MANIFESTS = (".csv", ".jsonl", ".parquet")
_FEEDS = (
    *_MANIFESTS,
    *(".tsv", ".tab", ".psv", ".ndjson", ".jl", ".xml", ".rss", ".atom", ".xlsx", ".xlsm", ".pq"),
)
# Read as a feed only where they look like one: notes and settings end like this too.
_DOUBTFUL = (".txt", ".json", ".lst", ".list", ".feed")


@dataclass(frozen=True)
class FeedSource:
    """Where products come from: the feed at ``path``, or the photos below ``root``.

    ``root`` is also where a feed's photos lie. ``notices`` name what is not read.
    """

    root: Path
    path: Path | None = None
    notices: list[Notice] = field(default_factory=list)


def find_feed(data: Path, *, name: str | None = None) -> FeedSource:
    """Which feed DATA means: the file itself, or the only one at the top of a folder; none for a
    folder of photos.

    ``name`` chooses among several. Raises ``BadDataError`` where DATA is missing, or holds several
    feeds and it cannot be told which one is meant.
    """
    data = Path(data)
    if not data.exists():
        raise BadDataError(f"{data} does not exist")
    if data.is_file():
        return FeedSource(data.parent, data)
    if not data.is_dir():
        raise BadDataError(f"{data} is neither a folder nor a file")
    return _in_folder(data, name)


def _in_folder(folder: Path, name: str | None) -> FeedSource:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadDataError(f"{folder} cannot be read: {error.strerror}") from error
    top = [
        entry
        for entry in entries
        if not entry.name.startswith((".", "~$")) and not is_system_name(entry.name)
    ]
    if name is not None:
        return FeedSource(folder, _named(folder, top, name))
    feeds = [entry for entry in top if _is_feed(entry)]
    if len(feeds) > 1:
        manifests = [entry for entry in feeds if entry.suffix.lower() in _MANIFESTS]
        if len(manifests) == 1 and _is_native(manifests[0]):
            others = [entry for entry in feeds if entry != manifests[0]]
            return FeedSource(folder, manifests[0], [_not_read(o, manifests[0]) for o in others])
        names = ", ".join(printable(entry.name) for entry in feeds)
        raise BadDataError(
            f"{folder} holds several feeds ({names}): name the one to read, as in "
            f"{folder / feeds[0].name}"
        )
    return FeedSource(folder, feeds[0] if feeds else None)


def _named(folder: Path, top: list[Path], name: str) -> Path:
    for entry in top:
        if entry.name == name and entry.is_file():
            return entry
    names = ", ".join(printable(entry.name) for entry in top if _is_feed(entry)) or "none"
    raise BadDataError(f"{folder} has no feed {name!r} at its top; feeds there: {names}")


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
    return max(format_.fits(head) for format_ in FORMATS) > 1


def _is_native(entry: Path) -> bool:
    """Whether a manifest has the one column that a manifest needs."""
    from indexer.feeds.reader import open_table

    try:
        return "image" in open_table(entry).columns
    except BadDataError:
        return False
