"""What the service says over HTTP advises fields and settings, never options of commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.api import requests
from service.settings import Settings, without_options

ROOT = Path(__file__).parents[3]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# What only commands say, by the begin of its path.
OF_COMMANDS = (
    "indexer/duplicates/",
    "indexer/evaluation/",
    "indexer/feeds/export/",
    # Joining lists of prices, and a draft of a profile to edit by hand.
    "indexer/feeds/price_list.py",
    "indexer/feeds/suggestion.py",
    # Caches that commands were given by name.
    "indexer/model/feature_store.py",
    "indexer/operations/backup",
    "indexer/operations/class_erasure.py",
    "indexer/operations/data_places.py",
    "indexer/operations/erasure_audit.py",
    "indexer/operations/repair.py",
    "indexer/operations/restore.py",
    "indexer/operations/sync",
    "indexer/operations/verification.py",
    "indexer/index/pushed.py",
    "indexer/index/transfer.py",
    "indexer/training/",
    # What is said at the start, on the terminal, and in mails.
    "service/alerts/",
    "service/settings/",
    "service/app.py",
    "service/server/web_server.py",
)
# Of trainings, which no request begins.
TRAINED = {"backbone", "weights", "no_text_tower"}


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Texts of a module that are no docstrings, with X for what is put into them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            passed.add(id(node.value))  # docstrings
        if isinstance(node, ast.JoinedStr):
            passed.update(id(part) for part in ast.walk(node))
            parts = (
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and id(node) not in passed:
            yield node.lineno, str(node.value)


def advice() -> dict[str, str]:
    """Where the service may say something of an option -> the text."""
    return {
        f"{name}:{line}": text
        for package in ("indexer", "service")
        for path in sorted((ROOT / package).rglob("*.py"))
        if not (name := path.relative_to(ROOT).as_posix()).startswith(OF_COMMANDS)
        for line, text in sentences(path)
        if OPTION.search(text)
    }


def test_no_answer_advises_an_option() -> None:
    """Whatever an error or a report says, an answer says it in the words of requests and settings;
    a new option in a message gets its row in ``service.settings.advice``."""
    found = advice()
    told = {place: without_options(text) for place, text in found.items()}
    # The one command that mends damage stays whole: no request does what it does.
    left = {
        place: text
        for place, text in told.items()
        if OPTION.search(text.replace("catalens verify --repair", ""))
    }
    print(f"texts with options: {len(found)}, as answered: {len(left)} (goal 0)")
    assert len(found) > 30
    assert left == {}
    assert {place for place, text in told.items() if "  " in text.strip()} == set()


def test_what_is_named_instead_is_there() -> None:
    """Each name in backticks is a field of a request, each setting one of the service."""
    fields = {
        *requests.ImportRequest.model_fields,
        *requests.BuildRequest.model_fields,
        *TRAINED,
    }
    for place, text in advice().items():
        told = without_options(text)
        new = set(re.findall(r"`([\w-]+)`", told)) - set(re.findall(r"`([\w-]+)`", text))
        assert new <= fields, place
        settings = set(re.findall(r"setting ([a-z_]+)", told)) - set(
            re.findall(r"setting ([a-z_]+)", text)
        )
        assert settings <= set(Settings.model_fields), place


def test_refusals_of_the_service_itself_name_no_option() -> None:
    """What is never said on a terminal says it at once."""
    refused = [
        f"{path.name}:{call.lineno}"
        for path in sorted((ROOT / "service").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in ("RequestRefusedError", "BadRequestError", "OverloadedError")
        and OPTION.search(ast.unparse(call))
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("name it with --delimiter", "name it with `delimiter`"),
        ("(--allow-deletes 12)", "(`allow_deletes` 12)"),
        ("--encoding x: no such encoding", "`encoding` x: no such encoding"),
        (
            "no index version is active: run catalens index build --activate",
            "no index version is active: build one (POST /v1/indexes)",
        ),
        (
            "is gone (catalens restore FROM --home NEW), and start it again",
            "is gone (catalens restore FROM), and start it again",
        ),
        (
            "write it anew with: catalens verify --repair --home '/srv/a shop'; then go on",
            "write it anew with: catalens verify --repair; then go on",
        ),
        (
            "make keys anew (catalens keys create NAME --role admin)",
            "make keys anew (catalens keys create NAME)",
        ),
        (
            "the limit of 10 (max_image_bytes: --max-image-bytes or CATALENS_MAX_IMAGE_BYTES "
            "raises it)",
            "the limit of 10 (setting max_image_bytes raises it)",
        ),
        ("say so: --max-image-bytes", "say so: the setting max_image_bytes"),
        # What somebody's feed holds stays.
        ("product '--sync' is unknown, and --no-such-option", None),
        ("a -- b, a--b, --", None),
    ],
)
def test_advice_in_the_words_of_http(said: str, told: str | None) -> None:
    assert without_options(said) == (told or said)
