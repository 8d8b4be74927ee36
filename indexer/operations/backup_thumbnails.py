"""Thumbnails in a backup: of photos that were forgotten, each of which is the only picture left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from indexer.catalog.photo_store import kept_thumbnail, thumbnail_damage
from indexer.core.sqlite import Connection
from indexer.operations.backup_files import copy_hashed, link_file, stored_photos

FOLDER = "thumbnails"
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass
class CopiedThumbnails:
    """What ``copy_thumbnails`` did."""

    bytes: int = 0
    # Those that were not shared with ``before``.
    copied_bytes: int = 0
    # Names below the home of those that are missing or damaged.
    missing: list[str] = field(default_factory=list)


def copy_thumbnails(
    sql: Connection, source: Path, target: Path, before: Path | None = None
) -> CopiedThumbnails:
    """Copy the thumbnails of a catalog's forgotten photos from one home or backup into another.

    ``before``: a backup with which they are shared by hard links. Each has its own checksum, so
    they stand in no list. Raises ``OSError``.
    """
    done = CopiedThumbnails()
    for content_hash in _forgotten(sql):
        found = kept_thumbnail(source / FOLDER, content_hash)
        made = kept_thumbnail(target / FOLDER, content_hash)
        made.parent.mkdir(parents=True, exist_ok=True)
        # Also where the home has lost it since.
        shared = before is not None and _shared(kept_thumbnail(before / FOLDER, content_hash), made)
        if not shared:
            with suppress(FileNotFoundError):
                copy_hashed(found, made)
        if thumbnail_damage(made) is None:
            size = made.stat().st_size
            done.bytes += size
            done.copied_bytes += 0 if shared else size
        else:
            made.unlink(missing_ok=True)
            done.missing.append(made.relative_to(target).as_posix())
    return done


def thumbnail_bytes(sql: Connection, home: Path) -> int:
    """How much room the thumbnails take that a backup of ``home`` holds."""
    size = 0
    for content_hash in _forgotten(sql):
        with suppress(FileNotFoundError):
            size += kept_thumbnail(home / FOLDER, content_hash).stat().st_size
    return size


def _forgotten(sql: Connection) -> Iterator[str]:
    for part in stored_photos(sql, "forget"):
        # Anybody can write a catalog: a name must not lead out of the folder.
        yield from (name for name, _ in part if _HASH.fullmatch(name))


def _shared(before: Path, made: Path) -> bool:
    """Whether ``made`` is another name now for the one of an earlier backup, which is whole."""
    try:
        return thumbnail_damage(before) is None and link_file(before, made)
    except OSError:
        return False
