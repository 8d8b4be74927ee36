"""Duplicate check: products that a listing's photo repeats."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, cast

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.duplicates.detect import NEAREST, Repeat, find_repeats, nearest
from indexer.duplicates.print_difference import PrintComparison
from indexer.duplicates.print_limit import PRINTS_DIFFER
from indexer.duplicates.product_threshold import load_rule
from indexer.duplicates.signature_follower import SignatureFollower
from indexer.imaging.decode import Photo
from service.query.context import RequestContext
from service.query.groups import GroupReader
from service.query.own_address import image_url
from service.review.result import DuplicateProduct, RepeatedProducts


class DuplicateCheck:
    """Finds the products that a photo repeats.

    The signatures of the whole catalog are read, and made where they are missing, beside the
    answers: ``follow_some`` does the next portion, from the first review on. Until they are there
    only identical photos and near embeddings are found, and ``is_complete`` says so.
    """

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        photos: PhotoStore,
        groups: GroupReader,
        *,
        print_limit: float = PRINTS_DIFFER,
        followed: bool = False,
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._groups = groups
        self._prints = PrintComparison(catalog, photos, print_limit)
        self._signatures = SignatureFollower(home, catalog, photos)
        self._followed = followed
        self._is_wanted = False
        self._is_prepared = False

    def close(self) -> None:
        self._signatures.close()

    def follow_some(self) -> bool:
        """Bring the signatures nearer to the catalog, some tenths of a second's work; whether
        nothing is left."""
        return not self._is_wanted or self._signatures.follow_some()

    def is_complete(self) -> bool:
        """Whether the signatures of all that was written are there; a few that are missing are made
        now."""
        self._is_wanted = True
        if self._is_prepared and not self._followed:
            self.read()
        return self._signatures.catch_up()

    def find(
        self,
        ctx: RequestContext,
        photo: Photo,
        vector: np.ndarray,
        *,
        exclude: AbstractSet[int],
    ) -> RepeatedProducts:
        """The products repeated, the surest kind first, one of each parent's variants.

        ``exclude``: pids that do not count, and neither do their variants.
        """
        snapshot = ctx.snapshot
        fields = self._groups.fields(snapshot)
        exclude = self._groups.relatives(fields, exclude)
        hits = ctx.searches.search(snapshot.live, vector, NEAREST, exclude, None)
        close = nearest(snapshot.live, vector[np.newaxis], snapshot.bundle.spec, hits=hits)
        rule = load_rule(self._home, snapshot.bundle.embedding_id)
        found = find_repeats(
            self._catalog,
            self._signatures.index,
            self._signatures.store,
            photo,
            neighbours=close,
            rule=rule,
            exclude=set(exclude),
            prints=self._prints,
        )
        known = self._catalog.pids(repeat.product_id for repeat in found)
        pids = [known.get(repeat.product_id, 0) for repeat in found]
        shown = [found[at] for at in self._groups.one_each(fields, pids)]
        return RepeatedProducts(
            [_duplicate(repeat) for repeat in shown if repeat.is_claimed],
            [_duplicate(repeat) for repeat in shown if not repeat.is_claimed],
        )

    def read(self) -> None:
        """Read and make all signatures now, in this thread."""
        while not self._signatures.follow_some():
            pass
        self._is_prepared = True


def _duplicate(repeat: Repeat) -> DuplicateProduct:
    return DuplicateProduct(
        repeat.product_id,
        cast(Any, repeat.kind),
        repeat.score,
        repeat.photo,
        image_url(repeat.photo),
        repeat.evidence,
    )
