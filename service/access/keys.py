"""Keys of a home: names and roles, and of each secret only its hash."""

from __future__ import annotations

import hashlib
import secrets
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexer.core.atomic_files import (
    canonical_json,
    close_file,
    prepared_file,
    read_sealed_json,
    sealed_json,
)
from indexer.core.errors import (
    BadHomeError,
    BadRequestError,
    CatalensError,
    KeyExistsError,
    UnknownKeyError,
)
from indexer.core.home import Home
from indexer.core.home_clock import latest_time
from service.access.roles import Role

# ``home.json`` says that the home has keys, so that a lost file is not taken for no keys at all,
# which would open the service to everybody.
_MARK = "keys"
_LONGEST_NAME = 100
# How long a command waits for another one that writes the keys.
_WAIT_S = 10.0
_MEND = (
    "restore it from a backup, or move it away and make keys anew (catalens keys create NAME "
    "--role admin)"
)
_MEND_MISSING = _MEND.replace("move it away and ", "")
_STRICT = ConfigDict(frozen=True, extra="ignore", strict=True)


class KeySecret(BaseModel):
    """One secret of a key as it is stored. ``until``: when it ends, after a rotation."""

    model_config = _STRICT

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    made: float
    until: float | None = None


class AccessKey(BaseModel):
    """A key: who uses it, in which role, at how many requests a second (None: as is set)."""

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
    role: Role
    created: float
    secrets: Annotated[tuple[KeySecret, ...], Field(strict=False)]
    rate: float | None = None
    revoked: float | None = None


class _Stored(BaseModel):
    model_config = _STRICT

    format: Literal[1]
    keys: Annotated[tuple[AccessKey, ...], Field(strict=False)]


@dataclass(frozen=True)
class NewKey:
    """A key that was just made, with its secret, which is shown once and kept nowhere."""

    name: str
    role: Role
    key: str


