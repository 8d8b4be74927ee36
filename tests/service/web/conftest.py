"""One headless browser and one served shop for all tests of the page; skipped, with the reason,
where there is none."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from PIL import Image

from service.engine import Engine
from service.settings import Settings
from tests.service.conftest import COLOURS, draw, encode, photo, template  # noqa: F401  (the drawn shop, as a fixture)
from tools.browser import browser, missing, serving_engine

EVIL = "<img src=x onerror=\"document.title='owned'\"><b>bold</b> mug"
# Notes what the page sends: the bodies of forms with files are not to be had from the browser
# afterwards.
RECORD = """
window.sent = [];
const real = window.fetch;
window.fetch = (address, options = {}) => {
  const { body } = options;
  const read = (value) => {
    try { return value instanceof File ? "file" : JSON.parse(value); } catch { return value; }
  };
  const fields = body instanceof FormData
    ? Object.fromEntries([...body].map(([name, value]) => [name, read(value)]))
    : typeof body === "string" ? JSON.parse(body) : null;
  window.sent.push([address, fields]);
  return real(address, options);
};
"""
WORDS = {"color_scheme": "light", "viewport": {"width": 1240, "height": 900}, "locale": "en-GB"}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A test that fails in the browser says what its pages were telling then."""
    report = (yield).get_result()  # type: ignore[attr-defined]
    chrome = getattr(item, "funcargs", {}).get("chrome")
    if not report.failed or report.when != "call" or chrome is None:
        return
    for page in (page for context in chrome.contexts for page in context.pages):
        with suppress(Exception):
            told = page.evaluate(
                "['#notice-text', '#status', 'dialog', '.lead']"
                ".map(where => document.querySelector(where)?.textContent)"
            )
            report.sections.append((f"told by {page.url}", str(told)))


@pytest.fixture(scope="session")
def chrome() -> Iterator[Any]:
    """The browser."""
    if (lacking := missing()) is not None:
        pytest.skip(lacking)
    with browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def engine(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:  # noqa: F811
    """A copy of the drawn shop: one product whose title is markup, a second index version, two open
    reviews."""
    from indexer.core.home import Home
    from indexer.index_build.pipeline import build_index
    from indexer.model.registry import by_version
    from indexer.reviews.store import Preview

    home = tmp_path_factory.mktemp("web") / "home"
    shutil.copytree(template, home)
    opened = Home(home)
    active = opened.active()
    assert active is not None
    build_index(opened, bundle=by_version(opened, active.model_version))
    quiet = structlog.wrap_logger(structlog.ReturnLogger())
    with Engine(Settings(home=home), watch=False, log=quiet) as made:
        made.products.patch(
            "cross-black", {"title": EVIL, "attributes": {"colour": "black", "price": 12.5}}
        )
        made.products.patch("cross-red", {"attributes": {"colour": "red", "price": 30}})
        for _ in range(2):
            made.reviews.submit(
                listing(1), [Preview("0" * 64, photo("ring", "red"))], product_id=None
            )
        yield made


@pytest.fixture(scope="session")
def shop(engine: Engine) -> Iterator[str]:
    """The address of the shop."""
    with serving_engine(engine) as address:
        yield address


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos to choose: two of products, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    made = {
        "ring": photo("ring", "red", turn=5),
        "cross": photo("cross", "blue", turn=5),
        "broken": b"not a photo",
    }
    made["large"] = encode(draw("ring", COLOURS["red"], size=800))
    made["same"] = photo("ring", "red")  # byte for byte a photo of the shop
    for name, data in made.items():
        (folder / f"{name}.png").write_bytes(data)
    return {name: folder / f"{name}.png" for name in made}


@pytest.fixture
def open_page(chrome: Any, shop: str) -> Iterator[Callable[..., Any]]:
    """Opens an address in a new window with an empty cache, ``before`` which the page may be
    prepared.

    A script that fails or breaks the content policy fails the test.
    """
    contexts = []
    complaints: list[str] = []

    def make(
        hash_: str = "#/", *, before: Callable[[Any], None] | None = None, **options: Any
    ) -> Any:
        fresh = chrome.new_context(**{**WORDS, **options})
        fresh.set_default_timeout(15_000)
        contexts.append(fresh)
        fresh.add_init_script(RECORD)
        page = fresh.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text) if "Content Security Policy" in said.text else None
            ),
        )
        if before is not None:
            before(page)
        page.goto(f"{shop}/{hash_}")
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


_SERIAL = itertools.count(1)


def listing(photos: int) -> dict[str, Any]:
    """An answer to ``POST /v1/review`` of the shape of ``replies.ReviewAnswer``, with evidence of
    every sort."""
    from service.api.responses import ReviewResponse

    tags = [
        {
            "tag": "ring",
            "confidence": 0.97,
            "neighbours": [{"product_id": "cross-red", "score": 0.9}],
        },
        {"tag": "<i>red</i>", "confidence": 0.81, "neighbours": []},
    ]
    categories = [{"label": "ring", "path": ["Shapes", "ring"], "probability": 0.93}]
    quality = {
        "profile": "studio",
        "score": 0.6,
        "findings": [
            {
                "code": "product-too-small",
                "score": 0.8,
                "level": "warning",
                "percentile": 0.1,
                "evidence": {"share": 0.31},
                "box": [40, 40, 80, 60],
                "advice": {"en": "Move closer to the product.", "zh": "请靠近商品拍摄。"},
            },
            {
                "code": "blurred",
                "score": 0.1,
                "level": "ok",
                "percentile": None,
                "evidence": {},
                "box": None,
                "advice": {"en": "", "zh": ""},
            },
        ],
    }
    prohibited = [
        {
            "policy": "contact-details", "decision": "review", "score": 0.9,
            "evidence": [{"detector": "text", "found": "call 555", "box": [0, 0, 160, 20]}],
        }
    ]  # fmt: skip
    repeats = [
        {
            "product_id": "cross-red",
            "kind": "near_same_photo",
            "score": 0.97,
            "photo": "0" * 64,
            "image_url": "",
            "evidence": {},
        }
    ]
    one = {
        "width": 160,
        "height": 160,
        "categories": categories,
        "unknown": False,
        "attributes": [],
        "tags": tags,
        "quality": quality,
        "prohibited": prohibited,
        "duplicates": repeats,
    }
    body = {
        "request_id": f"review-{next(_SERIAL)}",
        "model_version": "m1",
        "index_version": "v000001",
        "timings_ms": {"total": 12.0},
        "verdict": "review",
        "reasons": ["prohibited:contact-details", "quality:product-too-small"],
        "category": categories[0],
        "categories": categories,
        "unknown": False,
        "attributes": [],
        "tags": tags,
        "quality": quality,
        "prohibited": prohibited,
        "duplicates": repeats,
        "same_product": None if photos < 2 else False,
        "products": [[place] for place in range(photos)],
        "photos": [one] * photos,
        "policy_version": "p1",
        "review_id": "r000001",
        "duplicates_complete": True,
    }
    return json.loads(ReviewResponse.model_validate(body).model_dump_json())


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A photo of 600 x 400 px with two drawn products side by side."""
    image = Image.new("RGB", (600, 400), "white")
    image.paste(draw("cross", COLOURS["red"], size=240), (20, 80))
    image.paste(draw("ring", COLOURS["blue"], size=240), (330, 60))
    file = tmp_path / "several.png"
    file.write_bytes(encode(image))
    return file
