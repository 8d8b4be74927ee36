"""Folder of photos as a table: a row for each photo, its folders as category and split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError
from indexer.feeds.folder import printable, scan_folder
from indexer.feeds.table import LostLines, Record, Table


class PhotoFolderTable(Table):
    """Photos below a folder, in a fixed order. Raises ``BadDataError`` where there are none."""

    format = "folder"
    text = True

    def __init__(self, root: Path, within: Path | None = None) -> None:
        self.name = root.name or str(root)
        self.root = root
        self.columns = ["product_id", "image", "category", "split"]
        self.preamble = []
        scan = scan_folder(root, within)
        if not scan.photos:
            raise BadDataError(f"{root} holds no photos")
        self.notices = scan.notices
        self._photos = scan.photos
        self._ids = default_ids(
            [("/".join(photo.below_split), "/".join(photo.parts)) for photo in scan.photos]
        )

    def records(self, lost: LostLines) -> Iterator[Record]:
        """One record a photo; none is lost."""
        for photo, product_id in zip(self._photos, self._ids, strict=True):
            path = "/".join(photo.parts)
            values = {"product_id": product_id, "image": path}
            if len(photo.below_split) > 1:
                values["category"] = format_path(photo.below_split[:-1])
            if photo.split:
                values["split"] = photo.split
            yield Record(printable(path), values)


def default_ids(paths: list[tuple[str, str]]) -> list[str]:
    """(path, path with its split) to ids: the path without its extension.

    Those that would be the same keep their extension; if even that is the same, only the split
    tells them apart.
    """
    forms = [(os.path.splitext(path)[0], path, full) for path, full in paths]
    level = [0] * len(forms)
    while True:
        holders: dict[str, set[int]] = {}
        for i, form in enumerate(forms):
            holders.setdefault(form[level[i]], set()).add(i)
        changed = False
        for clashing in holders.values():
            lowest = min(level[i] for i in clashing)
            if lowest < 2 and len({forms[i][2] for i in clashing}) > 1:
                changed = True
                for i in clashing:
                    level[i] += level[i] == lowest
        if not changed:
            return [form[at] for form, at in zip(forms, level, strict=True)]
