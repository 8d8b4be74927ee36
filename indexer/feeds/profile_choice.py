"""Choice of the profile that a feed is read by: asked for, the home's own, one that fits, a
draft."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import yaml

from indexer.core.errors import BadDataError, NoProfileError
from indexer.feeds.columns import EXACT
from indexer.feeds.detection import detect, detect_own
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.own_profiles import CORRECTED, OwnProfiles
from indexer.feeds.price_list import read_by_words
from indexer.feeds.profile import (
    FeedProfile,
    load_profile,
    parse_profile,
    profile_names,
    profile_text,
)
from indexer.feeds.row_values import shortened
from indexer.feeds.suggestion import suggest_profile
from indexer.feeds.table import Table
from indexer.feeds.values import currencies
from indexer.feeds.vendor_categories import read_numbers, with_numbers

_NATIVE = "catalens"
# Of the columns of a feed whose map was corrected, so many must be there the next time.
_SHARE = 0.8


@dataclass(frozen=True)
class ChosenProfile:
    """The profile of a feed and why it is that one. ``corrected``: its YAML as data, where columns
    were corrected, to be kept."""

    profile: FeedProfile
    why: str
    corrected: Mapping[str, Any] | None = None


def choose_profile(table: Table, options: ImportOptions) -> ChosenProfile:
    """The profile that reads ``table``, with what the options say beside it. Raises
    ``BadDataError`` where none fits or two do, a corrected column is not there, the currency is
    none, or the file of categories cannot be read."""
    if options.currency is not None and options.currency.upper() not in currencies.CODES:
        raise BadDataError(
            f"there is no currency {shortened(options.currency)!r}: name it by its code, such as "
            "EUR or USD"
        )
    chosen = _chosen(table, options)
    profile = chosen.profile
    if options.currency is not None:
        price = profile.price.model_copy(update={"default_currency": options.currency.upper()})
        profile = profile.model_copy(update={"price": price})
    if options.taxonomy_file is not None:
        profile = with_numbers(profile, read_numbers(options.taxonomy_file))
    return replace(chosen, profile=profile)


def _chosen(table: Table, options: ImportOptions) -> ChosenProfile:
    own = OwnProfiles(options.profiles)
    data: dict[str, Any] | None = None
    if options.profile != "auto":
        why = "it was asked for (--profile)"
        if options.profile in own.names():
            profile = own.load(options.profile)
        else:
            profile = load_profile(options.profile)
    elif options.join is not None:
        profile, why = _joining(table, own, options.join)
    else:
        try:
            profile, why = _detected(table, own)
        except NoProfileError:
            if not options.draft:
                raise
            data = dict(suggest_profile(table).profile)
            profile = parse_profile(_yaml(data), table.name)
            why = "no profile fits: drafted from the names and values of its columns"
    if options.corrections is None:
        return ChosenProfile(profile, why)
    return _corrected(table, options, own, ChosenProfile(profile, why, data))


def _detected(table: Table, own: OwnProfiles) -> tuple[FeedProfile, str]:
    """The home's own profile where one fits, else one that comes with Catalens."""
    profile = detect_own(table, own.all())
    if profile is not None:
        return profile, "its columns were corrected and saved in this home before"
    found = detect(table)
    return found.profile, found.why


def _joining(table: Table, own: OwnProfiles, column: str) -> tuple[FeedProfile, str]:
    """The profile whose columns a feed has that is joined by ``column``; it need not look like a
    shop's export."""
    with suppress(BadDataError):
        profile, why = _detected(table, own)
        if not profile.fallback:
            return profile, why
    profile = read_by_words(load_profile(_NATIVE), table.columns)
    return profile, f"its columns are read by name, joined by {column!r}"


def _corrected(
    table: Table, options: ImportOptions, own: OwnProfiles, chosen: ChosenProfile
) -> ChosenProfile:
    """The profile with the columns that were corrected; ``chosen.corrected``: data of a draft."""
    corrections = dict(options.corrections or {})
    missing = [column for column in corrections if column not in table.columns]
    if missing:
        raise BadDataError(
            f"map: {table.name} has no column {shortened(missing[0])!r}; columns found: "
            f"{', '.join(repr(shortened(column)) for column in table.columns[:30])}"
        )
    drafted = chosen.corrected is not None
    if not corrections and not drafted:
        return chosen
    if chosen.corrected is not None:
        data = dict(chosen.corrected)
        name = ""
    elif chosen.profile.name in own.names():
        # One that somebody wrote stays as it is.
        name = chosen.profile.name if own.is_corrected(chosen.profile.name) else ""
        data = own.data(chosen.profile.name)
    elif chosen.profile.name in profile_names():
        name = ""
        data = {"base": chosen.profile.name}
    else:
        name = ""
        data = dict(yaml.safe_load(profile_text(options.profile)))
    if options.save_as is not None:
        _check_save_as(own, options.save_as, name)
        name = options.save_as
    data["name"] = name or own.free_name(table.name)
    data["label"] = f"Columns of {table.name}, {CORRECTED}"
    data["columns"] = {**data.get("columns", {}), **corrections}
    data["recognise"] = [_signature(table, data["columns"])]
    data.pop("fallback", None)
    profile = parse_profile(_yaml(data), table.name)
    return ChosenProfile(profile, chosen.why, data)


def _check_save_as(own: OwnProfiles, name: str, read_by: str) -> None:
    """Raise ``BadDataError`` for a name that is none, or is taken. ``read_by``: the profile made of
    a corrected map that the feed was read by, which may be changed."""
    own.check_name(name)
    if name == read_by or name not in own.names():
        return
    what = "was made of the columns of another feed"
    change = f", or have the feed read by it to change it (profile {name})"
    if not own.is_corrected(name):
        what, change = "was written by hand", ""
    raise BadDataError(
        f"save_as: profile {name!r} is there already and {what}: choose another name{change}"
    )


def _signature(table: Table, corrected: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the same feed the next time: the corrected columns, and most of the others."""
    columns = [EXACT + column for column in table.columns if column.strip()]
    wanted = [EXACT + column for column in corrected if column in table.columns]
    return {"all": wanted, "some": columns, "least": math.ceil(_SHARE * len(columns))}


def _yaml(data: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(data), allow_unicode=True, sort_keys=False)
