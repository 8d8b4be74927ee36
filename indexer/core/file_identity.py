"""Identity of a file that stays open: the path that led to it may lead to another one later."""

from __future__ import annotations

from pathlib import Path

from indexer.core.errors import ReplacedFileError


class FileIdentity:
    """Which file a path led to when it was opened. Safe to call from many threads.

    ``is_kept`` False: of one that is made again whenever somebody takes it away.
    """

    def __init__(self, path: Path, *, is_kept: bool) -> None:
        self._path = path
        self._is_kept = is_kept
        self._known: tuple[int, int] | None = None

    def note(self) -> None:
        """Note the file, now that it is open; where it was noted before, it must be that one.

        Raises ``ReplacedFileError``.
        """
        if self._known is None and self._is_kept:
            self._known = self._found()
        self.require()

    def require(self) -> None:
        """Raise ``ReplacedFileError`` where the path leads to another file, or nowhere: what is
        written to the open one would be in no home any more."""
        if self._known is not None and self._found() != self._known:
            raise ReplacedFileError(
                f"{self._path} is not the file that this process opened: the home was moved, or "
                "another was put in its place, while it was in use; nothing is read or written: "
                "stop the service, see which home is the right one, and start it again"
            )

    def forget(self) -> None:
        """Take whichever file is there next."""
        self._known = None

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            # The disk is away for a moment: reading and writing say so.
            return self._known
        return (found.st_dev, found.st_ino)
