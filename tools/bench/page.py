"""Benchmark ``page``: bytes of the first view, time until usable, faults by axe-core."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from tools.bench.harness.framework import BenchRow, Goal, figure, knob
from tools.browser import VIEWS, browser, faults, serving
from tools.doctor import installed
from tools.output import log

PARTS = ("bytes", "interactive", "axe")
_RECIPE = (
    "sample catalog, 120 products, the shipped network; headless Chromium, empty cache each time"
)

GOALS = (
    Goal("first view without photos, bytes", "<", 200_000, figure("bytes", "bytes")),
    Goal("first view interactive, seconds", "<", 1.0, figure("interactive", "seconds")),
    Goal("serious faults by axe-core, all views, light and dark", "<=", 0, figure("axe", "faults")),
)


def measure(part: str, work: Path) -> BenchRow:
    """One part on a served sample catalog. ``CATALENS_BENCH_LOADS`` (9) loads are timed."""
    log(f"bench page: {part}")
    with browser() as chrome, serving(_home(work)) as address:
        about = {
            "recipe": _RECIPE,
            "browser": f"Chromium {chrome.version} by Playwright {installed('playwright')}",
        }
        return {
            **about,
            **{"bytes": _bytes, "interactive": _interactive, "axe": _axe}[part](chrome, address),
        }


def _home(work: Path) -> Path:
    from indexer.core.home import Home
    from indexer.feeds.importer import import_feed
    from indexer.index_build.pipeline import build_index
    from indexer.model.registry import pretrained
    from tools.sample_catalog import make_sample_catalog

    folder = work / "page"
    if not (folder / "home").is_dir():
        manifest = make_sample_catalog(folder / "catalog", seed=7, products=120, size=224)
        home = Home.create(folder / "home")
        import_feed(home, manifest)
        build_index(home, bundle=pretrained(home), activate=True)
    return folder / "home"


def _bytes(chrome: Any, address: str) -> BenchRow:
    """Bodies of all that is loaded until the network is quiet, photos aside; headers are not
    counted."""
    context = chrome.new_context()
    page = context.new_page()
    answers: list[Any] = []
    page.on("response", lambda response: answers.append(response))
    page.goto(f"{address}/")
    page.wait_for_selector("#grid .card")
    page.wait_for_load_state("networkidle")
    files = {
        answer.url.removeprefix(address): len(answer.body())
        for answer in answers
        if answer.status == 200
    }
    context.close()
    shown = {name: size for name, size in files.items() if not name.startswith("/v1/images/")}
    return {"bytes": sum(shown.values()), "requests": len(shown), "files": shown}


def _interactive(chrome: Any, address: str) -> BenchRow:
    """From the start of a navigation until every control of the first view is there and bound, and
    until products show.

    The page marks both (``performance.mark``). Each load has an empty cache.
    """
    usable, shown = [], []
    for _ in range(knob("LOADS", 9)):
        context = chrome.new_context()
        page = context.new_page()
        page.goto(f"{address}/", wait_until="commit")
        page.wait_for_selector("#grid .card")
        ends = page.evaluate(
            "() => Object.fromEntries(performance.getEntriesByType('mark').map((m) => [m.name, "
            "m.startTime]))"
        )
        usable.append(ends["catalens-interactive"] / 1000)
        shown.append(ends["catalens-shown"] / 1000)
        context.close()
        time.sleep(0.1)
    return {
        "seconds": median(usable),
        "shown_seconds": median(shown),
        "samples": {"seconds": usable, "shown_seconds": shown},
    }


def _axe(chrome: Any, address: str) -> BenchRow:
    """Serious and critical faults of each view and of a product's page, in both schemes."""
    found: dict[str, list[Any]] = {}
    ready = dict(
        zip(VIEWS, ("#grid .card", "#file", ".tiles .tile", "canvas[data-points]"), strict=True)
    )
    for scheme in ("light", "dark"):
        context = chrome.new_context(color_scheme=scheme, viewport={"width": 1240, "height": 900})
        page = context.new_page()
        page.goto(f"{address}/")
        for view, selector in ready.items():
            page.evaluate("(hash) => { location.hash = hash; }", view)
            page.wait_for_selector(selector, state="attached")
            found[f"{scheme} {view}"] = faults(page)
        page.goto(f"{address}/#/")
        page.locator("#grid .card").first.click()
        page.wait_for_selector(".facets .value")
        found[f"{scheme} product"] = faults(page)
        context.close()
    version = installed("axe-core-python")
    return {
        "faults": sum(map(len, found.values())),
        "views": len(found),
        "axe_core_python": version,
        "found": found,
    }
