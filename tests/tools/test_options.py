"""Options of the command line take what their commands can use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from indexer.core.errors import BadRequestError
from indexer.core.home import Home
from indexer.index_build.cost_estimate import parse_size
from indexer.operations.sync_source import parse_period
from tools import cli
from tools.commands.train import StageOutput
from tools.options import JsonObject, NumberRange, PlaceText


def every_option() -> Iterator[tuple[str, click.Parameter]]:
    """Each command's parameters, with the command's name."""
    waiting: list[tuple[str, click.Command]] = [("", cli.cli)]
    while waiting:
        name, command = waiting.pop()
        yield from ((name, parameter) for parameter in command.params)
        if isinstance(command, click.Group):
            context = click.Context(command)
            for part in command.list_commands(context):
                found = command.get_command(context, part)
                assert found is not None
                waiting.append((f"{name} {part}".strip(), found))


def test_every_number_has_an_end() -> None:
    """``nan`` and ``inf`` pass every comparison with a range or none: no command takes them."""
    numbers = [
        (name, parameter)
        for name, parameter in every_option()
        if isinstance(parameter.type, click.types.FloatParamType)
    ]
    assert len(numbers) > 20
    for name, parameter in numbers:
        assert isinstance(parameter.type, NumberRange), (name, parameter.name)
    open_range = NumberRange(min=0, min_open=True)
    for wrong in ("nan", "inf", "1e999"):
        with pytest.raises(click.BadParameter, match="no number that has an end"):
            open_range.convert(wrong, None, None)
    assert open_range.convert("0.5", None, None) == 0.5


def test_every_text_can_be_stored() -> None:
    """Bytes that are no UTF-8 name a file at most; as an id, a name or JSON they are refused before
    a command does anything, not by what stores them."""
    texts = [
        (name, parameter)
        for name, parameter in every_option()
        if not isinstance(parameter.type, click.Path) and parameter.type is not PlaceText
    ]
    assert len(texts) > 150
    for name, parameter in texts:
        context = click.Context(click.Command(name))
        with pytest.raises(click.BadParameter):
            parameter.type.convert("a\udcff", parameter, context)
    for wrong in ('{"a": "\udcff"}', '{"a": ["\\udcff"]}', '{"\\ud800": 1}'):
        with pytest.raises(click.BadParameter, match="no UTF-8"):
            JsonObject().convert(wrong, None, None)


@pytest.mark.parametrize(
    "command",
    [
        ["undo", "{text}"],
        ["index", "verify", "--erased", "{text}"],
        ["index", "erase", "{text}"],
        ["sync", "add", "x", "feed.csv", "--every", "1h", "--only", "{text}"],
        ["keys", "create", "{text}", "--role", "search"],
        ["facets", "--filter", '{{"field": "{text}"}}'],
    ],
)
def test_a_text_that_cannot_be_stored_is_refused_by_its_name(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home.create(tmp_path / "home")
    words = [part.format(text="sku-\udcff") for part in command]
    assert cli.run([*words, "--home", str(home.path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no UTF-8" in said
    assert "unexpected failure" not in said


def test_every_whole_number_has_an_end() -> None:
    """Four hundred digits are refused where they are given, not by what cannot hold them."""
    numbers = [
        (name, parameter)
        for name, parameter in every_option()
        if isinstance(parameter.type, click.types.IntParamType | NumberRange | StageOutput)
    ]
    assert len(numbers) > 60
    for name, parameter in numbers:
        for wrong in ("9" * 400, "9" * 5000, "-" + "9" * 400):
            context = click.Context(click.Command(name))
            with pytest.raises(click.BadParameter):
                parameter.type.convert(wrong, parameter, context)


@pytest.mark.parametrize("read", [parse_size, parse_period])
@pytest.mark.parametrize("unit", ["", "g", "gb", "tib", "s", "d"])
def test_every_size_and_period_has_an_end(read: Callable[[str], object], unit: str) -> None:
    with pytest.raises(BadRequestError):
        read("9" * 400 + unit)


def test_no_command_takes_an_empty_path() -> None:
    """It would stand for the folder that the command happens to run in: a script's empty variable
    would import or back up that."""
    places = [
        (name, parameter)
        for name, parameter in every_option()
        if isinstance(parameter.type, click.Path) or parameter.name in ("feed", "model")
    ]
    assert len(places) > 80
    for name, parameter in places:
        context = click.Context(click.Command(name))
        with pytest.raises(click.BadParameter, match="names no file or folder"):
            parameter.type.convert("", parameter, context)
        assert str(parameter.type.convert("some", parameter, context)) == "some"


@pytest.mark.parametrize(
    "command",
    [["import", ""], ["backup", ""], ["start", ""], ["sync", "add", "x", "", "--every", "1h"]],
)
def test_an_empty_argument_touches_nothing(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not the folder that is open, nor a home, and the message says what was empty."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalog.csv").write_text("id,title\na,b\n")
    assert cli.run([*command, "--home", "home"]) == 2
    assert "an empty path names no file" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.csv"]


@pytest.mark.parametrize(
    "command",
    [
        ["duplicates", "--csv", "{home}/catalog.sqlite3", "--home", "{home}"],
        ["index", "erase", "x", "--ticket", "{home}/catalog.sqlite3", "--home", "{home}"],
        ["export", "--out", "{home}/photos/new.csv", "--home", "{home}"],
        ["index", "push", "{home}/indexes", "--home", "{home}"],
    ],
)
def test_no_command_writes_over_what_a_home_holds(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file stays as it is, and the refusal names it and says where to write."""
    home = Home.create(tmp_path / "home")
    home.catalog_file.write_bytes(b"what was there")
    assert cli.run([part.format(home=home.path) for part in command]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "whose files are its own: name a place outside of it" in said
    assert home.catalog_file.read_bytes() == b"what was there"
