"""Findings of audits as kept in a home: one JSON line a product, numbers for ids."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from indexer.catalog.change_log import CatalogState, ChangeLog
from indexer.catalog.erased_texts import ErasedTexts
from indexer.core.atomic_files import write_atomic
from indexer.core.home import Home

# Lines of products that were looked at again since, before the file is written anew.
_SUPERSEDED = 1000


def state_line(history: ChangeLog) -> str:
    """A line that says beside which state of the catalog the lines so far were written; a release
    from before leaves it out."""
    return json.dumps({"catalog": history.state()})


def read_findings(path: Path, history: ChangeLog) -> dict[int, list[Any]]:
    """Of each product the last line: [pid, key, entries, photos]. Half a line, of a run that was
    killed, is left out.

    Findings of another catalog, of a state that this one never had or that cannot be told any
    more are none: its numbers may mean other products, and they are found again. A file of which
    much is superseded is written anew, one of another catalog goes.
    """
    found: dict[int, list[Any]] = {}
    state: CatalogState | None = None
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for text in lines:
        try:
            line = json.loads(text)
            if isinstance(line, dict):
                identity, sequence, stamp = line["catalog"]
                state = CatalogState(identity, int(sequence), stamp)
            else:
                found[int(line[0])] = line
        except (ValueError, TypeError, LookupError):
            continue
    if state is None or not history.had(state):
        with suppress(OSError):  # on a read-only disk they are not believed either
            path.unlink(missing_ok=True)
        return {}
    known = {pid: line for pid, line in found.items() if _sequence(line) <= state.sequence}
    if len(lines) > 2 * len(known) + _SUPERSEDED:
        _write(path, known, history)
    return known


def erase_findings(home: Home, erased: ErasedTexts, history: ChangeLog) -> int:
    """Take out what was found at products that are gone, and what names them at others, which are
    looked at again; how many lines."""
    living = set(history.living().pids.tolist())
    count = 0
    for path in sorted((home.path / "audit").glob("*.jsonl")):
        found = read_findings(path, history)
        kept = {
            pid: line
            for pid, line in found.items()
            if pid in living and erased.cover_all(line) == line
        }
        # Written anew in any case: a line that another one superseded may name them.
        if path.exists():
            _write(path, kept, history)
        count += len(found) - len(kept)
    return count


def _sequence(line: list[Any]) -> int:
    """The product's last change when it was looked at; beyond all of a line without one."""
    try:
        return int(str(line[1]).partition(" ")[0])
    except (ValueError, LookupError):
        return 2**63


def _write(path: Path, found: dict[int, list[Any]], history: ChangeLog) -> None:
    lines = [json.dumps(line, ensure_ascii=False) for line in found.values()]
    write_atomic(path, ("\n".join([*lines, state_line(history)]) + "\n").encode())
