"""Command ``explain``: heat maps of a prediction or a similarity."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.core.category_path import format_path
from tools.local_engine import open_engine
from tools.options import AnyPath, OutputPath, home_option, json_option
from tools.output import log, print_result, print_table

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 360  # px of one photo in the picture


@click.command()
@click.argument("image", type=AnyPath)
@click.option(
    "--category", help="The category to explain, a path or a label (default: the most probable)."
)
@click.option(
    "--with",
    "other",
    type=AnyPath,
    metavar="IMAGE2",
    help="Explain what makes the two photos similar.",
)
@click.option("--out", type=OutputPath, required=True, help="The picture to write (.png).")
@home_option
@json_option
def explain(
    image: Path, category: str | None, other: Path | None, out: Path, home: Path, as_json: bool
) -> None:
    """Show what in IMAGE speaks for its category.

    With a second photo: what makes the two similar, one row for each block of the embedding.
    """
    from indexer.core.atomic_files import make_folder, write_atomic
    from service.engine import Query

    if category is not None and other is not None:
        raise click.UsageError("give --category or --with, not both")
    photos = {"image": image.read_bytes()} | ({"with": other.read_bytes()} if other else {})
    with open_engine(home) as opened:
        if other is None:
            found = opened.explain_category(Query(image=photos["image"]), category)
        else:
            found = opened.explain_pair(Query(image=photos["image"]), Query(image=photos["with"]))
    make_folder(out.parent)
    write_atomic(out, _picture(found.to_json()["maps"], photos))
    print_result(found, as_json, _show)
    log(f"picture: {out}")


def _show(found: dict[str, Any]) -> None:
    if found["category"]:
        print_table(
            ("category", "probability"),
            [(format_path(found["category"]["path"]), found["category"]["probability"])],
        )
    else:
        rows = {entry["block"]: entry["score"] for entry in found["maps"]}
        print_table(("block", "cosine"), rows.items())


def _picture(maps: list[dict[str, Any]], photos: dict[str, bytes]) -> bytes:
    """PNG: a row for each block, in it each photo's seen part with its heat; the score stands
    above."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    from indexer.imaging.decode import decode_photo
    from indexer.model.gradcam import overlay

    upright = {name: decode_photo(data).pixels for name, data in photos.items()}
    rows = list(dict.fromkeys(entry["block"] for entry in maps))
    gap, caption = 12, 30
    size = (gap + len(upright) * (_SIDE + gap), gap + len(rows) * (_SIDE + caption + gap))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for entry in maps:
        left = gap + list(upright).index(entry["photo"]) * (_SIDE + gap)
        top = gap + rows.index(entry["block"]) * (_SIDE + caption + gap)
        seen = _seen(upright[entry["photo"]], entry["box"])
        shown = overlay(np.asarray(seen), np.array(entry["heat"], np.float32))
        name = "probability" if entry["block"] is None else f"block {entry['block']}: cosine"
        pen.text((left, top + 5), f"{name} {entry['score']:.3f}", fill="black", font=font)
        sheet.paste(Image.fromarray(shown), (left, top + caption))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _seen(photo: Image, box: list[float]) -> Image:
    """The part of a photo below a map, its longer side ``_SIDE`` px; black beyond the photo."""
    from PIL.Image import Resampling

    from indexer.imaging.geometry import scaled_size

    scale = _SIDE / max(box[2:])
    small = photo.resize(scaled_size(photo.size, scale), Resampling.LANCZOS)
    left, top, width, height = (round(edge * scale) for edge in box)
    return small.crop((left, top, left + max(1, width), top + max(1, height)))
