"""Record of exports: who took how much out of a home, and when."""

from __future__ import annotations

from indexer.catalog.store import Catalog
from indexer.core.errors import ReadOnlyError
from tools.output import log


def note_export(catalog: Catalog, note: str) -> None:
    """Record an export among the home's actions, by the name of who runs the command.

    Where the home cannot be written, that is said, and what was exported stays.
    """
    try:
        catalog.actions.record("export", note)
    except ReadOnlyError as error:
        log(f"the export stands in no record: {error}")
