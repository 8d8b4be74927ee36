"""Raw path of a request: as it was sent, with one spelling of each character."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes, urlsplit

from service.settings import Settings


def read_path(target: str, settings: Settings) -> str:
    """The path of a request target, so that an encoded slash stays inside its segment.

    Each segment is decoded and encoded again. The prefix of the public address, which a proxy may
    have left, is taken off; with ``decoded_slashes`` the proxy decoded those of ids.
    """
    if not target.startswith("/"):  # absolute form, as proxies send it
        target = urlsplit(target).path or "/"
    path = target.partition("?")[0].partition("#")[0]
    prefix = settings.public_address.prefix
    # Proxies that pass the path on as it is pass the prefix on too.
    if prefix and f"{path}/".startswith(f"{prefix}/"):
        path = path[len(prefix) :] or "/"
    segments = path.encode("latin-1", "replace").split(b"/")
    if settings.decoded_slashes and segments[:3] == [b"", b"v1", b"products"]:
        segments = _joined_id(segments)
    return "/".join(quote(unquote_to_bytes(part), safe=":@!$&'()*+,;=~") for part in segments)


def _joined_id(segments: list[bytes]) -> list[bytes]:
    """``/v1/products/a/b/similar`` with its id, ``a/b``, as one segment again."""
    end = len(segments) - (len(segments) > 4 and segments[-1] == b"similar")
    return [*segments[:3], b"%2F".join(segments[3:end]), *segments[end:]] if end > 3 else segments
