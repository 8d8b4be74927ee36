"""Photo folder: class folders, split folders and photos, without what systems leave beside them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from indexer.core.contained_files import contained_path
from indexer.core.errors import BadDataError
from indexer.feeds.notice import Notice
from indexer.feeds.photo_files import is_photo

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# What data sets call their splits.
_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
# Lower case: thumbnails, bins and records that NAS devices, systems and programs keep.
_SYSTEM_NAMES = frozenset(
    {
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        "lost+found",
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        ".ds_store",
        ".thumbnails",
        ".trash",
        ".trashes",
        ".appledouble",
    }
)


@dataclass(frozen=True)
class FolderPhoto:
    """A photo's path below the folder, as parts, and the split that its first one names."""

    parts: tuple[str, ...]
    split: Split | None = None

    @property
    def below_split(self) -> tuple[str, ...]:
        """The parts without the split's folder."""
        return self.parts[1:] if self.split else self.parts


@dataclass
class FolderScan:
    """The photos of a folder in a fixed order, and what was left out."""

    photos: list[FolderPhoto]
    notices: list[Notice] = field(default_factory=list)


def split_named(name: str) -> Split | None:
    """The split that a folder or a cell of a feed means: ``val``, ``Train``, ``testing``."""
    return _SPLIT_NAMES.get(name.strip().lower())


def is_system_name(name: str) -> bool:
    """Whether a system or program left a file or folder of this name, not the shop."""
    return name.lower() in _SYSTEM_NAMES


def scan_folder(root: Path, within: Path | None = None) -> FolderScan:
    """All photos below ``root``, those of split folders first, each split in the order of paths.

    Where all folders at the top are splits, or split folders hold class folders, they are splits.
    Else (a class of toy trains) all folders are classes. Hidden files are passed over; what systems
    leave is counted in one notice a name. ``within``: links that lead out of it are passed over, so
    that nothing of what lies elsewhere is listed. Raises ``BadDataError`` where a folder cannot be
    read.
    """
    left_out: Counter[str] = Counter()
    paths = sorted(_photos_below(root, left_out, within))
    scan = FolderScan([])
    for name, count in sorted(left_out.items()):
        scan.notices.append(
            Notice(
                name,
                f"left out, as systems keep it beside photos: {count} "
                + ("place" if count == 1 else "places"),
                "system-files",
            )
        )
    paths = _drop_beside_splits(paths, scan.notices)
    tops = {parts[0] for parts in paths if len(parts) > 1}
    split_layout = bool(tops) and all(map(split_named, tops))
    for parts in paths:
        split = split_named(parts[0]) if split_layout and len(parts) > 1 else None
        scan.photos.append(FolderPhoto(parts, split))
    # Order of the three splits, then of paths, so that positions do not depend on the alphabet of
    # split names.
    order = {split: rank for rank, split in enumerate((*SPLITS, None))}
    scan.photos.sort(key=lambda photo: (order[photo.split], photo.below_split, photo.parts))
    return scan


def _photos_below(
    root: Path, left_out: Counter[str], within: Path | None
) -> Iterator[tuple[str, ...]]:
    """Paths, relative to ``root``, of visible files with a photo's extension.

    Links to folders are followed, but not in circles.
    """

    def walk(
        folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]
    ) -> Iterator[tuple[str, ...]]:
        try:
            found = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            raise BadDataError(f"{folder} cannot be read: {error.strerror}") from error
        here = (found.st_dev, found.st_ino)
        if here in above:
            return
        for entry in entries:
            if is_system_name(entry.name):
                left_out[entry.name] += 1
            elif entry.name.startswith(".") or _leads_out(entry, within):
                continue
            elif entry.is_dir():
                yield from walk(folder / entry.name, (*parts, entry.name), above | {here})
            elif is_photo(entry.name):
                yield (*parts, entry.name)

    return walk(root, (), frozenset())


def _leads_out(entry: os.DirEntry[str], within: Path | None) -> bool:
    linked = within is not None and entry.is_symlink()
    return linked and contained_path(within or Path(), Path(entry.path)) is None


def _drop_beside_splits(
    photos: list[tuple[str, ...]], notices: list[Notice]
) -> list[tuple[str, ...]]:
    """Where split folders hold class folders, other folders beside them (``raw``) are left out and
    reported.

    Where they hold photos directly, ``train`` may well be a class of toy trains: then all are
    classes.
    """
    beside = Counter(parts[0] for parts in photos if len(parts) > 1 and not split_named(parts[0]))
    if not beside or not any(split_named(parts[0]) and len(parts) > 2 for parts in photos):
        return photos
    for folder, count in sorted(beside.items()):
        reason = (
            f"stands beside split folders but is none of {', '.join(SPLITS)}; photos not read: "
            f"{count}"
        )
        notices.append(Notice(printable(folder + "/"), reason, "beside-splits"))
    return [parts for parts in photos if len(parts) == 1 or split_named(parts[0])]


def printable(text: str) -> str:
    """File names may hold bytes that are not text; reasons must be printable anywhere."""
    return text.encode("utf-8", "backslashreplace").decode()
