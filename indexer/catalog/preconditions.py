"""Preconditions of a write: the state and the version that it was decided on."""

from __future__ import annotations

from indexer.catalog.product_rows import StoredRow
from indexer.catalog.records import Write
from indexer.core.errors import BadProductError, ChangedError, StaleVersionError

# Never the number of a change.
_NO_CHANGE = 2**63 - 1


def refuse_changed(write: Write, stored: StoredRow | None) -> None:
    """Raise ``ChangedError`` where the product is not as the write expects it."""
    expected = write.expected_sequence
    if expected is None:
        return
    if type(expected) is not int or expected < 0:
        raise BadProductError(f"expected_sequence must be 0 or a sequence number, got {expected!a}")
    if expected == (0 if stored is None else stored.sequence):
        return
    what = "was erased" if stored is None else f"was changed (change {stored.sequence})"
    if expected == 0:
        what = "exists already"
    since = f" since change {expected}" if 0 < expected < _NO_CHANGE else ""
    raise ChangedError(f"product {write.product_id!r} {what}{since}: read it again")


def refuse_stale(product_id: str, stored: int | None, given: int | None) -> None:
    """Raise ``StaleVersionError`` where a newer one is stored."""
    if stored is not None and given is not None and given < stored:
        raise StaleVersionError(
            f"product {product_id!r} has external_version {stored}, {given} is older"
        )
