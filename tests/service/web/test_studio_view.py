"""The studio in a real browser: product lists, versions, jobs, the map and the numbers."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from service.engine import Engine
from service.settings import Settings
from tests.service.conftest import photo
from tests.service.state.test_snapshots import wait_for
from tools.browser import faults, serving_engine

LIST = (
    "id,title,image_link,price,availability,color,label\n"
    "A1,Shirt one,a1.png,12.50 EUR,in stock,red,Red summer shirt\n"
    "A2,Shirt two,a2.png,9.00 EUR,in stock,blue,Blue winter shirt\n"
    "A3,Shirt three,gone.png,9.00 EUR,in stock,blue,No photo\n"
)


@pytest.fixture
def serving(engine: Engine) -> Iterator[str]:
    """The version that serves; it does again when the test is over."""
    before = engine.snapshot.index_version  # type: ignore[union-attr]
    yield before
    engine.versions.activate(before)


def test_versions_are_switched_and_rolled_back(
    open_page: Callable[..., Any], engine: Engine, serving: str
) -> None:
    """A version is activated once what changes was shown and confirmed; it is found to be the wrong
    one and rolled back from, two presses from anywhere on the page, within ten seconds. What serves
    again is what served before, though its number is the higher one."""
    page = open_page("#/studio")
    page.wait_for_selector(f".version.active:has-text('{serving}')")
    page.click("button[aria-label='Activate v000002']")
    page.wait_for_selector("dialog h2:has-text('Serve v000002 from now on?')")
    assert "Nothing is lost by it" in page.inner_text("dialog")
    row = page.locator("dialog tr:has-text('Categories') td").all_inner_texts()
    assert row == ["4", "4"]
    assert page.evaluate("document.activeElement.textContent") == "Leave it as it is"
    assert faults(page) == []
    page.click("dialog button:text-is('Leave it as it is')")
    assert engine.snapshot.index_version == serving  # type: ignore[union-attr]
    for version in ("v000002", "v000001"):
        page.click(f"button[aria-label='Activate {version}']")
        page.click(f"dialog button:text-is('Activate {version}')")
        page.wait_for_selector(f".version.active:has-text('{version}')")
    assert engine.snapshot.index_version == "v000001"  # type: ignore[union-attr]
    page.evaluate("location.hash = '#/check'")
    page.wait_for_selector("nav a[href='#/studio']")
    begun = time.monotonic()
    page.click("nav a[href='#/studio']")
    page.click("button:has-text('Roll back to v000002')")
    page.wait_for_selector(".version.active:has-text('v000002')")
    assert time.monotonic() - begun < 10
    assert engine.snapshot.index_version == "v000002"  # type: ignore[union-attr]
    page.wait_for_selector("button:has-text('Roll back to v000001')")


def test_a_version_that_can_less_says_so_before_it_serves(open_page: Callable[..., Any]) -> None:
    """What it does not know, which products it lacks and what is measured lower stand in the
    question; names are text."""
    facts = {"version": "v000001", "model_version": "m1", "categories": 0, "tags": 2}
    facts |= {"products": 18, "recall": 0.9949, "accuracy": None}
    now = {**facts, "version": "v000002", "categories": 4, "products": 20, "recall": 0.999}
    lost = ["<b>Hats</b>", "Shoes > Boots"]
    found = {
        "now": now, "then": facts, "products_missing": 2,
        "categories": {"lost": lost, "lost_count": 2, "gained": [], "gained_count": 0},
        "tags": {"lost": [], "lost_count": 0, "gained": ["red"], "gained_count": 1},
        "warnings": ["no-categories", "products-missing", "lower-recall"],
    }  # fmt: skip
    page = open_page("#/studio")
    page.route("**/v1/indexes/*/comparison", lambda route: route.fulfill(json=found))
    page.click("button[aria-label='Activate v000002']")
    page.wait_for_selector("dialog .warnings li")
    assert page.locator("dialog .warnings li").all_inner_texts() == [
        "It knows no categories: photos are no longer classified.",
        "Products it was built without: 2. They can be found once their photos have gone through "
        "its network.",
        "Its measured recall is lower.",
    ]
    row = page.locator("dialog tr:has-text('Recall') td").all_inner_texts()
    assert row == [">99%", "99%"]
    page.click("dialog summary:has-text('Which categories')")
    assert "Gone (2): <b>Hats</b>, Shoes > Boots" in page.inner_text("dialog")


def test_a_version_that_cannot_be_opened_is_said(open_page: Callable[..., Any]) -> None:
    page = open_page("#/studio")
    damaged = {
        "status": 409,
        "code": "damaged-index",
        "detail": "v000002/rows.npy: checksum differs",
        "title": "x",
        "type": "x",
        "request_id": "r",
    }
    page.route("**/v1/indexes/*:activate", lambda route: route.fulfill(status=409, json=damaged))
    page.click("button[aria-label='Activate v000002']")
    page.click("dialog button:text-is('Activate v000002')")
    page.wait_for_selector("#notice:has-text('checksum differs')")
    assert page.locator(".version.active:has-text('v000001')").count() == 1


def test_the_map_is_walked_zoomed_and_opened(open_page: Callable[..., Any]) -> None:
    """All products are on the canvas; arrows go from one to the next, + and the wheel zoom, Enter
    opens."""
    page = open_page("#/studio")
    page.wait_for_selector("canvas[data-points='20']")
    canvas = page.locator("canvas.map")
    canvas.scroll_into_view_if_needed()
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".map-chosen strong")
    first = page.inner_text(".map-chosen strong")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "before => document.querySelector('.map-chosen strong').textContent !== before", arg=first
    )
    before = canvas.evaluate("c => c.toDataURL()")
    page.keyboard.press("+")
    page.wait_for_function(
        "before => document.querySelector('canvas.map').toDataURL() !== before", arg=before
    )
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=3)
    page.mouse.up()
    page.mouse.wheel(0, -300)
    page.keyboard.press("Enter")
    page.wait_for_selector("#grid .card")
    assert page.evaluate("location.hash").startswith("#/product/")


def test_numbers_are_those_of_metrics(open_page: Callable[..., Any], engine: Engine) -> None:
    """Products, the queue's limit and calls by route, the rarest too, come from /metrics; medians
    are read from its buckets."""
    page = open_page("#/")
    # more routes than a screen shows, each called more often than the one looked for
    page.evaluate(
        """async () => {
          const names = ['whoami', 'facets', 'products', 'products/none', 'products/none/similar',
            'classes', 'actions', 'indexes', 'schema', 'imports', 'jobs', 'jobs/none', 'reviews',
            'reviews/none'];
          for (const name of [...names, ...names]) await fetch(`/v1/${name}`);
        }"""
    )
    # a call is counted behind its answer
    page.evaluate(
        """async () => {
          await (await fetch('/v1/map')).text();
          for (let look = 0; look < 50; look++) {
            const text = await (await fetch('/metrics')).text();
            if (text.includes('route="/v1/map"')) break;
          }
          location.hash = '#/studio';
        }"""
    )
    page.wait_for_selector(".numbers-part .tile")
    tiles = dict(
        text.split("\n", 1) for text in page.locator(".numbers-part .tile").all_inner_texts()
    )
    assert tiles["Products"].strip() == str(engine.snapshot.live.product_count)  # type: ignore[union-attr]
    assert tiles["Waiting for the network"].strip() == f"0 / {engine.settings.max_waiting}"
    assert page.locator("th:has-text('GET /v1/map')").count() == 1
    values = page.evaluate(
        """async () => {
          const { parse, quantile, summary } = await import('/web/metrics.js');
          const text = ['# HELP x',
            'catalens_request_seconds_bucket{le="0.1",method="GET",route="/v1/a",status="200"} 10',
            'catalens_request_seconds_bucket{le="+Inf",method="GET",route="/v1/a",status="200"} 20',
            'catalens_request_seconds_count{method="GET",route="/v1/a",status="200"} 20',
            'catalens_request_seconds_count{method="GET",route="/v1/a",status="503"} 5',
            'odd{name="a\\\\"b,}\\\\n"} 1.5e3'].join('\\n');
          const half = quantile([[0.1, 10], [Infinity, 20]], 0.25);
          return [half, quantile([], 0.5), parse(text).at(-1), summary(parse(text))];
        }"""
    )
    assert values[0] == pytest.approx(0.05)
    assert values[1] is None
    assert values[2] == {"name": "odd", "labels": {"name": 'a"b,}\n'}, "value": 1500}
    assert (values[3]["requests"], values[3]["failed"]) == (25, 5)


def test_jobs_show_how_far_they_are(open_page: Callable[..., Any]) -> None:
    """An import is sent, followed by its events, cancelled; what failed says why. A fixture stands
    in for the jobs."""
    page = open_page("#/check")
    state: dict[str, Any] = {"jobs": []}
    base = {
        "kind": "import",
        "options": {},
        "created": 1.0,
        "started": 1.0,
        "ended": None,
        "result": None,
        "problem": None,
    }
    running = {
        **base,
        "job_id": "j1",
        "state": "running",
        "stage": "photos",
        "done": 30,
        "total": 120,
    }
    failed = {
        **base,
        "job_id": "j0",
        "state": "failed",
        "stage": None,
        "done": 0,
        "total": 0,
        "problem": {"code": "bad-data", "detail": "no manifest in <b>it</b>"},
    }
    later = {**running, "done": 60}
    page.route("**/v1/jobs", lambda route: route.fulfill(json={"jobs": state["jobs"]}))
    page.route(
        "**/v1/jobs/j1/events",
        lambda route: route.fulfill(
            content_type="text/event-stream",
            body=f"event: progress\ndata: {json.dumps(later)}\n\n: still there\n\n",
        ),
    )

    def change(route: Any) -> None:
        if route.request.method == "POST":
            state["jobs"] = [running, failed]
        elif route.request.method == "DELETE":
            state["jobs"] = [{**running, "state": "cancelled"}, failed]
        route.fulfill(status=202, json=running)

    page.route(
        "**/v1/imports",
        lambda route: change(route) if route.request.method == "POST" else route.continue_(),
    )
    page.route("**/v1/jobs/j1", change)
    page.evaluate("location.hash = '#/studio'")
    page.wait_for_selector("text=No work was started yet.")
    page.click("button:text-is('Look at it')")
    page.wait_for_selector(".import .wrong:has-text('Choose a file first')")
    assert page.evaluate("document.activeElement.classList.contains('wrong')")
    page.set_input_files(
        "#archive", {"name": "shop.zip", "mimeType": "application/zip", "buffer": b"PK"}
    )
    page.click("button:text-is('Look at it')")
    page.wait_for_selector(".job:has-text('60 / 120')")
    sent = page.evaluate("window.sent.find(([, fields]) => fields && fields.archive)[1]")
    assert (sent["archive"], sent["dry_run"], sent["map"]) == ("file", True, {})
    assert page.inner_text(".job[data-state=failed]").endswith("no manifest in <b>it</b>")
    page.click(".job[data-state=running] button:has-text('Cancel')")
    page.wait_for_selector(".job[data-state=cancelled]")
    assert page.locator("button:has-text('Cancel'):visible").count() == 0


def test_a_service_without_jobs_says_so(open_page: Callable[..., Any]) -> None:
    page = open_page("#/check")
    nothing = {
        "status": 404,
        "code": "not-found",
        "detail": "x",
        "title": "x",
        "type": "x",
        "request_id": "r",
    }
    page.route("**/v1/jobs", lambda route: route.fulfill(status=404, json=nothing))
    page.evaluate("location.hash = '#/studio'")
    page.wait_for_selector("text=takes no imports over the network")
    assert not page.is_visible("text=Build a new index version")


@pytest.fixture
def own_shop(template: Path, tmp_path: Path) -> Iterator[tuple[Engine, str]]:
    """A shop that one test may import into, and its address."""
    shutil.copytree(template, tmp_path / "home")
    quiet = structlog.wrap_logger(structlog.ReturnLogger())
    with (
        Engine(Settings(home=tmp_path / "home", poll_s=0.05), log=quiet) as engine,
        serving_engine(engine) as address,
    ):
        yield engine, address


def test_a_list_whose_column_was_guessed_wrong_is_corrected_and_imported(
    chrome: Any, own_shop: tuple[Engine, str], tmp_path: Path
) -> None:
    """A product list is looked at, the title moved to another column, looked at again and imported:
    the products have it, the map is kept, and what was left out is said. The page has no faults on
    the way, and nothing is stored before the last press."""
    engine, address = own_shop
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("spring.csv", LIST)
        archive.writestr("a1.png", photo("ring", "red", turn=31))
        archive.writestr("a2.png", photo("dots", "blue", turn=41))
    phone = {"viewport": {"width": 360, "height": 720}, "has_touch": True, "is_mobile": True}
    context = chrome.new_context(locale="en-GB", **phone)
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{address}/#/studio")
    page.wait_for_selector("#archive")
    assert not page.is_visible("#archive-url")
    assert not page.is_visible("#archive-path")
    shop = {"name": "shop.zip", "mimeType": "application/zip", "buffer": packed.getvalue()}
    page.set_input_files("#archive", shop)
    page.click("button:text-is('Look at it')")
    page.wait_for_selector(".found h3:has-text('What was found')")
    assert page.evaluate("document.activeElement.textContent") == "What was found"
    assert "google" in page.inner_text(".found > p")
    assert page.locator(".sample .title").all_inner_texts() == [
        "Shirt one", "Shirt two", "Shirt three",
    ]  # fmt: skip
    assert page.locator(".found .tile .value").first.inner_text() == "2"
    assert "gone.png" in page.inner_text(".found .finding")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert faults(page) == []
    assert page.is_visible("#import-profile")
    page.select_option("select[aria-label='What title means']", "leave_out")
    page.select_option("select[aria-label='What label means']", "title")
    page.click("button:text-is('Look again with these changes')")
    page.wait_for_selector(".sample .title:has-text('Red summer shirt')")
    assert engine.catalog.last_sequence() == 20
    page.click("button:text-is('Import')")
    page.wait_for_selector(".found h3:has-text('2 products added. 1 entry left out.')")
    assert page.evaluate("document.activeElement.tagName") == "H3"
    assert "saved as “spring”" in page.inner_text(".found")
    assert engine.catalog.get("A1").title == "Red summer shirt"
    assert (tmp_path / "home" / "profiles" / "spring.yaml").is_file()
    wait_for(lambda: engine.ready().live.product_count == 22, seconds=30)
    page.goto(f"{address}/#/product/A1")
    page.wait_for_selector("h1:has-text('Red summer shirt'):visible")
    context.close()
