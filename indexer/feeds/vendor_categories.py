"""Names of a vendor's numbered categories, which a shop gives as a file."""

from __future__ import annotations

from pathlib import Path

from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError
from indexer.core.regular_files import read_small
from indexer.feeds.profile import FeedProfile
from indexer.feeds.values import categories

# Google's file has half a megabyte.
_MOST_BYTES = 8_000_000
# Lines of a file without numbers that are looked at.
_MOST_ODD = 100


def read_numbers(path: Path) -> dict[str, str]:
    """Number to name of lines like ``188 - Apparel & Accessories > Jewelry``, as Google's
    ``taxonomy-with-ids`` has them; lines that begin with # are notes. Raises ``BadDataError``."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadDataError(f"{path} is larger than a file of categories can be")
        lines = read_small(path, _MOST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadDataError(f"{path} cannot be read: {reason}") from error
    found: dict[str, str] = {}
    odd = 0
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        number, name = categories.google(line)
        if number is not None and name:
            found.setdefault(number, format_path(name))
        else:
            odd += 1
        if odd > _MOST_ODD:
            break
    if not found or odd > _MOST_ODD:
        raise BadDataError(
            f"{path} is no file of categories: expected lines like '188 - Apparel & Accessories > "
            "Jewelry', as Google's taxonomy-with-ids.en-US.txt has them"
        )
    return found


def with_numbers(profile: FeedProfile, numbers: dict[str, str]) -> FeedProfile:
    """``profile`` that knows what the numbers of a vendor's categories are called."""
    rules = tuple(
        rule.model_copy(update={"numbers": {**rule.numbers, **numbers}}) if rule.vendor else rule
        for rule in profile.category
    )
    return profile.model_copy(update={"category": rules})
