"""Photos whose file ends before they do."""

from __future__ import annotations

from indexer.quality.advice_template import Advice
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.findings import FINDINGS, NEVER, FindingSpec, Floors, Measure

# score of a photo that lacks one block
_LEAST = 0.5
# share of a photo that must be there for it to be read at all: the worst has lost the rest
_WORST = 1 / 16


def measure_incompleteness(photo: AnalyzedPhoto) -> Measure:
    """Measure the strip at the lower edge that the file does not hold.

    A JPEG that lost only its end mark has all of its pixels, and scores 0.
    """
    if photo.lost <= 0:
        return Measure(0.0, {"lost": 0.0})
    width, height = photo.size
    strip = min(max(round(photo.lost * height), 1), height)
    score = _LEAST + (1 - _LEAST) * min(photo.lost / _WORST, 1.0)
    return Measure(score, {"lost": photo.lost}, (0, height - strip, width, strip))


FINDINGS.register(
    FindingSpec(
        "incomplete-file",
        measure_incompleteness,
        floors={
            "studio": Floors(0.1, 0.1, NEVER, 0.5),
            "marketplace": Floors(0.1, 0.9, NEVER, 0.3),
        },
        advice=Advice(
            en="The file ends before the photo does ({lost:.1%} of it is missing): upload it "
            "again from the original.",
            zh="文件不完整（缺少 {lost:.1%} 的画面）：请用原始文件重新上传。",
        ),
        place=170,
    )
)
