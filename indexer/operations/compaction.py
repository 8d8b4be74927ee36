"""Compaction of the delta into a new index version, as a process of low priority.

python -m indexer.operations.compaction HOME VERSION [DEVICE]

prints one JSON line; exit 0 done, 75 not now (busy), 1 failed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from indexer.core.atomic_files import (
    read_sealed_texts,
    remove_folder,
    write_sealed_texts,
)
from indexer.core.disk_failures import disk_failure
from indexer.core.errors import BusyError, CatalensError, NoMemoryError
from indexer.core.home import Home
from indexer.core.parent_process import end_with_parent
from indexer.core.process_limits import is_out_of_memory, limit_worker

NOT_NOW = 75  # EX_TEMPFAIL: another build holds the lock, or another version was activated
# the versions that compaction made before their manifests said so, oldest first
_MADE = "FOLDED"
# of them: the one that serves, and the one before for processes that are about to follow
_KEPT = 2
# in a version's manifest
_MAKER = "compaction"


@dataclass(frozen=True)
class CompactionReport:
    """What a compaction made."""

    version: str
    last_sequence: int
    entries: int
    embedded: int  # photos that had no vector yet
    seconds: float


def compact(home: Home, index_version: str, *, device: str = "auto") -> CompactionReport:
    """Build the catalog as it is now into a version and activate it in the place of
    ``index_version``.

    Vectors come from the embedding store: the network runs only for photos that were never
    embedded. The new version is the same state in another form, so it takes the old one's place in
    the history of activations and a rollback still undoes the last decision, not a compaction. Of
    the versions that compactions made the newest two are kept. Raises ``BusyError`` where
    ``index_version`` is not (or no longer) active or another build runs; then nothing is left
    behind.
    """
    from indexer.index.version import Versions
    from indexer.index_build.pipeline import BuildOptions, build_index
    from indexer.model.registry import by_version

    versions = Versions(home)
    active = home.active()
    if active is None or active.index_version != index_version:
        raise BusyError(f"index version {index_version} is not active, so it is not compacted")
    asked = versions.manifest(index_version).recall.get("asked")
    options = BuildOptions(device=device, recaptures=False, made_by=_MAKER)
    if asked is not None:
        options = replace(options, recall=float(asked))
    report = build_index(home, by_version(home, active.model_version), options)
    if report.version is None:
        raise RuntimeError("a build that was no dry run made no version")
    try:
        versions.activate(report.version, instead_of=index_version)
    except CatalensError:
        remove_folder(versions.folder / report.version)
        raise
    with suppress(BusyError):  # the next one clears up
        _clear(home, report.version)
    return CompactionReport(
        report.version,
        report.last_sequence,
        report.entries,
        report.embedded,
        round(report.seconds["total"], 3),
    )


def _clear(home: Home, newest: str) -> None:
    """Remove versions of earlier compactions, unless they serve or would be rolled back to. What
    people built is theirs to collect.

    A version says itself that a compaction made it: one that was killed between publishing and
    activating left nothing else.
    """
    from indexer.index.version import Versions

    versions = Versions(home)
    with (
        # An erasure makes versions that are in nobody's history yet.
        home.lock("build", wait_s=60.0),
        home.lock("activate", wait_s=60.0),
        home.lock("publish", wait_s=60.0),
    ):
        pairs = (home.active(), versions.previous())
        in_use = {pair.index_version for pair in pairs if pair is not None}
        noted = {newest, *_made(versions.folder / _MADE)}
        made = [
            manifest.version
            for manifest in versions.list()
            if manifest.version in noted or (manifest.source or {}).get("made_by") == _MAKER
        ]
        doomed = [name for name in made[:-_KEPT] if name not in in_use]
        for name in doomed:
            remove_folder(versions.folder / name)
        write_sealed_texts(versions.folder / _MADE, [name for name in made if name not in doomed])


def _made(path: Path) -> list[str]:
    try:
        return read_sealed_texts(path)
    except (OSError, ValueError):
        return []


def main(arguments: Sequence[str]) -> int:
    """Entry point of the process that the service starts."""
    import structlog

    # stdout is for the answer
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # a tenth of a busy core: at 19 a compaction beside a busy service would never end
    if hasattr(os, "nice"):
        os.nice(10)
    end_with_parent()
    limit_worker()
    home, version, *device = arguments
    try:
        done = compact(Home(home), version, device=device[0] if device else "auto")
    except CatalensError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return NOT_NOW if isinstance(error, BusyError) else 1
    except Exception as error:
        failure = disk_failure(error, Path(home))
        if is_out_of_memory(error):
            failure = NoMemoryError("the machine has no memory for it")
        if failure is None:
            raise
        print(f"{failure.code}: {failure}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(done)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
