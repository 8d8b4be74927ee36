"""Photos whose file says that AI made them."""

from __future__ import annotations

from indexer.quality.advice_template import Advice
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.findings import FINDINGS, NEVER, FindingSpec, Floors, Measure

# score of a photo of which a part was made so
_PART = 0.5


def measure_ai_mark(photo: AnalyzedPhoto) -> Measure:
    """Read the file's own word: 1 for a photo that AI made, 0.5 for one with parts that it made.

    Without a mark it is 0, which says nothing: marks are lost when a photo is saved again.
    """
    mark = photo.ai_mark
    if mark is None:
        return Measure(0.0, {"whole": 0.0, "part": 0.0, "iptc": 0.0, "c2pa": 0.0})
    return Measure(
        1.0 if mark.whole else _PART,
        {
            "whole": float(mark.whole),
            "part": float(not mark.whole),
            "iptc": float(mark.standard == "iptc"),
            "c2pa": float(mark.standard == "c2pa"),
        },
    )


FINDINGS.register(
    FindingSpec(
        "ai-made",
        measure_ai_mark,
        floors={
            "studio": Floors(0.1, NEVER, NEVER, 0.0),
            "marketplace": Floors(0.1, NEVER, NEVER, 0.0),
        },
        advice=Advice(
            en="The file says that AI made the photo or a part of it (no signature was checked): "
            "tell shoppers where the law or the marketplace asks for it, and keep the mark.",
            zh="文件标明照片全部或部分由人工智能生成（未校验签名）：请按法律或平台要求向顾客说明，"
            "并保留该标记。",
        ),
        place=180,
    )
)
