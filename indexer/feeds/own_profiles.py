"""Own profiles of a home: feeds whose columns somebody corrected, found again at their next
import."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from indexer.core.atomic_files import make_folder, storage_failure, write_atomic
from indexer.core.errors import BadDataError
from indexer.feeds.profile import FeedProfile, parse_profile, profile_names, profile_text

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_LONGEST_NAME = 36
# Ends the label of a profile that came of a corrected map.
CORRECTED = "as corrected in this home"


class OwnProfiles:
    """The profiles in one folder, a YAML file each; none where there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Their names, sorted."""
        if self.folder is None or not self.folder.is_dir():
            return []
        found = (path.stem for path in self.folder.glob("*.yaml"))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def load(self, name: str) -> FeedProfile:
        """One of ``names``. Raises ``BadDataError``."""
        return parse_profile(self.text(name), f"profile {name}", default_name=name)

    def all(self) -> list[FeedProfile]:
        """Those that can be read."""
        return [*self.iterate()]

    def iterate(self) -> Iterator[FeedProfile]:
        """Those that can be read, one by one."""
        for name in self.names():
            with suppress(BadDataError):
                yield self.load(name)

    def text(self, name: str) -> str:
        """The YAML of one. Raises ``BadDataError``."""
        assert self.folder is not None
        return profile_text(self.folder / f"{name}.yaml")

    def data(self, name: str) -> dict[str, Any]:
        """What the YAML of one says, as written."""
        found = yaml.safe_load(self.text(name))
        return dict(found) if isinstance(found, dict) else {}

    def is_corrected(self, name: str) -> bool:
        """Whether one of ``names`` stands as a corrected map left it. One that somebody wrote, or
        wrote a comment into, does not. Raises ``BadDataError``."""
        data = self.data(name)
        made = str(data.get("label", "")).endswith(CORRECTED)
        return made and self.text(name) == _dump(data)

    def free_name(self, feed: str) -> str:
        """A name for the profile of a feed, by the name of its file; none that is taken."""
        stem = re.sub(r"[^a-z0-9]+", "-", Path(feed).stem.lower()).strip("-")[:_LONGEST_NAME]
        base = stem.strip("-")
        if not base or not base[0].isalpha():
            base = f"feed-{base}".strip("-")
        taken = {*self.names(), *profile_names(), "auto"}
        number = 1
        name = base
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        return name

    def check_name(self, name: str) -> None:
        """Raise ``BadDataError`` for a name that no own profile can have."""
        if not _NAME.fullmatch(name):
            raise BadDataError(
                f"{name!r} cannot name a profile: use up to 41 small letters, digits, - and _"
            )
        if name in profile_names() or name == "auto":
            raise BadDataError(
                f"{name!r} is the name of a profile that comes with Catalens: choose another one"
            )

    def save(self, data: Mapping[str, Any]) -> None:
        """Store a profile under its name. Raises ``StorageError``."""
        assert self.folder is not None
        text = _dump(data)
        path = self.folder / f"{data['name']}.yaml"
        try:
            make_folder(self.folder, below=self.folder.parent)
            write_atomic(path, text.encode())
        except OSError as error:
            raise storage_failure(path, error) from error


def _dump(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), allow_unicode=True, sort_keys=False)