class KeyFile:
    """The keys of one home. Every change is one replacement of the file, one process at a time."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.path = home.keys_file

    def read(self) -> tuple[AccessKey, ...]:
        """All keys, those revoked too; none where none was ever made.

        Raises ``BadHomeError`` for a file that is damaged, or is gone though the home had keys.
        """
        try:
            close_file(self.path)
            found = read_sealed_json(self.path)
        except FileNotFoundError:
            if self._had_keys():
                raise BadHomeError(
                    f"{self.path} is not there, though this home has keys: {_MEND_MISSING}"
                ) from None
            return ()
        except OSError as error:
            raise BadHomeError(f"{self.path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise BadHomeError(f"{self.path} is damaged: {error}; {_MEND}") from None
        try:
            keys = _Stored.model_validate_json(canonical_json(found)).keys
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise BadHomeError(f"{self.path} is damaged: {place} {fault['msg']}; {_MEND}") from None
        if keys:
            # Also where whoever wrote the file was killed before it was noted. Whoever answers
            # requests reads keys, and waits for nobody; the keys hold whether or not it is noted.
            with suppress(CatalensError, OSError):
                self._home.mark(_MARK, wait_s=0.0)
        return keys

    def create(self, name: str, role: Role, *, rate: float | None = None) -> NewKey:
        """Make a key, as ``creating``."""
        with self.creating(name, role, rate=rate) as made:
            return made

    @contextmanager
    def creating(self, name: str, role: Role, *, rate: float | None = None) -> Iterator[NewKey]:
        """A key that is shown in the block, and stands once the block ends well: nobody's secret
        stands that nobody saw. A name that was revoked can be given again.

        Raises ``BadRequestError`` for a name that cannot be shown, ``KeyExistsError``.
        """
        if len(name) > _LONGEST_NAME or not name.isprintable() or name != name.strip() or not name:
            raise BadRequestError(
                f"{name[:_LONGEST_NAME]!a} is no name of a key: 1 to {_LONGEST_NAME} printable "
                "characters, no space at its ends"
            )
        with self._home.lock("keys", wait_s=_WAIT_S):
            keys = self.read() if self.path.exists() else ()
            if any(key.name == name and key.revoked is None for key in keys):
                raise KeyExistsError(
                    f"there is a key {name!a} already: catalens keys rotate or revoke it, or "
                    "choose another name"
                )
            text, secret = _make_secret()
            made = AccessKey(
                name=name, role=role, created=secret.made, secrets=(secret,), rate=rate
            )
            kept = [key for key in keys if key.name != name]
            with self._prepared((*kept, made)):
                yield NewKey(name, role, text)

    def rotate(self, name: str, *, overlap_s: float = 0.0) -> NewKey:
        """Give a key a new secret, as ``rotating``."""
        with self.rotating(name, overlap_s=overlap_s) as made:
            return made

    @contextmanager
    def rotating(self, name: str, *, overlap_s: float = 0.0) -> Iterator[NewKey]:
        """A new secret of a key, which is shown in the block and holds once the block ends well;
        the old one ends after ``overlap_s``. Raises ``UnknownKeyError``."""
        with self._home.lock("keys", wait_s=_WAIT_S):
            keys = self.read()
            key = _find(keys, name)
            text, secret = _make_secret()
            # As whoever answers requests tells which have ended.
            now = latest_time(self._home)
            kept = [old for old in key.secrets if old.until is None or old.until > now]
            end = now + overlap_s
            ending = [
                old.model_copy(update={"until": min(end, old.until or end)})
                for old in kept
                if overlap_s
            ]
            changed = key.model_copy(update={"secrets": (*ending, secret)})
            with self._prepared(tuple(changed if one.name == name else one for one in keys)):
                yield NewKey(name, key.role, text)

    def set_rate(self, name: str, rate: float | None) -> AccessKey:
        """Let a key ask ``rate`` times a second; None: as is set. Raises ``UnknownKeyError``."""
        with self._home.lock("keys", wait_s=_WAIT_S):
            keys = self.read()
            changed = _find(keys, name).model_copy(update={"rate": rate})
            self._write(tuple(changed if one.name == name else one for one in keys))
        return changed

    def revoke(self, name: str) -> AccessKey:
        """End a key now; its name stays in the list. Raises ``UnknownKeyError``."""
        with self._home.lock("keys", wait_s=_WAIT_S):
            keys = self.read()
            ended = _find(keys, name).model_copy(update={"secrets": (), "revoked": time.time()})
            self._write(tuple(ended if one.name == name else one for one in keys))
        return ended

    def _write(self, keys: tuple[AccessKey, ...]) -> None:
        with self._prepared(keys):
            pass

    @contextmanager
    def _prepared(self, keys: tuple[AccessKey, ...]) -> Iterator[None]:
        """The keys as they are once the block ends well."""
        stored = _Stored(format=1, keys=keys).model_dump(mode="json")
        with prepared_file(self.path, sealed_json(stored), private=True):
            yield
        self._home.mark(_MARK)

    def _had_keys(self) -> bool:
        """Whether ``home.json`` says so; also where it cannot be read, since what is absent is not
        taken for empty."""
        try:
            return self._home.has_mark(_MARK)
        except CatalensError:
            return True


def hash_key(key: str) -> str:
    """Hex SHA-256 of a key. Keys are random and long, so no slower hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def _make_secret() -> tuple[str, KeySecret]:
    text = f"catalens_{secrets.token_urlsafe(32)}"
    return text, KeySecret(sha256=hash_key(text), made=time.time())


def _find(keys: tuple[AccessKey, ...], name: str) -> AccessKey:
    found = next((key for key in keys if key.name == name), None)
    if found is None:
        raise UnknownKeyError(f"no key is called {name!a}; catalens keys list shows them")
    if found.revoked is not None:
        raise UnknownKeyError(
            f"the key {name!a} was revoked and is not taken any more; make a new one of this name: "
            f"catalens keys create {shlex.quote(name)} --role {found.role}"
        )
    return found
