"""The pictures of the documents, made from the sample catalog: ``make screenshots``."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from indexer.core.errors import CatalensError
from tools.browser import browser, serving
from tools.output import log

_DESKTOP = {"width": 1240, "height": 860}
_PHONE = {"width": 360, "height": 740}
_COLOURS = 256  # of a picture; photos of drawn products need no more

Step = Callable[[Any, Path], None]


def start(page: Any, photos: Path) -> None:
    """The first view."""
    page.wait_for_selector("#grid .card")


def search(page: Any, photos: Path) -> None:
    """A photo and what looks like it."""
    start(page, photos)
    page.set_input_files("#file", photos / "backpack-0001-1.jpg")
    page.wait_for_selector("#categories .percent")
    page.wait_for_selector("#tags .tag")


def objects(page: Any, photos: Path) -> None:
    """The products in a photo of three."""
    from PIL import Image

    start(page, photos)
    together = Image.new("RGB", (960, 420), "white")
    for place, name in enumerate(("backpack-0001-1.jpg", "mug-0001-1.jpg", "sneaker-0001-1.jpg")):
        with Image.open(photos / name) as one:
            together.paste(one.resize((300, 300)), (10 + 320 * place, 60))
    stream = io.BytesIO()
    together.save(stream, "JPEG", quality=90)
    page.set_input_files(
        "#file", {"name": "shelf.jpg", "mimeType": "image/jpeg", "buffer": stream.getvalue()}
    )
    page.locator("button:has-text('Find objects')").click()
    page.wait_for_selector(".objects .object")


def part(page: Any, photos: Path) -> None:
    """A box on the photo."""
    search(page, photos)
    page.locator(".figure-actions button").first.click()
    page.wait_for_selector(".crop-box")
    page.wait_for_timeout(600)


def why(page: Any, photos: Path) -> None:
    """Heat maps of a pair."""
    search(page, photos)
    page.locator("#grid .why").nth(1).click()
    page.wait_for_selector(".pair canvas")


def check(page: Any, photos: Path) -> None:
    """A listing's review."""
    page.wait_for_selector(".tabs")
    page.set_input_files("#file", photos / "backpack-0001-2.jpg")
    page.locator(".check-bar .button").first.click()
    page.wait_for_selector(".verdict")
    page.locator(".verdict").scroll_into_view_if_needed()


def queue(page: Any, photos: Path) -> None:
    """A listing that waits for a person: its category is banned (``_POLICY``)."""
    page.wait_for_selector(".tabs")
    origin = page.url.partition("#")[0]
    for name in ("mug-0001-1.jpg", "mug-0002-1.jpg"):
        upload = {"name": name, "mimeType": "image/jpeg", "buffer": (photos / name).read_bytes()}
        page.request.post(f"{origin}v1/review", multipart={"image": upload})
    page.reload()
    page.wait_for_selector(".queued img")


def studio(page: Any, photos: Path) -> None:
    """Map, versions and numbers."""
    page.wait_for_selector("canvas[data-points]")
    page.wait_for_timeout(1500)  # thumbnails arrive one by one


_POLICY = """
version: 1
policies:
  not sold here: {action: review, categories: {names: [Mug], review: 0.3}}
"""

# name, address, what is done there, scheme, viewport
PICTURES: tuple[tuple[str, str, Step, str, dict[str, int]], ...] = (
    ("page-start-light", "#/", start, "light", _DESKTOP),
    ("page-search-light", "#/", search, "light", _DESKTOP),
    ("page-search-dark", "#/", part, "dark", _DESKTOP),
    ("page-objects-light", "#/", objects, "light", {"width": 1240, "height": 1000}),
    ("page-why-light", "#/", why, "light", _DESKTOP),
    ("page-check-dark", "#/check", check, "dark", {"width": 1240, "height": 1500}),
    ("page-queue-light", "#/queue", queue, "light", _DESKTOP),
    ("page-studio-light", "#/studio", studio, "light", {"width": 1240, "height": 1000}),
    ("page-search-phone", "#/", search, "light", _PHONE),
    ("page-studio-phone", "#/studio", studio, "dark", _PHONE),
)


def screenshots(folder: Path, out: Path, *, only: tuple[str, ...] = ()) -> list[Path]:
    """Draw ``PICTURES`` (or ``only`` some) into ``out`` from the demonstration in ``folder``, which
    is made if missing.

    A picture whose view does not come about is left as it is, and named. Raises ``BadRequestError``
    without a browser.
    """
    from tools.demo import demo

    made: list[Path] = []
    with browser() as chrome:
        home = folder / "home"
        if not home.is_dir():
            home = Path(demo(folder)["home"])
        out.mkdir(parents=True, exist_ok=True)
        policy = folder / "screenshots-policy.yaml"
        policy.write_text(_POLICY)
        with serving(home, policy_file=policy) as address:
            for name, hash_, step, scheme, viewport in PICTURES:
                if only and name not in only:
                    continue
                context = chrome.new_context(
                    color_scheme=scheme, viewport=viewport, locale="en-GB", device_scale_factor=1
                )
                page = context.new_page()
                try:
                    page.goto(f"{address}/{hash_}")
                    step(page, folder / "catalog" / "images")
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(500)
                    page.screenshot(path=out / f"{name}.png", animations="disabled")
                    _small(out / f"{name}.png")
                    made.append(out / f"{name}.png")
                    log(f"drew {name}.png")
                except (
                    Exception
                ) as error:  # of Playwright, which is imported only where it is there
                    log(f"left {name}.png as it is: {str(error).splitlines()[0]}")
                finally:
                    context.close()
    return made


def _small(path: Path) -> None:
    """The same picture in a palette: a quarter of the bytes."""
    from PIL import Image

    with Image.open(path) as picture:
        fewer = picture.convert("RGB").quantize(_COLOURS, kmeans=2)
    fewer.save(path, optimize=True)


def main(arguments: list[str] | None = None) -> None:
    """Draw the pictures of the documents."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument(
        "--demo", type=Path, default=Path("catalens-demo"), help="the demonstration's folder"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("only", nargs="*", help="names of pictures; all unless given")
    options = parser.parse_args(arguments)
    try:
        screenshots(options.demo, options.out, only=tuple(options.only))
    except CatalensError as error:
        raise SystemExit(f"screenshots: {error}") from error


if __name__ == "__main__":
    main()
