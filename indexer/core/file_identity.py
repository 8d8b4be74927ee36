"""Identity of a file or folder in use: the path that led to it may lead to another one later."""

from __future__ import annotations

from pathlib import Path

from indexer.core.errors import ReplacedFileError


class FileIdentity:
    """Which file or folder a path led to when it was opened. Safe to call from many threads.

    ``is_kept`` False: of one that is made again whenever somebody takes it away.
    """

    def __init__(self, path: Path, *, is_kept: bool, noun: str = "file") -> None:
        self._path = path
        self._is_kept = is_kept
        self._noun = noun
        self._known: tuple[int, int] | None = None
        self._doubt: str | None = None

    def note(self) -> None:
        """Note the file, now that it is open; where it was noted before, it must be that one.

        Raises ``ReplacedFileError``.
        """
        if self._known is None and self._is_kept:
            self._known = self._found()
        self.require()

    def require(self) -> None:
        """Raise ``ReplacedFileError`` where the path leads to another file, or nowhere: what is
        written to the open one would be in no home any more; and where that is in doubt."""
        if self._doubt is not None:
            raise ReplacedFileError(self._doubt)
        self.require_path()

    def doubt(self, reason: str | None) -> None:
        """Have ``require`` refuse the file, though the path leads to it: something else was written
        over it. None: it is sound again."""
        self._doubt = reason

    def require_path(self) -> None:
        """``require``, of the path alone."""
        if self._known is not None and self._found() != self._known:
            raise self.failure()

    def failure(self) -> ReplacedFileError:
        """The error for a path that leads elsewhere, or nowhere."""
        return ReplacedFileError(
            f"{self._path} is not the {self._noun} that this process opened: the home was moved, "
            "or another was put in its place, while it was in use; nothing is read or written: "
            "stop the service, see which home is the right one, and start it again"
        )

    def forget(self) -> None:
        """Take whichever file is there next."""
        self._known = None
        self._doubt = None

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            # The disk is away for a moment: reading and writing say so.
            return self._known
        return (found.st_dev, found.st_ino)
