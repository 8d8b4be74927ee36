"""Size to ask a photo server for, written into its URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit


@dataclass(frozen=True)
class SizeRule:
    """How the URLs of one kind of photo server name a width.

    ``hosts`` is a pattern of the whole host, ``path`` one that its path must hold. ``query`` are
    parameters to set, ``drop`` those to take out; in ``insert`` (after the first ``path``) and in
    ``query`` the text "{width}" stands for px. ``strip`` is cut from the path, so that all sizes of
    a photo are one URL. URLs that hold ``signed`` are left alone: any change makes them invalid.
    """

    hosts: str
    path: str = ""
    query: Mapping[str, str] | None = None
    drop: tuple[str, ...] = ()
    insert: str = ""
    strip: str = ""
    signed: str = ""


SIZE_RULES: Mapping[str, SizeRule] = {
    # shirt_400x.jpg, shirt_x400.jpg, shirt_100x100_crop_center@2x.jpg, shirt_large.jpg
    "shopify": SizeRule(
        hosts=r"cdn\.shopify\.com|[^/]+\.myshopify\.com",
        query={"width": "{width}"},
        drop=("height", "crop"),
        strip=r"_(?:\d{1,4}x\d{0,4}|x\d{1,4}|pico|icon|thumb|small|compact|medium|large|grande"
        r"|original|master)(?:_crop_[a-z]+)?(?:@\dx)?(?:\.progressive)?(?=\.[a-z]{3,4}$)",
    ),
    # A shop's own domain serves Shopify's photos below this path.
    "shopify-domain": SizeRule(
        hosts=r".*", path=r"^/cdn/shop/", query={"width": "{width}"}, drop=("height", "crop")
    ),
    "cloudinary": SizeRule(
        hosts=r"res(?:-\d)?\.cloudinary\.com|.*-res\.cloudinary\.com",
        path=r"/image/(?:upload|fetch|private)/",
        insert="c_limit,w_{width}/",
        # What a size transformation in its own part looks like.
        strip=r"(?<=/)(?:(?:c_[a-z]+|w_[0-9]+|h_[0-9]+|g_[a-z_:]+|ar_[0-9.:]+),?)+/",
        signed=r"/s--[^/]+--/",
    ),
    "imgix": SizeRule(
        hosts=r".*\.imgix\.net",
        query={"w": "{width}", "fit": "max"},
        drop=("h", "ar", "crop", "dpr"),
        signed=r"[?&]s=[0-9a-f]{32}\b",
    ),
}


def sized(url: str, pixels: int, rule: SizeRule | str | None = None) -> str:
    """``url`` asking for a photo at most ``pixels`` wide; as it is where no rule fits.

    ``rule`` is a rule or the name of one of ``SIZE_RULES``; without it, the first that the host
    fits. Raises ``KeyError`` for another name.
    """
    rules = SIZE_RULES.values() if rule is None else (_named(rule),)
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").lower()
    except ValueError:
        # The address check says what is wrong with it.
        return url
    for one in rules:
        # A rule that is named holds for a shop's own host too.
        fits = rule is not None or re.fullmatch(one.hosts, host)
        if fits and re.search(one.path, parts.path):
            if one.signed and re.search(one.signed, url):
                return url
            path, query = _path(parts.path, one, pixels), _query(parts.query, one, pixels)
            return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
    return url


def _named(rule: SizeRule | str) -> SizeRule:
    return SIZE_RULES[rule] if isinstance(rule, str) else rule


def _path(path: str, rule: SizeRule, pixels: int) -> str:
    if rule.strip:
        path = re.sub(rule.strip, "", path, flags=re.IGNORECASE)
    if rule.insert:
        found = re.search(rule.path, path)
        if found is not None:
            path = path[: found.end()] + _filled(rule.insert, pixels) + path[found.end() :]
    return path


def _query(query: str, rule: SizeRule, pixels: int) -> str:
    """The query with the rule's parameters; the others stay as they are written."""
    wanted = rule.query or {}
    parts = [
        part
        for part in query.split("&")
        if part and unquote(part.partition("=")[0]) not in (*wanted, *rule.drop)
    ]
    parts += [f"{name}={quote(_filled(text, pixels))}" for name, text in wanted.items()]
    return "&".join(parts)


def _filled(text: str, pixels: int) -> str:
    return text.replace("{width}", str(pixels))
