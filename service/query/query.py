"""Query input and search options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from indexer.imaging.decode import hash_content


@dataclass(frozen=True)
class Query:
    """What a question is about: a photo's bytes, a stored product, a text, or several of them."""

    image: bytes | None = None
    product_id: str | None = None
    crop: tuple[int, int, int, int] | None = None  # x, y, width, height in px of the upright image
    text: str | None = None

    @cached_property
    def image_hash(self) -> str:
        """The photo's content hash; "" without one."""
        return "" if self.image is None else hash_content(self.image)


@dataclass(frozen=True)
class SearchOptions:
    """What is wanted of a search, beside what it is about."""

    k: int = 20
    exclude: Sequence[str] = ()
    min_score: float | None = None
    filter: object = None  # as sent, see `parse_filter`
    weights: Mapping[str, float] | None = None
    mix: Mapping[str, float] | None = None
    collapse: str = "none"
    cursor: str | None = None
    explain: bool = False
