"""Marks of AI-made photos: what their files say by IPTC's digital source type and by C2PA."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from indexer.core.errors import BadImageError
from indexer.imaging.metadata_blocks import BlockKind, metadata_blocks

# IPTC NewsCodes, digital source type: made by a trained model, or with parts that were.
DigitalSource = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
Standard = Literal["iptc", "c2pa"]

_TRAINED: DigitalSource = "trainedAlgorithmicMedia"
_COMPOSITE: DigitalSource = "compositeWithTrainedAlgorithmicMedia"
# The property that holds it, where it is no part of an address.
_PROPERTY = re.compile(rb"digitalsource(?:file)?type(?!/)", re.IGNORECASE)
# Its value: behind "=", ">" or a length in CBOR.
_VALUE = re.compile(
    rb"[^<]{0,300}?(?:digitalsourcetype/|[\s\"'>])(compositewithtrained|trained)algorithmicmedia"
    rb"|[^<]{0,8}?(compositewithtrained|trained)algorithmicmedia",
    re.IGNORECASE,
)
# IPTC's older records have no such property, but some tools write its address among the keywords.
_ADDRESS = re.compile(
    rb"newscodes/digitalsourcetype/(compositewithtrained|trained)algorithmicmedia", re.IGNORECASE
)
# Bytes of all blocks of a file: they may be the same bytes, or packed ones, any number of times.
_MOST_BYTES = 8 * 2**20
# Properties of one block that are looked at.
_MOST_PROPERTIES = 500
# Boxes in one another, and of all levels together.
_MOST_LEVELS = 8
_MOST_BOXES = 2_000
_ACTIONS = re.compile(rb"c2pa\.actions(\.v\d+)?(__\d+)?")


@dataclass(frozen=True)
class AiMark:
    """What a file says of its own making. No signature is checked: anybody can write or drop it."""

    source: DigitalSource
    standard: Standard

    @property
    def whole(self) -> bool:
        """Whether all of the photo was made so, and not a part."""
        return self.source == _TRAINED


def read_ai_mark(name: str, data: bytes) -> AiMark | None:
    """Read the mark of a file of a known format; the strongest where there are several.

    C2PA before IPTC where both say the same. Manifests that are kept elsewhere are not fetched.
    """
    found: AiMark | None = None
    left = _MOST_BYTES
    try:
        for kind, block in metadata_blocks(name, data):
            left -= len(block)
            if left < 0:
                break
            mark = _mark(kind, block)
            if mark is not None and (found is None or _rank(mark) > _rank(found)):
                found = mark
    except (BadImageError, ValueError, IndexError, struct.error):
        # Damaged metadata are no reason to refuse a good photo.
        return found
    return found


def _mark(kind: BlockKind, block: bytes) -> AiMark | None:
    if kind == "c2pa":
        source = _source_of_manifests(block)
        return None if source is None else AiMark(source, "c2pa")
    if kind == "iptc":
        source = _strongest(_ADDRESS.findall(block))
    else:
        # Text of 16 bits reads as text of 8 without its zeros.
        source = _source(block.replace(b"\0", b""))
    return None if source is None else AiMark(source, "iptc")


def _rank(mark: AiMark) -> tuple[bool, bool]:
    return mark.whole, mark.standard == "c2pa"


def _source(text: bytes) -> DigitalSource | None:
    """The strongest source that a text names as the value of its property."""
    kinds = []
    for found in islice(_PROPERTY.finditer(text), _MOST_PROPERTIES):
        value = _VALUE.match(text, found.end())
        if value is not None:
            kinds.append(value.group(1) or value.group(2))
    return _strongest(kinds)


def _strongest(kinds: Iterable[bytes]) -> DigitalSource | None:
    known = {kind.lower() for kind in kinds}
    if b"trained" in known:
        return _TRAINED
    return _COMPOSITE if known else None


def _source_of_manifests(store: bytes) -> DigitalSource | None:
    """What the actions of a manifest store say: of the active manifest, which is the last one.

    What an ingredient says holds for a part of the photo.
    """
    sources: list[tuple[int, DigitalSource]] = []
    last = -1
    for manifest, label, content in _assertions(store):
        last = max(last, manifest)
        if _ACTIONS.fullmatch(label) and (source := _source(content)):
            sources.append((manifest, source))
    if not sources:
        return None
    return _TRAINED if (last, _TRAINED) in sources else _COMPOSITE


def _assertions(store: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield manifest number, label and content of each box with a label (ISO 19566-5)."""
    # what is still to be read: start, end, level, number of the manifest
    waiting = [(0, len(store), 0, -1)]
    manifests = 0
    for _ in range(_MOST_BOXES):
        if not waiting:
            return
        at, end, level, manifest = waiting.pop()
        if at + 8 > end:
            continue
        length = int.from_bytes(store[at : at + 4], "big") or end - at
        stop = min(at + max(length, 8), end)
        waiting.append((stop, end, level, manifest))
        if store[at + 4 : at + 8] != b"jumb" or level > _MOST_LEVELS:
            continue
        # The superbox's description: type, flags, label.
        described = int.from_bytes(store[at + 8 : at + 12], "big")
        label = store[at + 33 : at + 8 + described].partition(b"\0")[0]
        number = manifest
        if level == 1:
            number, manifests = manifests, manifests + 1
        yield number, label, store[at + 8 + described : stop]
        waiting.append((at + 8 + max(described, 8), stop, level + 1, number))
