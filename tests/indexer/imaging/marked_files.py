"""Files that say how they were made: XMP, IPTC and C2PA in the places that each format has."""

from __future__ import annotations

import io
import struct

import pillow_heif
from PIL import Image, PngImagePlugin

from tests.indexer.imaging.hostile_files import chunk, jpeg_with

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def xmp(value: str, *, form: str = "attribute") -> bytes:
    """A packet whose digital source type is ``value``."""
    name = "Iptc4xmpExt:DigitalSourceType"
    inner = {
        "attribute": f'<rdf:Description rdf:about="" {name}="{value}"/>',
        "element": f"<rdf:Description><{name}>{value}</{name}></rdf:Description>",
        "resource": f'<rdf:Description><{name} rdf:resource="{value}"/></rdf:Description>',
        "caption": f"<rdf:Description><dc:title>{value}</dc:title></rdf:Description>",
    }[form]
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF>{inner}</rdf:RDF></x:xmpmeta>".encode()


def box(kind: bytes, body: bytes) -> bytes:
    """A box with its length."""
    return struct.pack(">I", 8 + len(body)) + kind + body


def superbox(label: str, *parts: bytes) -> bytes:
    """A JUMBF superbox with a label."""
    description = bytes(16) + b"\3" + label.encode() + b"\0"
    return box(b"jumb", box(b"jumd", description) + b"".join(parts))


def text(value: str) -> bytes:
    """A text in CBOR."""
    return b"\x78" + bytes([len(value)]) + value.encode()


def manifest(label: str, source: str | None, *, action: str = "c2pa.created") -> bytes:
    """A manifest whose one action has this source."""
    pairs = b"\x66action" + text(action)
    if source:
        pairs += b"\x71digitalSourceType" + text(TERMS + source)
    actions = b"\xa1\x67actions\x81" + (b"\xa2" if source else b"\xa1") + pairs
    content = box(b"cbor", actions)
    assertions = superbox("c2pa.assertions", superbox("c2pa.actions.v2", content))
    claim = superbox("c2pa.claim.v2", box(b"cbor", b"\xa0"))
    return superbox(label, assertions, claim, superbox("c2pa.signature", box(b"cbor", b"\x40")))


def store(*manifests: bytes) -> bytes:
    """A C2PA manifest store."""
    return superbox("c2pa", *manifests)


def saved(name: str, **options: object) -> bytes:
    """A photo of 16 x 16 px."""
    out = io.BytesIO()
    if name == "HEIC":
        pillow_heif.from_pillow(Image.new("RGB", (64, 64))).save(out, **options)
    else:
        Image.new("RGB", (16, 16)).save(out, name, **options)
    return out.getvalue()


def with_xmp(name: str, packet: bytes) -> bytes:
    """A photo with a packet of XMP."""
    if name == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
        return saved(name, pnginfo=info)
    if name == "TIFF":
        return saved(name, tiffinfo={700: packet})
    return saved(name, xmp=packet)


def with_c2pa(name: str, manifests: bytes) -> bytes:
    """A photo with a manifest store; a JPEG has it in segments of 200 bytes."""
    data = saved(name)
    if name == "JPEG":
        header, rest = manifests[:8], manifests[8:]
        parts = [rest[at : at + 200] for at in range(0, len(rest), 200)]
        for number, part in reversed(list(enumerate(parts, 1))):
            body = b"JP" + b"\0\1" + struct.pack(">I", number) + header + part
            head = struct.pack(">BBH", 0xFF, 0xEB, len(body) + 2)
            data = data[:2] + head + body + data[2:]
        return data
    if name == "PNG":
        return data[:33] + chunk(b"caBX", manifests) + data[33:]
    if name == "WEBP":
        padded = manifests + b"\0" * (len(manifests) % 2)
        data += b"C2PA" + struct.pack("<I", len(manifests)) + padded
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    if name == "TIFF":
        return saved(name, tiffinfo=_tiff_tag(manifests))
    if name == "GIF":
        parts = [manifests[at : at + 255] for at in range(0, len(manifests), 255)]
        body = b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
        at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
        return data[:at] + b"!\xff\x0bC2PA_GIF\1\0\0" + body + data[at:]
    return data + box(b"uuid", _UUID + bytes(4) + b"manifest\0" + bytes(8) + manifests)


def _tiff_tag(manifests: bytes) -> object:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    tags[52545] = manifests
    tags.tagtype[52545] = 7
    return tags


def with_iptc(source: str) -> bytes:
    """A JPEG with the source's address among IPTC's keywords."""
    keyword = (TERMS + source).encode()
    record = b"\x1c\x02\x19" + struct.pack(">H", len(keyword)) + keyword
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    return jpeg_with(b"Photoshop 3.0\0" + resource, 0xED)
