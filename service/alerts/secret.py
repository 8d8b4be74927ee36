"""Secret of a home that signs its webhooks: made once, mode 0600, rotated on request."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from indexer.core.atomic_files import prepared_file, sealed_lines, storage_failure
from indexer.core.errors import BadHomeError, BusyError
from indexer.core.home import SECRET_FILE, Home, read_secret
from indexer.core.home_clock import latest_time

# Receivers may go on with the secret before for this long.
OVERLAP_S = 7 * 86_400


_MEND = (
    "put alert-secret of a backup's folder in its place, or make a new one and give it to them "
    "(catalens alerts secret --rotate)"
)


@dataclass(frozen=True)
class AlertSecret:
    """The secrets that sign now: the current one, and for a week the one before."""

    current: str
    before: str | None

    def sign(self, body: bytes, *, at: float) -> str:
        """The header ``X-Catalens-Signature``: ``t=SECONDS,v1=HEX`` with one ``v1`` for each
        secret.

        Each is HMAC-SHA-256 of ``SECONDS.BODY``, so that an old message cannot be sent again.
        """
        stamp = str(int(at))
        signed = stamp.encode() + b"." + body
        digests = [
            hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
            for secret in (self.current, self.before)
            if secret is not None
        ]
        return ",".join([f"t={stamp}", *(f"v1={digest}" for digest in digests)])


def load_secret(home: Home) -> AlertSecret:
    """Read the home's secret, made first where there never was one.

    Raises ``BadHomeError`` for a file that holds none, or is gone though there was one: receivers
    would refuse what another one signs. ``StorageError``.
    """
    path = home.secret_file
    if not path.exists():
        if home.has_mark(SECRET_FILE):
            raise BadHomeError(
                f"{path} is not there, though receivers of webhooks have it: {_MEND}"
            )
        _write(home, [secrets.token_hex(32)])
    found = _read(path)
    _mark(home)
    return found


def rotate_secret(home: Home) -> AlertSecret:
    """Make a new secret; the one before signs beside it for a week."""
    with rotating_secret(home):
        pass
    return _read(home.secret_file)


@contextmanager
def rotating_secret(home: Home) -> Iterator[str]:
    """A new secret, which is shown in the block and signs once the block ends well: a failed one
    does not take the place of that which receivers have. Raises as ``load_secret``."""
    path = home.secret_file
    before = _read(path).current if path.exists() else None
    lines = [secrets.token_hex(32)]
    if before is not None:
        lines += [before, str(int(latest_time(home) + OVERLAP_S))]
    with _written(home, lines):
        yield lines[0]


def _write(home: Home, lines: list[str]) -> None:
    with _written(home, lines):
        pass


@contextmanager
def _written(home: Home, lines: list[str]) -> Iterator[None]:
    """The secrets of the home are ``lines`` once the block ends well."""
    path = home.secret_file
    with ExitStack() as stack:
        try:
            stack.enter_context(prepared_file(path, sealed_lines(lines), private=True))
        except OSError as error:
            raise storage_failure(path, error) from error
        yield
    try:
        path.chmod(0o600)
    except OSError as error:
        raise storage_failure(path, error) from error
    _mark(home)


def _mark(home: Home) -> None:
    # Also where whoever made the secret was killed before it was noted.
    with suppress(BusyError):
        home.mark(SECRET_FILE)


def _read(path: Path) -> AlertSecret:
    """The secrets in a file: with one changed or lost byte receivers would refuse all alerts.

    Those of releases before have no checksum. Raises ``BadHomeError``.
    """
    try:
        lines = read_secret(path)
        before = lines[1] if len(lines) == 3 and int(lines[2]) > latest_time(path.parent) else None
        return AlertSecret(lines[0], before)
    except (OSError, ValueError) as error:
        raise BadHomeError(
            f"{path} holds no whole secret ({error}): delete it; then {_MEND}"
        ) from error
