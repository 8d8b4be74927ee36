"""Colour profiles of strangers (ICC.1), so far as Little CMS reads them at a bounded cost."""

from __future__ import annotations

# Bytes of a profile; those of printers have some three million.
_MOST_BYTES = 8 * 2**20
# ICC.1:2022, section 7: the head, and of each tag its signature, offset and length.
_HEAD = 128
_TAG = 12
# as Little CMS has it
_MOST_TAGS = 100
# Elements of any number, which may all be the same bytes, one after another for each colour: a
# profile of a few kilobytes takes minutes. Every profile that has them has tables or a matrix too.
_ENDLESS = b"mpet"
_HIDDEN = b"\0\0\0\0"


def bounded_profile(profile: object) -> bytes | None:
    """A profile without the tags whose cost has no bound; None of what is none.

    A tag is hidden by its name, so everything else stays where it is.
    """
    if not isinstance(profile, bytes) or not _HEAD <= len(profile) <= _MOST_BYTES:
        return None
    count = int.from_bytes(profile[_HEAD : _HEAD + 4], "big")
    if count > _MOST_TAGS:
        return None
    found = bytearray(profile)
    for number in range(count):
        at = _HEAD + 4 + number * _TAG
        start = int.from_bytes(profile[at + 4 : at + 8], "big")
        if profile[start : start + 4] == _ENDLESS:
            found[at : at + 4] = _HIDDEN
    return bytes(found)
