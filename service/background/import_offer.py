"""Offer of imports: from where this service takes feeds, and how their columns can be read."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.core.home import Home
from indexer.feeds.column_roles import ROLES, ColumnRole
from indexer.feeds.own_profiles import OwnProfiles
from indexer.feeds.profile import shipped_profiles
from service.inference.deadline import Deadline


@dataclass(frozen=True)
class ProfileName:
    """A profile of feeds. ``own``: made in this home by correcting a map."""

    name: str
    label: str
    own: bool


@dataclass(frozen=True)
class ImportOffer:
    """``folders``: whether imports may read below ``import_root``; ``addresses``: whether feeds and
    photos may be fetched (``allow_urls``); ``max_body_bytes``: of a file that is sent;
    ``meanings``: what columns can be corrected to."""

    folders: bool
    addresses: bool
    max_body_bytes: int
    profiles: list[ProfileName]
    meanings: list[ColumnRole]


def offer_imports(
    home: Home, deadline: Deadline, *, folders: bool, addresses: bool, max_body_bytes: int
) -> ImportOffer:
    """What ``GET /v1/imports`` says. Raises ``DeadlineExceededError``."""
    shipped = [ProfileName(one.name, one.label, own=False) for one in shipped_profiles()]
    own = []
    for one in OwnProfiles(home.profiles).iterate():
        deadline.check()
        own.append(ProfileName(one.name, one.label, own=True))
    # Of none too: the first is read before it is asked.
    deadline.check()
    return ImportOffer(folders, addresses, max_body_bytes, [*shipped, *own], list(ROLES))
