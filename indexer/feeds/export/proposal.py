"""Proposal for one product: what Catalens would write into the shop's own feed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from indexer.core.category_path import CategoryPath
from indexer.core.errors import BadRequestError

ProposalKind = Literal[
    "category", "tags", "color", "attributes", "alt_text", "findings", "duplicates"
]
PROPOSAL_KINDS: tuple[str, ...] = get_args(ProposalKind)
ALT_LANGUAGES = ("en", "de", "zh")


@dataclass(frozen=True)
class ProposedValue:
    """A value and how sure it is, 0 to 1."""

    value: str
    confidence: float


@dataclass(frozen=True)
class Proposal:
    """What is proposed for one product; empty where nothing is.

    GTIN, price and stock are no part of it: they are facts that only the shop has. ``attributes``
    holds the colour under its own attribute's name, which ``color`` repeats. ``alt_text`` is by
    language (``ALT_LANGUAGES``); ``findings`` are codes of photo advice, ``duplicates`` product
    ids.
    """

    product_id: str
    category: CategoryPath | None = None
    category_confidence: float = 0.0
    tags: tuple[ProposedValue, ...] = ()
    color: ProposedValue | None = None
    attributes: Mapping[str, ProposedValue] = field(default_factory=dict)
    alt_text: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()

    def at_least(self, confidence: float) -> Proposal:
        """Without what is less sure than ``confidence``."""
        sure = self.category_confidence >= confidence
        color = self.color if self.color and self.color.confidence >= confidence else None
        return Proposal(
            self.product_id,
            self.category if sure else None,
            self.category_confidence if sure else 0.0,
            tuple(tag for tag in self.tags if tag.confidence >= confidence),
            color,
            {
                name: found
                for name, found in self.attributes.items()
                if found.confidence >= confidence
            },
            self.alt_text,
            self.findings,
            self.duplicates,
        )


# Product id -> its proposal; None where there is none.
FindProposal = Callable[[str], Proposal | None]


@dataclass(frozen=True)
class ExportOptions:
    """What of the proposals is written.

    ``only``: kinds of ``PROPOSAL_KINDS`` and names of attributes; None: all that the format has
    columns for. ``replace``: also where the shop has another value already. ``changes``: only
    products of which something changes. ``language``: of the alt text where a format has one
    column for it.
    """

    only: frozenset[str] | None = None
    replace: bool = False
    changes: bool = False
    language: str = "en"

    def wants(self, kind: str) -> bool:
        """Whether a kind, or the attribute of that name, is to be written."""
        return self.only is None or kind in self.only

    def wants_attribute(self, name: str) -> bool:
        return self.only is None or "attributes" in self.only or name in self.only


def read_only(text: str | None, attributes: Iterable[str]) -> frozenset[str] | None:
    """The kinds and attributes that a comma list names. Raises ``BadRequestError``."""
    if text is None:
        return None
    names = [part.strip() for part in text.split(",") if part.strip()]
    known = {*PROPOSAL_KINDS, *attributes}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        refused = f"{unknown[0]!r} is nothing that is proposed" if unknown else "it names nothing"
        raise BadRequestError(
            f"--only: {refused}: choose from {', '.join(sorted(known))} (GTIN, price and stock are "
            "never proposed)"
        )
    return frozenset(names)


def missing_tags(present: Sequence[str], proposed: Sequence[ProposedValue]) -> list[str]:
    """Proposed tags that are not among ``present``, whatever their case."""
    known = {tag.casefold() for tag in present}
    return [found.value for found in proposed if found.value.casefold() not in known]
