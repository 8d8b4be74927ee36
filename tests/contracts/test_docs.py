"""The documents: links lead somewhere, named files exist, and commands are taken as they stand."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml
from PIL import Image

from indexer.core import errors
from indexer.moderation.detector import DETECTORS
from indexer.moderation.policy import load_policies
from indexer.quality.findings import FINDINGS
from service.api.errors import STATUS
from tests.contracts.test_house import LEVELS
from tools.bench.harness.framework import BENCHMARKS
from tools.cli import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SHELL = ("sh", "bash", "console")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
# How long a page may be, in words; pages of tables and written pages have no limit.
MOST_WORDS = {"architecture.md": 1_100, "CONTRIBUTING.md": 800, "README.md": 1_000, "guides": 900}

page_named = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


@cache
def read(page: Path) -> str:
    """A page's text."""
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", read(page))


def blocks(page: Path, *kinds: str) -> list[str]:
    """The fenced blocks of these kinds."""
    return [block for kind, block in FENCE.findall(read(page)) if kind in kinds]


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The words of each command that the page's shell blocks show; a quoted text may span lines."""
    for block in blocks(page, *SHELL):
        pending = ""
        for line in block.replace("\\\n", " ").splitlines():
            pending = f"{pending}\n{line}" if pending else line
            try:
                words = shlex.split(pending, comments=True)
            except ValueError:
                continue
            pending = ""
            if words:
                yield words
        assert not pending, f"{page.name}: a quotation is never closed: {pending}"


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each ``catalens`` command in the page's shell blocks."""
    for words in shell_lines(page):
        if words[0] == "catalens":
            yield words[1:-1] if words[-1] == "&" else words[1:]


def mentions(page: Path) -> Iterator[list[str]]:
    """The arguments of each ``catalens`` command that the page's prose mentions, maybe in part."""
    for code in re.findall(r"`(catalens [^`]+)`", prose(page)):
        if not re.search(r"\.\.\.|\||COMMAND", code):
            yield shlex.split(code)[1:]


def parse(
    command: click.Command, name: str, words: list[str], parent: click.Context | None
) -> None:
    """Parse ``words`` as click would, down to the last sub-command, and run nothing."""
    context = command.make_context(name, list(words), parent=parent)
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        found, child, remaining = command.resolve_command(context, rest)
        assert child is not None
        parse(child, found or "", remaining, context)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The relative links and pictures of a page."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if "://" not in link]


@page_named
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link and picture leads to a file of the tree, every anchor to a heading."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@page_named
def test_named_files_exist(page: Path) -> None:
    """Every source file or folder that a page names in code quotes is in the tree."""
    rooted = r"(?:indexer|service|tools|tests|docs)/[\w./-]*"
    for name in re.findall(rf"`({rooted}|[\w./-]+/[\w-]+\.(?:py|js|md))`", prose(page)):
        assert (ROOT / name).exists(), name


def test_documents_named_in_the_code_exist() -> None:
    """Every page that a module, a test or a help text names is in the tree."""
    for package in ("indexer", "service", "tools", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for name in re.findall(r"\b(?:docs/[\w/-]+|[A-Z]{4,})\.md\b", text):
                assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)}: {name}"


@page_named
def test_commands_are_understood(page: Path) -> None:
    """The command line of this very version takes each command that a page shows."""
    if page.name == "cli.md":
        pytest.skip("written from the command line itself")
    for words in commands(page):
        parse(cli, "catalens", words, None)
    for words in mentions(page):
        with contextlib.suppress(click.MissingParameter, click.BadOptionUsage):
            parse(cli, "catalens", words, None)


@page_named
def test_benchmarks_exist(page: Path) -> None:
    """Every benchmark that a page names is one of ``catalens bench list``."""
    shown = [
        words[1]
        for words in [*commands(page), *mentions(page)]
        if words[0] == "bench" and words[1:]
    ]
    assert set(shown) - {"list", "NAME"} - set(BENCHMARKS) == set()


def test_wrong_commands_would_be_noticed() -> None:
    """The check above refuses an unknown option and an unknown command."""
    with pytest.raises(click.UsageError):
        parse(cli, "catalens", ["index", "build", "--no-such-option"], None)
    with pytest.raises(click.UsageError):
        parse(cli, "catalens", ["no-such-command"], None)


