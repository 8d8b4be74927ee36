"""Proposals for all products of a home: category, tags, attributes, alt text, findings, repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from indexer.catalog.attributes import COLOUR_COLUMNS
from indexer.catalog.records import Product
from indexer.catalog.store import open_catalog
from indexer.core.errors import CatalensError, NoCategoriesError
from indexer.core.native import THREADS
from indexer.core.progress import OnProgress
from indexer.duplicates.groups import find_groups
from indexer.feeds.export.proposal import ExportOptions, Proposal, ProposedValue
from indexer.imaging.parallel import in_order
from indexer.model.open_runtime import open_embedder
from indexer.text.alt_text import alt_texts
from service.engine import Engine
from service.query.predictions import AttributePrediction
from service.query.query import Query
from tools.audit import audit

# Attributes whose value an alt text names.
_DETAILS = ("pattern", "neckline", "sleeve_length")


class Proposals:
    """Proposals by product id, made once for all products."""

    def __init__(self, found: dict[str, Proposal], skipped: list[str]) -> None:
        self._found = found
        # Products of which nothing could be said, and why.
        self.skipped = skipped

    def find(self, product_id: str) -> Proposal | None:
        """The proposal for a product, or None."""
        return self._found.get(product_id)

    def __len__(self) -> int:
        return len(self._found)


def make_proposals(
    engine: Engine, options: ExportOptions, *, confidence: float, progress: OnProgress | None = None
) -> Proposals:
    """Ask ``engine`` about every product of its home that is in the index.

    What is less sure than ``confidence`` is left out. Findings and duplicates come from the audit
    and are asked for only where ``options`` name them, since they read every photo.
    """
    audited = _audited(engine, options)
    found: dict[str, Proposal] = {}
    skipped: list[str] = []
    with open_catalog(engine.home) as catalog:
        total = len(catalog)

        def ask(product: Product) -> Proposal:
            return _ask(engine, product, confidence)

        for done, (product, proposal) in enumerate(
            in_order(catalog.iterate(), ask, workers=THREADS), 1
        ):
            if isinstance(proposal, CatalensError):
                skipped.append(f"{product.product_id}: {proposal}")
            else:
                findings, duplicates = audited.get(product.pid, ((), ()))
                sure = proposal.at_least(confidence)
                found[product.product_id] = replace(
                    sure,
                    alt_text=_alt_text(product, sure),
                    findings=tuple(findings),
                    duplicates=tuple(duplicates),
                )
            if progress is not None:
                progress(done, total)
    return Proposals(found, skipped)


def _ask(engine: Engine, product: Product, confidence: float) -> Proposal:
    query = Query(product_id=product.product_id)
    category = None
    probability = 0.0
    attributes: dict[str, ProposedValue] = {}
    try:
        seen = engine.classify(query, top=1).content
        if seen.categories and not seen.unknown:
            category = tuple(seen.categories[0].path)
            probability = seen.categories[0].probability
        sure = [entry for entry in seen.attributes if entry.probability >= confidence]
        attributes = _attributes(product, sure)
    except NoCategoriesError:
        pass
    tags = engine.tags(query).content.tags
    color = next((attributes[name] for name in COLOUR_COLUMNS if name in attributes), None)
    return Proposal(
        product.product_id,
        category,
        probability,
        tuple(ProposedValue(entry.tag, entry.confidence) for entry in tags),
        color,
        attributes,
    )


def _attributes(product: Product, shown: Sequence[AttributePrediction]) -> dict[str, ProposedValue]:
    """The surest value of each attribute; of several of a list those that the product has not,
    joined as lists are in a manifest, as sure as the least of them."""
    found: dict[str, ProposedValue] = {}
    for entry in shown:
        stated = product.attributes.get(entry.name)
        if isinstance(stated, list) and entry.value in map(str, stated):
            continue
        before = found.get(entry.name)
        value = entry.value if before is None else f"{before.value}|{entry.value}"
        found[entry.name] = ProposedValue(value, entry.probability)
    return found


def _alt_text(product: Product, proposal: Proposal) -> dict[str, str]:
    """Alt texts, from what the shop says and, where it does not, what is proposed."""
    category = product.category or proposal.category
    stated = (product.attributes.get(name) for name in COLOUR_COLUMNS)
    colour = next((str(value) for value in stated if value), None)
    if colour is None and proposal.color is not None:
        colour = proposal.color.value
    details = []
    for name in _DETAILS:
        value = product.attributes.get(name)
        if value is None and name in proposal.attributes:
            value = proposal.attributes[name].value.replace("|", ", ")
        if value:
            details.append(str(value))
    kind = category[-1] if category else None
    return alt_texts(title=product.title, kind=kind, color=colour, details=details)


def _audited(
    engine: Engine, options: ExportOptions
) -> dict[int, tuple[tuple[str, ...], tuple[str, ...]]]:
    """pid -> codes of findings and ids of products it repeats, where they are asked for."""
    asked = options.only or frozenset()
    if not {"findings", "duplicates"} & asked:
        return {}
    report = audit(engine)
    findings: dict[int, dict[str, None]] = {}
    for entry in report.entries:
        if entry.kind in ("photo", "prohibited"):
            findings.setdefault(entry.pid, {})[entry.code] = None
    repeats = dict(_repeats(engine)) if "duplicates" in asked else {}
    return {
        pid: (tuple(findings.get(pid, ())), repeats.get(pid, ())) for pid in {*findings, *repeats}
    }


def _repeats(engine: Engine) -> Iterator[tuple[int, tuple[str, ...]]]:
    """pid -> the ids of the other products of its groups of repeats."""
    members: dict[str, dict[str, None]] = {}
    for group in find_groups(engine.home, embedder=open_embedder).groups:
        for product_id in group.products:
            others = [other for other in group.products if other != product_id]
            members.setdefault(product_id, {}).update(dict.fromkeys(others))
    for product_id, pid in engine.catalog.pids(members).items():
        yield pid, tuple(members[product_id])


def undo_file(out: Path) -> Path:
    """Where the old values of an export to ``out`` are written."""
    return out.with_name(f"{out.stem}.undo{out.suffix}")
