"""Description of one photo or product: its categories, attributes, tags and what is like it."""

from __future__ import annotations

from service.query.classify import classify, shown_attributes
from service.query.context import RequestContext
from service.query.photo_embedder import EmbeddedQuery
from service.query.response import Description, SearchPage, SuggestedTag


def describe(
    ctx: RequestContext, embedded: EmbeddedQuery, page: SearchPage, tags: list[SuggestedTag]
) -> Description:
    """Join what a search found and which ``tags`` are suggested to what the photo shows.

    A model without categories has none and ``unknown`` is None.
    """
    known = bool(ctx.snapshot.bundle.decision.categories)
    found = classify(ctx, embedded) if known else None
    shown = found.attributes if found else shown_attributes(ctx.snapshot, embedded.vectors)
    return Description(
        categories=found.categories if found else [],
        unknown=found.unknown if found else None,
        attributes=shown,
        nearest_kinds=found.nearest_kinds if found else None,
        results=page.results,
        next_cursor=page.next_cursor,
        tags=tags,
        unknown_words=page.unknown_words,
        text_signals=page.text_signals,
        text_cut=page.text_cut,
    )
