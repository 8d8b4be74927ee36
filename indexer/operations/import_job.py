"""Import of a job: from an upload, an address or a folder of this machine to the catalog."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from indexer.core.atomic_files import make_folder
from indexer.core.home import Home
from indexer.core.progress import OnStage
from indexer.feeds.archives import unpack
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.reader import inner_folder, is_archive
from indexer.fetch.feed_client import FeedClient
from indexer.fetch.settings import FetchSettings
from indexer.operations.feed_import import run_import
from indexer.operations.jobs import UPLOAD, limited

# What is taken over as it is.
_OPTIONS = (
    *("photos", "sync", "allow_deletes", "dry_run", "types", "profile", "encoding", "delimiter"),
    *("accept", "feed", "fetch", "draft", "corrections", "save_as"),
)
_ODD = re.compile(r"[^\w.+ -]+")
_LONGEST_NAME = 120


def upload_name(name: str | None) -> str:
    """What a file that somebody sent is called in a job's folder.

    >>> upload_name("../Produkte 2024.csv"), upload_name(None)
    ('Produkte 2024.csv', 'feed')
    """
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    plain = _ODD.sub("_", last).strip(" .")
    return plain[-_LONGEST_NAME:].strip(" .") or "feed"


def import_upload(
    home: Home, folder: Path, options: Mapping[str, Any], progress: OnStage
) -> dict[str, Any]:
    """Import what the job in ``folder`` is about; its result. Raises as ``run_import``,
    ``UrlRefusedError``, ``UrlFailedError``."""
    fetching = _fetching(options)
    source: str | None = None
    sent_as: str | None = None
    if options.get("path") is not None:
        root = Path(options["root"])
        data = Path(options["path"])
    else:
        if options.get("url") is not None:
            source = str(options["url"])
            _fetch(source, folder / UPLOAD, fetching, progress)
        data = _sent(folder / UPLOAD)
        if source is None:
            # No file's name holds the sign between them.
            sent_as = f"{data.name}\0{options.get('feed') or ''}"
        root = folder / UPLOAD
        if is_archive(data):
            root = folder / "unpacked"
            data = _unpack(data, root, options, progress)
    given = {name: options[name] for name in _OPTIONS if options.get(name) is not None}
    report = run_import(
        home,
        data,
        # A feed may name any file of this machine, and a link lead anywhere.
        ImportOptions(**given, source=source, sent_as=sent_as, photos_within=root, scratch=folder),
        fetching=fetching if options.get("fetch") else None,
        progress=progress,
    )
    result: dict[str, Any] = _without(report.to_json(), f"{root}{os.sep}")
    for name in ("skipped", "warnings", "skipped_by_kind"):
        result |= limited(name, result[name])
    for name in ("skipped", "warnings"):
        result[f"{name}_total"] = result["counts"][name]
    return result


def _fetching(options: Mapping[str, Any]) -> FetchSettings | None:
    stored = options.get("fetching")
    if stored is None:
        return None
    sets = {name: frozenset(stored[name]) for name in ("private", "hosts")}
    return FetchSettings(**{**stored, **sets})


def _fetch(url: str, folder: Path, fetching: FetchSettings | None, progress: OnStage) -> None:
    """Write the feed at ``url`` to ``folder``, under the last name of its path."""
    progress("fetch", 0, 0)
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    client = FeedClient(fetching or FetchSettings())
    try:
        client.fetch(url, folder / upload_name(unquote(urlsplit(url).path)))
    finally:
        client.close()


def _sent(folder: Path) -> Path:
    """The one file of ``folder``."""
    return sorted(folder.iterdir())[0]


def _unpack(archive: Path, folder: Path, options: Mapping[str, Any], progress: OnStage) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    unpack(
        archive,
        folder,
        most_bytes=int(options["most_bytes"]),
        progress=partial(progress, "unpack"),
    )
    return inner_folder(folder)


def _without(value: Any, place: str) -> Any:
    """A document without a path of this machine in its texts."""
    if isinstance(value, str):
        return value.replace(place, "")
    if isinstance(value, list):
        return [_without(entry, place) for entry in value]
    if isinstance(value, dict):
        return {key: _without(entry, place) for key, entry in value.items()}
    return value
