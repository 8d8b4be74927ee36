"""What to do about each finding: one sentence in English, one in Chinese, with the numbers that
help."""

from __future__ import annotations

from collections.abc import Mapping

# {name} is a number of the finding's evidence, {name%} the same in per cent.
_TEXTS: dict[str, tuple[str, str]] = {
    "no-product": (
        "No product stands out in the photo: show the product clearly, before a plain background.",
        "照片中看不出商品：请在纯色背景前清晰地展示商品。",
    ),
    "low-resolution": (
        "The product is {longer_side} px on its longer side; 1000 px or more let shoppers zoom, "
        "500 px is the least.",
        "商品长边为 {longer_side} 像素；至少需要 500 像素，1000 像素以上买家才能放大查看。",
    ),
    "blurred": (
        "The photo is blurred by about {sigma:.1f} px (at 512 px): hold the camera still and focus "
        "on the product.",
        "照片模糊约 {sigma:.1f} 像素（按短边 512 像素计）：请拿稳相机并对焦在商品上。",
    ),
    "underexposed": (
        "The product is too dark (its shadows are at {shadows} of 255, half of it below {median}): "
        "add light.",
        "商品过暗（暗部亮度 {shadows}/255，一半像素低于 {median}）：请补光或提高曝光。",
    ),
    "overexposed": (
        "The product is washed out (its darkest parts are at {shadows} of 255): use less or softer "
        "light.",
        "商品过曝（最暗处亮度也有 {shadows}/255）：请降低曝光或使用柔光。",
    ),
    "low-contrast": (
        "The photo is flat: its tones span only {span} of 255; use stronger light or a background "
        "unlike the product.",
        "照片对比度低：明暗跨度只有 {span}/255；请加强光线，或换用与商品有反差的背景。",
    ),
    "noisy": (
        "The photo is grainy (noise of {sigma:.1f} of 255): use more light and a lower ISO.",
        "照片噪点多（噪声 {sigma:.1f}/255）：请增加光线并降低 ISO。",
    ),
    "jpeg-blocking": (
        "The photo was compressed too much (like JPEG quality {quality}): upload the original "
        "file.",
        "照片压缩过度（约相当于 JPEG 质量 {quality}）：请上传原始文件。",
    ),
    "colour-cast": (
        "The colours have a cast (chroma {chroma:.0f} where white has 0): set the white balance on "
        "something white.",
        "照片偏色（彩度 {chroma:.0f}，白色应为 0）：请对准白色物体设置白平衡。",
    ),
    "busy-background": (
        "The background is busy: put the product before a plain, light one.",
        "背景杂乱：请把商品放在纯色浅色背景前。",
    ),
    "product-cut": (
        "The product is cut by the edge at {sides} of 4 sides: step back so that all of it is in "
        "the photo.",
        "商品在 4 条边中的 {sides} 条被画面切断：请后退，把商品拍完整。",
    ),
    "product-too-small": (
        "The product fills {share%} of the photo's side; move closer or crop to 80%.",
        "商品只占画面边长的 {share%}；请靠近拍摄，或裁剪到约 80%。",
    ),
    "off-centre": (
        "The product is off the middle by {x%} across and {y%} down: move it to the centre.",
        "商品偏离中心（水平 {x%}，垂直 {y%}）：请移到画面中央。",
    ),
    "border": (
        "The photo has a frame that takes {share%} of it: crop the frame off.",
        "照片带有边框，占画面的 {share%}：请裁掉边框。",
    ),
    "text-overlay": (
        "Text or a band lies over the photo: upload the photo without text, logo or watermark.",
        "照片上有文字或色带：请上传没有文字、标志和水印的照片。",
    ),
    "collage": (
        "The photo is put together from several pictures: upload each as a photo of its own.",
        "照片由多张图片拼成：请分别上传每一张。",
    ),
}


class _Number(float):
    """Prints whole unless told how."""

    def __format__(self, spec: str) -> str:
        return format(float(self), spec or ".0f")


def advice(code: str, evidence: Mapping[str, float]) -> dict[str, str]:
    """{"en": sentence, "zh": sentence} for ``code`` with the numbers of ``evidence``."""
    values: dict[str, object] = {name: _Number(value) for name, value in evidence.items()}
    values |= {f"{name}%": f"{abs(value):.0%}" for name, value in evidence.items()}
    english, chinese = _TEXTS[code]
    return {"en": english.format_map(values), "zh": chinese.format_map(values)}
