"""Findings of audits as kept in a home: one JSON line a product, numbers for ids."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from indexer.catalog.erased_texts import ErasedTexts
from indexer.core.atomic_files import write_atomic
from indexer.core.home import Home

# Lines of products that were looked at again since, before the file is written anew.
_SUPERSEDED = 1000


def read_findings(path: Path) -> dict[int, list[Any]]:
    """Of each product the last line: [pid, key, entries, photos]. Half a line, of a run that was
    killed, is left out.

    A file of which much is superseded is written anew.
    """
    found: dict[int, list[Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for text in lines:
        try:
            line = json.loads(text)
            found[int(line[0])] = line
        except (ValueError, TypeError, LookupError):
            continue
    if len(lines) > 2 * len(found) + _SUPERSEDED:
        _write(path, found)
    return found


def erase_findings(home: Home, erased: ErasedTexts, living: Container[int]) -> int:
    """Take out what was found at products that are gone, and what names them at others, which are
    looked at again; how many lines."""
    count = 0
    for path in sorted((home.path / "audit").glob("*.jsonl")):
        found = read_findings(path)
        kept = {
            pid: line
            for pid, line in found.items()
            if pid in living and erased.cover_all(line) == line
        }
        if len(kept) < len(found):
            _write(path, kept)
        count += len(found) - len(kept)
    return count


def _write(path: Path, found: dict[int, list[Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found.values())
    write_atomic(path, text.encode())
