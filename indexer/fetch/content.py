"""Content of an answer, judged by its bytes: a photo, or what else it is."""

from __future__ import annotations

from indexer.core.errors import BadImageError, UrlFailedError
from indexer.imaging.file_format import sniff_format

# What must be read of an answer before it is judged.
JUDGED_BYTES = 512

_TEXTS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"<svg",), "a drawing (SVG), not a photo: export it as PNG or JPEG"),
    ((b"<!doctype html", b"<html", b"<head", b"<body"), "a web page (HTML), not a photo"),
    ((b"<?xml", b"<error"), "an XML document, not a photo"),
    ((b"{", b"["), "a JSON document, not a photo"),
)


def judge_content(head: bytes) -> None:
    """Check the first bytes of an answer, whatever its URL and ``Content-Type`` say.

    Raises ``UrlFailedError`` that names what it is instead of a photo.
    """
    if not head.strip():
        raise UrlFailedError("the server answered without content")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<"):
        for marks, what in _TEXTS:
            if any(mark in text for mark in marks):
                raise UrlFailedError(f"the server answered with {what}")
        raise UrlFailedError("the server answered with a text, not a photo")
    try:
        sniff_format(head)
    except BadImageError as error:
        for marks, what in _TEXTS:
            if text.startswith(marks):
                raise UrlFailedError(f"the server answered with {what}") from error
        raise UrlFailedError(f"the answer is no photo: {error}") from error
