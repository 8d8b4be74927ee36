"""What a job may read: a file that was sent, or one below the folder that imports may read from."""

from __future__ import annotations

import os
from pathlib import Path

from indexer.core.errors import BadDataError, BadRequestError
from indexer.feeds.archives import check_archive
from indexer.feeds.reader import check_feed, is_workbook


def check_sent(sent: Path, *, most_bytes: int) -> None:
    """Raise ``BadDataError`` for a file that is neither a zip nor a feed."""
    with sent.open("rb") as file:
        packed = file.read(2) == b"PK"
    try:
        if packed and not is_workbook(sent):
            check_archive(sent, most_bytes=most_bytes)
        else:
            check_feed(sent)
    except BadDataError as error:
        raise BadDataError(str(error).replace(f"{sent.parent}{os.sep}", "")) from error


def allowed_path(root: Path | None, path: str) -> Path:
    """``path`` (relative to ``root``, or absolute) if it lies below ``root``, links resolved.

    Raises ``BadRequestError``.
    """
    if root is None:
        raise BadRequestError(
            "path: imports from folders of this machine are off (setting import_root); upload an "
            "archive"
        )
    try:
        found = (root / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        found = None
    # One message for both, so that nobody learns what lies elsewhere on this machine.
    if found is None or not found.is_relative_to(root):
        raise BadRequestError(
            f"path: nothing at {path[:200]!r} below the folder that imports may read from"
        )
    return found