def test_the_readme_shows_the_main_commands() -> None:
    """The README shows the two make commands and the main commands of the command line."""
    lines = list(shell_lines(ROOT / "README.md"))
    assert ["make", "demo"] in lines
    assert ["make", "test"] in lines
    main = "train evaluate import index serve classify similar tags doctor"
    assert set(main.split()) <= {line[1] for line in lines if line[0] == "catalens"}


@page_named
def test_make_targets_exist(page: Path) -> None:
    """Every ``make`` target that a page names stands in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = [words[1] for words in shell_lines(page) if words[0] == "make"]
    for target in [*shown, *re.findall(r"`make ([a-z-]+)", prose(page))]:
        assert re.search(rf"^{re.escape(target)}:", makefile, flags=re.MULTILINE), target


@page_named
def test_json_of_requests_is_valid(page: Path) -> None:
    """Every JSON body or JSON form field of a curl example can be parsed."""
    for words in shell_lines(page):
        if words[0] != "curl":
            continue
        for flag, value in pairwise(words):
            text = value.partition("=")[2] if flag == "-F" else value
            if flag in ("-d", "--json") or (flag == "-F" and text[:1] in ("{", "[")):
                json.loads(text)


@page_named
def test_python_examples_import_what_exists(page: Path) -> None:
    """Every Python block compiles, and every name that it imports exists."""
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("package", ["indexer", "service", "tools"])
def test_exported_names_are_listed(package: str) -> None:
    """The Python reference lists what each package exports, and nothing else."""
    page = read(DOCS / "reference" / "python.md")
    section = page.split(f"## {package}\n")[1].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    listed = re.findall(r"`(\w+)`", "".join(cells))
    assert sorted(listed) == import_module(package).__all__


def test_the_policy_file_of_the_guide_is_valid(tmp_path: Path) -> None:
    """The guide's policy file is taken as it stands, once its example photos are there."""
    (block,) = blocks(DOCS / "guides" / "policies.md", "yaml")
    (tmp_path / "policy.yaml").write_text(block, encoding="utf-8")
    for policy in yaml.safe_load(block)["policies"].values():
        photos = policy.get("gallery", {}).get("photos", [])
        for name in [f"{photos}/one.png"] if isinstance(photos, str) else photos:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), "red").save(tmp_path / name)
    names = [policy.name for policy in load_policies(tmp_path / "policy.yaml").policies]
    assert names == ["nudity", "banned symbols", "weapons", "drugs", "contact details"]


def test_findings_and_detectors_are_listed() -> None:
    """The guides have each quality finding and each detector of a policy file."""
    quality, policies = (
        read(DOCS / "guides" / name) for name in ("photo-quality.md", "policies.md")
    )
    assert [code for code in FINDINGS.names() if f"| `{code}` |" not in quality] == []
    assert [name for name in DETECTORS.names() if f"`{name}`" not in policies] == []


def test_every_page_is_listed() -> None:
    """docs/index.md links to every other page of the documentation."""
    index = DOCS / "index.md"
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(index)}
    assert set(DOCS.rglob("*.md")) - {index} - listed == set()


@page_named
def test_pages_are_short(page: Path) -> None:
    """The map, the README, CONTRIBUTING and each guide stay within their number of words."""
    limit = MOST_WORDS.get(page.name) or MOST_WORDS.get(page.parent.name)
    if limit:
        assert len(prose(page).split()) <= limit


def test_the_architecture_names_every_room() -> None:
    """The map names each room of ``indexer`` and ``service`` that the contract orders."""
    text = read(DOCS / "architecture.md")
    rooms = [room for order in LEVELS.values() for room in order]
    assert [room for room in rooms if f"`{room}`" not in text] == []


def test_every_code_of_an_error_is_listed() -> None:
    """The HTTP reference has each stable code that a failure of this house can answer with."""
    text = read(DOCS / "reference" / "http.md")
    kinds = tuple(kind for kind, _ in STATUS)
    codes = {
        found.code
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, kinds)
    } - {kind.code for kind in kinds if kind.__subclasses__()}
    assert sorted(code for code in codes if f"`{code}`" not in text) == []
