"""Feed formats: what recognises a format, and the registry of all of them."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from indexer.core.registry import LAST, Registry
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.table import ReadOptions, Table

# Bytes by which a format is recognised.
_HEAD = 1 << 16


@dataclass(frozen=True)
class FeedHead:
    """The beginning of a feed, by which its format is recognised."""

    # Lower case, of what is in a gzip file.
    suffix: str
    data: bytes
    # Decoded as far as that needs no guess, without blanks at the front.
    text: str


@dataclass(frozen=True)
class TableFormat:
    """One format. ``fits`` ranks a file: 0 no, 1 by its suffix alone, 2 by what stands in it."""

    name: str
    suffixes: tuple[str, ...]
    fits: Callable[[FeedHead], int]
    open: Callable[[FeedFile, ReadOptions], Table]
    place: int = LAST


FORMATS: Registry[TableFormat] = Registry(
    "indexer.feeds.formats", name=attrgetter("name"), place=attrgetter("place")
)


def suffixes() -> tuple[str, ...]:
    """Name endings of all formats, in order, without those of gzip."""
    return tuple(suffix for format_ in FORMATS for suffix in format_.suffixes)


def read_head(source: FeedFile) -> FeedHead:
    """The beginning of a feed, decoded as its byte order mark says."""
    data = source.head(_HEAD)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
        if text[1:2] == "\0" or text[:1] == "\0":
            text = text.replace("\0", "")
    return FeedHead(source.suffix, data, text.lstrip())
