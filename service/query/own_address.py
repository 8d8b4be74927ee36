"""Addresses of the service itself in its answers, told from texts that clients gave."""

from __future__ import annotations


class OwnAddress(str):
    """An address of the service itself, without the prefix of a proxy: the application puts it
    before. A text that a client gave is never one, whatever it looks like."""

    __slots__ = ()


def image_url(content_hash: str) -> str:
    """Where the service shows a photo."""
    return OwnAddress(f"/v1/images/{content_hash}?w=320")
