"""Which attribute names a colour: the one that photos' colours alone tell better than all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexer.catalog.attributes import COLOUR_COLUMNS, MAX_VALUES
from indexer.core.errors import BadRequestError
from indexer.feeds.dataset import AttributeType, DatasetRow
from indexer.imaging.lab_color import NEWEST
from indexer.training.options import AUTO, NO_COLOUR
from indexer.training.sampling import sample_indices
from indexer.training.targets import Target

# photos that judge, at most; and at least, below which the name decides
_MOST_PHOTOS = 2000
_LEAST_PHOTOS = 60
_FOLDS = 5
# types of attributes that can name a colour
_KINDS = ("string", "bool", "list")
# of the number of photos, on the diagonal of the ridge regression
_RIDGE = 0.1
# standard errors of the paired difference by which colours read a colour better
_SURE = 2.0
# what colours must tell more often than the commonest value is right
_GAIN = 0.05


@dataclass(frozen=True)
class _Reading:
    """How well one attribute is told, by photos held out of a ridge regression."""

    target: Target
    photos: int
    commonest: float  # share of the photos with the commonest value
    by_colours: float  # accuracy from the colour statistics alone
    by_network: float  # accuracy from the frozen features alone
    surplus: float  # of the former over the latter, in standard errors of the paired difference

    @property
    def is_colour(self) -> bool:
        return (
            self.photos >= _LEAST_PHOTOS
            and self.surplus >= _SURE
            and self.by_colours >= self.commonest + _GAIN
        )

    def __str__(self) -> str:
        return (
            f"{self.target.name!r}: colours alone tell {self.by_colours:.3f} of it, the network "
            f"{self.by_network:.3f}, {self.photos} photos"
        )


def mark_colour(
    targets: Sequence[Target],
    rows: Sequence[DatasetRow],
    features: np.ndarray,
    feature_dim: int,
    use: np.ndarray,
    types: Mapping[str, AttributeType],
    *,
    named: str = AUTO,
) -> tuple[list[Target], list[str]]:
    """Mark the target that names a colour; also what there is to say about it.

    Each attribute is told by ridge regression from the colour statistics alone and from the
    network's features alone (``features`` [N, F + K], F = ``feature_dim``), five-fold over the
    photos ``use`` (bool [N]), a product's together. A colour is told clearly better by the former;
    of several the one with a colour's name, else the one told so most surely. Too few photos tell
    nothing, and a colour's name decides. A list, of which the first value counts, becomes a target
    where it is the colour. ``named``: the attribute that
    is one, or none. Raises ``BadRequestError`` for one that the data has not.
    """
    if named not in (AUTO, NO_COLOUR) and named not in types:
        raise BadRequestError(
            f"--colour-attribute {named!r}: the data has no such attribute; it has: "
            + (", ".join(sorted(types)) or "none")
        )
    if named == NO_COLOUR:
        return list(targets), []
    listed = [
        target
        for name in types
        if types[name] == "list"
        if (target := _first_values(name, rows, use))
    ]
    if named != AUTO:
        return _marked(named, targets, listed)
    readings = _readings([*targets, *listed], rows, features, feature_dim, use)
    claimed = [reading for reading in readings if reading.is_colour]
    notes = [
        f"attribute {reading} - not taken for a colour; --colour-attribute says that it is one"
        for reading in readings
        if reading.target.name in COLOUR_COLUMNS and not reading.is_colour
    ]
    if not claimed:
        few = _by_name([*targets, *listed], use)
        if few is None:
            return list(targets), notes
        found, _ = _marked(few, targets, listed)
        return found, [
            f"colour is attribute {few!r}, by its name: fewer than {_LEAST_PHOTOS} photos cannot "
            "tell; --colour-attribute names another, or none"
        ]
    chosen = max(claimed, key=lambda one: (one.target.name in COLOUR_COLUMNS, one.surplus))
    found, _ = _marked(chosen.target.name, targets, listed)
    return found, [f"colour is attribute {chosen}; --colour-attribute names another", *notes]


def colour_statistics_for(types: Mapping[str, AttributeType]) -> int:
    """The version of the colour statistics that photos of this data need: the newest where an
    attribute can name a colour, else the first, of which features are cached already."""
    return NEWEST if any(kind in _KINDS for kind in types.values()) else 1


def _by_name(targets: Sequence[Target], use: np.ndarray) -> str | None:
    """The attribute with a colour's name of which too few photos are there to tell."""
    return next(
        (
            target.name
            for target in targets
            if target.name in COLOUR_COLUMNS
            and np.count_nonzero(target.labels[use] >= 0) < _LEAST_PHOTOS
        ),
        None,
    )


