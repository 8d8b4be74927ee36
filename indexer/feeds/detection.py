"""Detection of a feed's profile by its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.core.errors import BadDataError, NoProfileError
from indexer.feeds.column_words import ColumnMeaning, meaning_of
from indexer.feeds.columns import ColumnIndex
from indexer.feeds.own_profiles import CORRECTED
from indexer.feeds.profile import FeedProfile, Signature, shipped_profiles
from indexer.feeds.row_plan import RowPlan
from indexer.feeds.row_values import Notes, shortened
from indexer.feeds.table import Table

# By so much more of a feed's columns must one profile know than another that fits, too.
_CLEARLY = 0.25
_SHOWN = 8
# The profile of what `catalens export` writes, which has a column of its own for that.
_EXPORT = "catalens-export"


@dataclass(frozen=True)
class Detection:
    """The profile that a feed fits, why, and which others it fits less."""

    profile: FeedProfile
    why: str
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True)
class _ProfileFit:
    """How far a feed fits one signature of a profile."""

    profile: FeedProfile
    found: tuple[str, ...]
    # What it lacks, in words; None where it fits.
    lacks: str | None
    # Whether it fits but for columns of other profiles.
    complete: bool
    # Share of the feed's columns that the profile knows.
    share: float


def detect(table: Table, profiles: Sequence[FeedProfile] | None = None) -> Detection:
    """The profile of a feed, of those that come with Catalens or of ``profiles``.

    Raises ``NoProfileError`` where none fits, ``BadDataError`` where two do; it names what to do.
    """
    header = ColumnIndex(table.columns)
    best = [_best_fit(profile, header) for profile in profiles or shipped_profiles()]
    best.sort(key=lambda fit: (fit.lacks is not None, -fit.share, -len(fit.found)))
    fits = [fit for fit in best if fit.lacks is None]
    # A profile with all its columns is a rival even where a column of another one is there, too.
    rivals = [fit for fit in best if fit.complete and not fit.profile.fallback]
    # What an export wrote names itself; attributes of a shop's feed make it none of that shop's.
    if any(fit.profile.name == _EXPORT for fit in fits):
        fits = rivals = [fit for fit in fits if fit.profile.name == _EXPORT]
    if len(rivals) > 1 and rivals[0].share - rivals[1].share < _CLEARLY:
        raise BadDataError(_two_fit(table, rivals[0], rivals[1]))
    if not fits:
        raise NoProfileError(_no_fit(table, header, best))
    first = next((fit for fit in fits if not fit.profile.fallback), fits[0])
    if first.profile.fallback:
        _refuse_other_words(table, header, first.profile)
    others = tuple(fit.profile.name for fit in fits if fit is not first)
    return Detection(first.profile, _why(first, header), others)


def _refuse_other_words(table: Table, header: ColumnIndex, profile: FeedProfile) -> None:
    """Raise ``NoProfileError`` for a feed that has id and title in columns of other names: its
    products would be called as their photos are, and have no title."""
    if header.has(profile.id) or header.has(profile.title):
        return
    exact: dict[ColumnMeaning, str] = {}
    for column in header.columns:
        found = meaning_of(column)
        if found is not None and found[1]:
            exact.setdefault(found[0], column)
    own = exact.get("id") or exact.get("sku")
    title = exact.get("title")
    if own is None or title is None:
        return
    raise NoProfileError(
        f"{table.name} has a column 'image', but id and title seem to stand in {own!r} and "
        f"{title!r}: products would be called as their photos are, and have no title. Let "
        "'catalens profile suggest' draft a profile, or take it as it is with --profile "
        f"{profile.name}"
    )


def detect_own(table: Table, profiles: Sequence[FeedProfile]) -> FeedProfile | None:
    """The one of a home's own profiles that fits best; None where none does."""
    header = ColumnIndex(table.columns)
    fits = [_best_fit(profile, header) for profile in profiles if profile.recognise]
    fits = [fit for fit in fits if fit.lacks is None]
    if not fits:
        return None
    # Of two that fit as well, what was corrected last counts.
    best = max(fits, key=lambda fit: (len(fit.found), fit.profile.label.endswith(CORRECTED)))
    return best.profile


