"""Headless Chromium on a served home, for pictures and measurements of the page."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from indexer.core.errors import BadRequestError

VIEWS = ("#/", "#/check", "#/queue", "#/studio")
_WORST = ("serious", "critical")


def missing() -> str | None:
    """What is missing for a browser, in one line; None where everything is there."""
    if find_spec("playwright") is None or find_spec("axe_core_python") is None:
        return "playwright and axe-core-python are not installed (pip install -e '.[dev]')"
    if chromium() is None:
        return "there is no chromium on the PATH (on Debian and Ubuntu: apt install chromium)"
    return None


def chromium() -> str | None:
    """Chromium's path."""
    return next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium (``playwright.sync_api.Browser``). Raises ``BadRequestError`` that says
    what is missing."""
    if (lacking := missing()) is not None:
        raise BadRequestError(lacking)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def serving(home: Path, **settings: Any) -> Iterator[str]:
    """Serve a home on a free port of the loopback, in a thread of this process, for as long as the
    block lasts.

    Yields the address without a slash at its end.
    """
    from service.engine import Engine
    from service.settings import Settings

    quiet = structlog.wrap_logger(structlog.ReturnLogger())
    with (
        Engine(Settings(home=home, port=0, **settings), log=quiet) as engine,
        serving_engine(engine) as address,
    ):
        yield address


@contextmanager
def serving_engine(engine: Any) -> Iterator[str]:
    """As ``serving``, for an engine that is open already."""
    from service.app import create_app, head_check
    from service.server import make_server

    settings = engine.settings.replace(port=0)
    app = create_app(engine, settings)
    server = make_server(app, settings, head_check(app))
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.close()
        thread.join(timeout=5)


def faults(page: Any) -> list[dict[str, Any]]:
    """What axe-core finds wrong with the page as it stands, serious and critical only: rule,
    impact, places."""
    import axe_core_python

    script = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    # By the debugger: the page's own content policy lets nobody else's script in.
    page.evaluate(script)
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        {
            "rule": fault["id"],
            "impact": fault["impact"],
            "help": fault["help"],
            "places": _places(fault),
        }
        for fault in found["violations"]
        if fault["impact"] in _WORST
    ]


def _places(fault: dict[str, Any]) -> list[str]:
    return [" ".join(node["target"]) for node in fault["nodes"]]