def _marked(
    name: str, targets: Sequence[Target], listed: Sequence[Target]
) -> tuple[list[Target], list[str]]:
    """The targets with that of ``name`` as the colour; unchanged and said where it is none."""
    found = [*targets, *(target for target in listed if target.name == name)]
    if name not in [target.name for target in found]:
        return list(targets), [f"attribute {name!r} has no head, so there is no block for colours"]
    return [replace(target, colour=target.name == name) for target in found], []


def first_value(value: object) -> str | None:
    """The value of an attribute as a head tells it: of a list the first one.

    >>> first_value(["red", "white"]), first_value("red"), first_value(None), first_value([])
    ('red', 'red', None, None)
    """
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else str(value)


def _first_values(name: str, rows: Sequence[DatasetRow], use: np.ndarray) -> Target | None:
    """A list as a target; None where it has one value only, or a great many."""
    texts = [first_value(row.attributes.get(name)) for row in rows]
    used = {text for text, used in zip(texts, use, strict=True) if used and text is not None}
    if not 2 <= len(used) <= MAX_VALUES:
        return None
    values = tuple(sorted(used))
    number_of = {value: number for number, value in enumerate(values)}
    labels = [-1 if text is None else number_of.get(text, -1) for text in texts]
    return Target(name, values, np.array(labels, np.int64))


def _readings(
    targets: Sequence[Target],
    rows: Sequence[DatasetRow],
    features: np.ndarray,
    feature_dim: int,
    use: np.ndarray,
) -> list[_Reading]:
    """Tell every target both ways, all at once: the regressions share their inputs."""
    chosen = sample_indices(use, _MOST_PHOTOS)
    if not targets or len(chosen) < 2 * _FOLDS:
        return []
    products = np.unique([rows[place].product_id for place in chosen], return_inverse=True)[1]
    fold = np.random.default_rng(0).permutation(products.max() + 1)[products] % _FOLDS
    labels = [target.labels[chosen] for target in targets]
    inputs = features[chosen].astype(np.float32)
    by_colours = _held_out(inputs[:, feature_dim:], labels, fold)
    by_network = _held_out(inputs[:, :feature_dim], labels, fold)
    found = []
    for target, own, colours, network in zip(targets, labels, by_colours, by_network, strict=True):
        known = own >= 0
        if not known.any():
            continue
        ours = (colours == own)[known].astype(float)
        theirs = (network == own)[known].astype(float)
        error = (ours - theirs).std() / len(ours) ** 0.5
        found.append(
            _Reading(
                target,
                len(ours),
                float(np.bincount(own[known]).max() / len(ours)),
                float(ours.mean()),
                float(theirs.mean()),
                float((ours - theirs).mean() / max(error, 1e-6)),
            )
        )
    return found


def _held_out(
    inputs: np.ndarray, labels: Sequence[np.ndarray], fold: np.ndarray
) -> list[np.ndarray]:
    """Predict the class of every photo from the others, int [n] for each list of labels [n]."""
    hots = [
        np.eye(int(own.max()) + 1, dtype=np.float32)[own] * (own >= 0)[:, None] for own in labels
    ]
    hot = np.concatenate(hots, axis=1)
    scores = np.zeros_like(hot)
    for number in range(_FOLDS):
        taught, held = fold != number, fold == number
        if not taught.any() or not held.any():
            continue
        centre = inputs[taught].mean(0)
        spread = np.maximum(inputs[taught].std(0), 1e-3)
        rows = (inputs[taught] - centre) / spread
        usual = hot[taught].mean(0)
        scatter = rows.T @ rows
        scatter[np.diag_indices_from(scatter)] += _RIDGE * len(rows)
        weights = np.linalg.solve(scatter, rows.T @ (hot[taught] - usual))
        scores[held] = ((inputs[held] - centre) / spread) @ weights + usual
    bounds = np.cumsum([own.shape[1] for own in hots])[:-1]
    return [part.argmax(1) for part in np.split(scores, bounds, axis=1)]
