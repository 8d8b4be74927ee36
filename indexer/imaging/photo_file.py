"""Photo files of this machine, which anybody may have put there."""

from __future__ import annotations

import errno
from pathlib import Path

from indexer.core.regular_files import read_small
from indexer.imaging.decode import file_limits


def read_photo(path: Path) -> bytes:
    """Read a regular file of at most as many bytes as ``file_limits()`` allows a photo.

    Raises ``OSError``, for a larger one before it is read: a file of holes may have any size.
    """
    most = file_limits().max_bytes
    try:
        return read_small(path, most)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        reason = f"it has more than {most:,} bytes (CATALENS_MAX_IMAGE_BYTES raises the limit)"
        raise OSError(errno.EFBIG, reason, str(path)) from error
