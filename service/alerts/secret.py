"""Secret of a home that signs its webhooks: made once, mode 0600, rotated on request."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from indexer.core.atomic_files import storage_failure, write_atomic
from indexer.core.errors import BadHomeError
from indexer.core.home import Home

# Receivers may go on with the secret before for this long.
OVERLAP_S = 7 * 86_400
_NAME = "alert-secret"
_SECRET = re.compile(r"[0-9a-f]{64}")
# Before the checksum of the lines above it.
_CHECK = "sha256:"


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
    """Read the home's secret, made first where there is none.

    Raises ``BadHomeError`` for a file that holds none, ``StorageError``.
    """
    path = home.path / _NAME
    if not path.exists():
        _write(path, [secrets.token_hex(32)])
    return _read(path)


def rotate_secret(home: Home) -> AlertSecret:
    """Make a new secret; the one before signs beside it for a week."""
    path = home.path / _NAME
    before = _read(path).current if path.exists() else None
    lines = [secrets.token_hex(32)]
    if before is not None:
        lines += [before, str(int(time.time() + OVERLAP_S))]
    _write(path, lines)
    return _read(path)


def _write(path: Path, lines: list[str]) -> None:
    try:
        mask = os.umask(0o077)
        try:
            write_atomic(path, ("\n".join([*lines, _check_of(lines)]) + "\n").encode())
        finally:
            os.umask(mask)
        path.chmod(0o600)
    except OSError as error:
        raise storage_failure(path, error) from error


def _check_of(lines: list[str]) -> str:
    return _CHECK + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _read(path: Path) -> AlertSecret:
    """The secrets in a file: with one changed or lost byte receivers would refuse all alerts.

    Those of releases before have no checksum. Raises ``BadHomeError``.
    """
    try:
        lines = path.read_text(encoding="ascii").split()
        if lines and lines[-1].startswith(_CHECK) and lines.pop() != _check_of(lines):
            raise ValueError("it does not match its checksum")
        if len(lines) not in (1, 3) or not all(map(_SECRET.fullmatch, lines[:2])):
            raise ValueError("a secret has 64 hexadecimal digits")
        before = lines[1] if len(lines) == 3 and int(lines[2]) > time.time() else None
        return AlertSecret(lines[0], before)
    except (OSError, ValueError) as error:
        raise BadHomeError(
            f"{path} holds no whole secret: restore it from a backup, or delete it and give "
            "receivers of webhooks the new one (catalens alerts secret)"
        ) from error