def _best_fit(profile: FeedProfile, header: ColumnIndex) -> _ProfileFit:
    header = ColumnIndex(header.columns, profile.aliases, profile.columns)
    share = _known_share(profile, header)
    fits = [_fit(profile, signature, header, share) for signature in profile.recognise]
    if not fits:
        return _ProfileFit(profile, (), "it is recognised by its name only", False, share)
    return max(fits, key=lambda fit: (fit.lacks is None, fit.complete, len(fit.found)))


def _fit(
    profile: FeedProfile, signature: Signature, header: ColumnIndex, share: float
) -> _ProfileFit:
    found: list[str] = []
    missing: list[str] = []
    for names in signature.all:
        columns = header.all(names)
        if columns:
            found.append(columns[0].column)
        else:
            missing.append(" or ".join(map(repr, names)))
    some = [columns[0].column for name in signature.some if (columns := header.match(name))]
    found += [column for column in some if column not in found]
    foreign = [column.column for column in header.all(signature.none)]
    wrong = [column.column for column in header.all(signature.without)]
    lacks = None
    if missing:
        lacks = f"there is no column {', '.join(missing[:3])}"
    elif wrong:
        lacks = f"there is a column {wrong[0]!r}, which its feeds have not"
    elif len(some) < signature.least:
        lacks = f"only {len(some)} of the {signature.least} further columns that it needs are there"
    elif share < signature.share:
        lacks = f"it knows only {share:.0%} of the columns"
    complete = lacks is None
    if complete and foreign:
        lacks = f"there is a column {foreign[0]!r}, which its feeds have not"
    return _ProfileFit(profile, tuple(found), lacks, complete, share)


def _known_share(profile: FeedProfile, header: ColumnIndex) -> float:
    if not header.columns:
        return 0
    plan = RowPlan(profile, header.columns, Notes([], []))
    return len(plan.named) / len(header.columns)


def _why(fit: _ProfileFit, header: ColumnIndex) -> str:
    shown = ", ".join(fit.found[:_SHOWN]) + (", ..." if len(fit.found) > _SHOWN else "")
    known = round(fit.share * len(header.columns))
    return f"it has the columns {shown}; {known} of its {len(header.columns)} columns are known"


def _columns(header: ColumnIndex) -> str:
    names = [repr(shortened(column)) for column in header.columns[:20]]
    more = f" and {len(header.columns) - 20} more" if len(header.columns) > 20 else ""
    return (", ".join(names) or "none") + more


def _no_fit(table: Table, header: ColumnIndex, best: list[_ProfileFit]) -> str:
    near = [fit for fit in best if len(fit.found) > 1]
    near.sort(key=lambda fit: -len(fit.found))
    nearest = "; ".join(f"{fit.profile.name}: {fit.lacks}" for fit in near[:3])
    hint = ""
    if len(header.columns) == 1 and table.text:
        hint = " (is it separated by something else? name it with --delimiter)"
    return (
        f"{table.name} fits no profile: it has no column 'image', and not the columns of a known "
        f"export{f' ({nearest})' if nearest else ''}; columns found: {_columns(header)}{hint}. "
        "Name a profile with --profile, or let 'catalens profile suggest' draft one"
    )


def _two_fit(table: Table, first: _ProfileFit, second: _ProfileFit) -> str:
    names = (first.profile.name, second.profile.name)
    return (
        f"{table.name} fits two profiles: {names[0]} ({', '.join(first.found[:5])}) and {names[1]} "
        f"({', '.join(second.found[:5])}). Name the one that is meant with --profile {names[0]} or "
        f"--profile {names[1]}, or let 'catalens profile suggest' draft one of your own"
    )
