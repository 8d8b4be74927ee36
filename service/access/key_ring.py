"""Key ring: whose key it is, from the settings, the key file and the home, followed as they
change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from indexer.core.atomic_files import file_stamp
from indexer.core.errors import BadSettingsError, CatalensError
from indexer.core.home import Home
from indexer.core.home_clock import latest_time
from service.access.keys import AccessKey, KeyFile, hash_key
from service.access.roles import Role
from service.settings import Settings, read_api_keys

# The name of whoever comes with a key of the settings or of the key file, which have none.
_UNNAMED = "api-key"
# Until a file that could not be read is read again.
_AGAIN_S = 5.0


@dataclass(frozen=True)
class KeyHolder:
    """Whose key it is. ``until``: when its secret ends. ``rate``: requests a second of its own."""

    name: str
    role: Role
    until: float | None = None
    rate: float | None = None


Stamp = tuple[int, int, int] | None


class KeyRing:
    """Keys by their hash. Safe to call from many threads.

    A file that cannot be read any more changes nothing: the keys that were read last stay, the log
    says so, and it is read again after a pause, also where nothing changed: rights may have. No
    keys are read of another home that took the place of this one. Once a key was needed, one is
    needed until the process ends.
    """

    def __init__(self, settings: Settings, home: Home, log: Any) -> None:
        """Raises ``BadSettingsError`` or ``BadHomeError`` where keys cannot be read."""
        self._file = settings.api_key_file
        self._home = home
        self._home_keys = KeyFile(home)
        self._log = log
        self._lock = threading.Lock()
        self._fixed = _unnamed(settings.api_keys)
        self._stamps = self._look()
        self._latest = latest_time(home)
        self._from_file = {} if self._file is None else _unnamed(read_api_keys(self._file))
        keys = self._home_keys.read()
        self._from_home = _by_hash(keys)
        self._needed = bool(keys or self._fixed or self._from_file)
        # When a file that could not be read is read again; None: each was read.
        self._again_at: float | None = None

    @property
    def is_needed(self) -> bool:
        """Whether a key is asked for."""
        self.follow()
        return self._needed

    def has_role(self, role: Role) -> bool:
        """Whether a key of ``role`` is known."""
        known = (self._from_home, self._from_file, self._fixed)
        return any(holder.role == role for keys in known for holder in keys.values())

    def find(self, key: str) -> KeyHolder | None:
        """Who holds ``key``; None for an unknown, a revoked or an ended one."""
        self.follow()
        # By its hash: how long that takes says nothing about the keys that are known.
        digest = hash_key(key)
        # A clock that goes back revives no secret that ended.
        self._latest = now = max(self._latest, time.time())
        for known in (self._from_home, self._from_file, self._fixed):
            holder = known.get(digest)
            if holder is not None and (holder.until is None or holder.until > now):
                return holder
        return None

    def follow(self) -> None:
        """Read again what changed since the last look."""
        stamps = self._look()
        if stamps == self._stamps and not self._is_due():
            return
        with self._lock:
            again = self._is_due()
            before, self._stamps = self._stamps, stamps
            if again:
                self._again_at = None
            if self._file is not None and (again or stamps[0] != before[0]):
                try:
                    self._from_file = _unnamed(read_api_keys(self._file))
                    self._log.info("keys read", file=str(self._file), keys=len(self._from_file))
                except BadSettingsError as error:
                    self._keep(error)
            if again or stamps[1] != before[1]:
                try:
                    self._home.require()
                    keys = self._home_keys.read()
                    # Also not where it took the place while they were read.
                    self._home.require()
                    self._from_home = _by_hash(keys)
                    self._needed = self._needed or bool(keys)
                    self._log.info("keys read", file=str(self._home_keys.path), keys=len(keys))
                except (CatalensError, OSError) as error:
                    # Whatever hinders it: a change of keys that was not read is read again.
                    self._keep(error)

    def _is_due(self) -> bool:
        again_at = self._again_at
        return again_at is not None and time.monotonic() >= again_at

    def _keep(self, error: Exception) -> None:
        self._again_at = time.monotonic() + _AGAIN_S
        self._log.error(
            "keys not read, those before stay", error=str(error), read_again_after_s=_AGAIN_S
        )

    def _look(self) -> tuple[Stamp, Stamp]:
        file = None if self._file is None else file_stamp(self._file)
        return file, file_stamp(self._home_keys.path)


def _unnamed(keys: Iterable[str]) -> dict[str, KeyHolder]:
    holder = KeyHolder(_UNNAMED, "admin")
    return {hash_key(key): holder for key in keys}


def _by_hash(keys: Iterable[AccessKey]) -> dict[str, KeyHolder]:
    return {
        secret.sha256: KeyHolder(key.name, key.role, secret.until, key.rate)
        for key in keys
        if key.revoked is None
        for secret in key.secrets
    }
