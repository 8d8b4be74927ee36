"""The command line's promises: exit codes, one JSON document on stdout, one line of reason on
stderr."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from indexer.core.errors import BadDataError, BadRequestError
from indexer.core.home import Home
from indexer.model.torch_runtime import choose_device, torch
from tools import cli
from tools.options import DEVICE, FromSignature, given, signature_default

ROOT = Path(__file__).parents[2]


def catalens(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "tools.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_one_line_reason(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit 1, nothing on stdout, one ``catalens: ...`` line on stderr that holds ``words``, no
    traceback."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("catalens: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


HEAVY = {
    "torch",
    "torchvision",
    "faiss",
    "pyarrow",
    "sklearn",
    "scipy",
    "timm",
    "flask",
    "waitress",
}


def loaded_by(*arguments: str) -> set[str]:
    """The heavy libraries that a command line has loaded at its end."""
    code = (
        "import sys; from tools import cli; cli.run(sys.argv[1:]); "
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return HEAVY & set(done.stderr.splitlines()[-1].split())


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    """``catalens --help`` names all commands in their order and starts no heavy library."""
    done = catalens("--help")
    assert done.returncode == 0
    listed = re.findall(r"^  ([a-z-]+)  +\S", done.stdout.partition("\nCommands:\n")[2], re.M)
    assert listed == list(cli.COMMANDS)
    assert loaded_by("--help") == set()


def test_each_command_is_a_file_named_as_it() -> None:
    """The rule finds each command's module; no file of the folder is anything else."""
    assert cli.command_names() == list(cli.COMMANDS)
    assert cli.module_of("evaluate-recommendations") == "tools.commands.evaluate_recommendations"
    assert cli.module_of("import") == "tools.commands.import_"
    context = click.Context(cli.cli)
    for name in cli.COMMANDS:
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_summaries_are_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command's summary, sub-commands too, has at most 45 characters and is not cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    for group, path in ((cli.cli, ()), *groups(cli.cli)):
        context = click.Context(
            group, info_name=" ".join(("catalens", *path)), max_content_width=110
        )
        shown = group.get_help(context)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            summary = command.get_short_help_str(200)
            assert 0 < len(summary) <= 45, (path, name, summary)
            assert re.search(rf"^  {name} +{re.escape(summary)}$", shown, re.M), (path, name)


def groups(group: click.Group) -> Iterator[tuple[click.Group, tuple[str, ...]]]:
    """The groups among a group's commands, with their names."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield command, (name,)


@pytest.mark.parametrize(
    "arguments", [("nope",), ("train",), ("import", "x", "--photos", "steal"), ("index", "nope")]
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    """An unknown command, a missing argument and a bad choice exit with 2, and
    stdout stays empty."""
    done = catalens(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: catalens" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train x --out y --seed -1", "--seed"),
        ("train x --out y --seed 4294967296", "--seed"),
        ("train x --out y --lr -1", "--lr"),
        ("train x --out y --lr 0", "--lr"),
        ("train x --out y --device foo", "--device"),
        ("train x --out y --device cuda:1", "--device"),
        ("evaluate x y --split foo", "--split"),
        ("advise x --seed -1", "--seed"),
        ("advise x --minutes 0", "--minutes"),
        ("index build --device foo", "--device"),
        ("serve --device cuda:1", "--device"),
        ("serve --engine foo", "--engine"),
        ("serve --quality-profile foo", "--quality-profile"),
        ("import x --types price=integer", "integer"),
        ("import x --types title=string", "title"),
    ],
)
def test_values_no_command_takes_exit_2_before_any_work(
    capfd: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    """A value outside its choice or range is wrong usage, told by its option before DATA or a model
    is looked for."""
    assert cli.run(line.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err.splitlines()[-1]


def test_refusing_a_value_loads_nothing_heavy() -> None:
    """Wrong usage is reported without a heavy library."""
    assert loaded_by("train", "x", "--out", "y", "--seed", "-1") == set()


def test_devices_that_help_offers_are_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each choice of ``--device`` is understood where the network is run, and nothing else is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert {device: choose_device(device) for device in DEVICE.choices} == {
        "auto": "cuda",
        "cpu": "cpu",
        "cuda": "cuda",
    }
    with pytest.raises(BadRequestError, match="use auto, cpu or cuda"):
        choose_device("cuda:0")


def test_missing_home_is_one_line(tmp_path: Path) -> None:
    """A home that does not exist is named in one line."""
    missing = tmp_path / "nowhere"
    assert_one_line_reason(catalens("index", "list", "--home", missing, "--json"), str(missing))


def test_newer_home_is_refused(tmp_path: Path) -> None:
    """A home written by a newer Catalens is refused, with both format numbers' sides named."""
    (tmp_path / "home.json").write_text('{"format": 99}')
    assert_one_line_reason(
        catalens("index", "list", "--home", tmp_path), "format 99", str(tmp_path)
    )


def test_home_comes_from_the_environment(tmp_path: Path) -> None:
    """``CATALENS_HOME`` is the home where ``--home`` is not given."""
    missing = tmp_path / "from-environment"
    assert_one_line_reason(catalens("index", "list", CATALENS_HOME=str(missing)), str(missing))


def test_json_is_one_document() -> None:
    """``--json`` prints exactly one JSON document on stdout."""
    done = catalens("bench", "list", "--json")
    assert done.returncode == 0
    names = [row["name"] for row in json.loads(done.stdout)["benchmarks"]]
    assert "spine" in names


def test_warnings_stay_off_stdout_and_verify_names_what_is_damaged(tmp_path: Path) -> None:
    """A version that cannot be read is a warning on stderr beside the one document, and fails
    ``verify`` by name."""
    home = Home.create(tmp_path / "home")
    for name, manifest in (("v000001", "no JSON"), ("v000002", '{"format": 99}')):
        (home.indexes / name).mkdir(parents=True)
        (home.indexes / name / "manifest.json").write_text(manifest)
    listed = catalens("index", "list", "--home", home.path, "--json")
    assert listed.returncode == 0
    assert json.loads(listed.stdout) == {"versions": []}
    assert "v000001" in listed.stderr
    assert_one_line_reason(
        catalens("index", "verify", "--home", home.path),
        "v000001",
        "damaged",
        "v000002",
        "format 99",
    )


def test_doctor_reports(tmp_path: Path) -> None:
    """``doctor --json`` names device, FAISS build, threads and weights; a home that is not there is
    a problem, and the exit code 1."""
    done = catalens("doctor", "--json", "--home", tmp_path / "none")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["device"] in {"cpu", "cuda"}
    assert isinstance(found["faiss"]["gpu_part"], bool)
    assert found["torch"]["threads"] >= 1
    assert {row["backbone"]: row["available"] for row in found["weights"]}[
        "efficientnet_lite0"
    ] is True
    assert any("none" in problem for problem in found["problems"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            BadDataError("shop.csv has no column\nimage"),
            1,
            "catalens: shop.csv has no column image\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/tmp/x"),
            1,
            "catalens: no space left on the disk: /tmp/x: make room, first by catalens index gc\n",
        ),
        (
            ValueError("I/O error: No space left on device (os error 28)"),
            1,
            "catalens: I/O error: No space left on device (os error 28): make room, first by "
            "catalens index gc\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/root"),
            1,
            "catalens: Permission denied: /root\n",
        ),
        (
            KeyError("gone"),
            1,
            "catalens: unexpected failure, KeyError: 'gone' (CATALENS_DEBUG=1 shows where)\n",
        ),
        (KeyboardInterrupt(), 130, "catalens: interrupted\n"),
    ],
)
def test_every_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    """Whatever a command raises becomes an exit code and one line on stderr,
    without a traceback."""

    def fail(_: click.Context, name: str) -> click.Command:
        @click.command(name)
        def command() -> None:
            raise error

        return command

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: fail(ctx, name))
    assert cli.run(["doctor"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.lstrip("\n") == said


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """``CATALENS_DEBUG=1`` adds the traceback, for whoever reports a fault."""

    @click.command("doctor")
    def command() -> None:
        raise BadDataError("no photos")

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    monkeypatch.setenv("CATALENS_DEBUG", "1")
    assert cli.run(["doctor"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.endswith("catalens: no photos\n")


def walk(
    command: click.Command, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    """All commands with their paths."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        names = command.list_commands(context)
        children = [(name, command.get_command(context, name)) for name in names]
        return [
            found
            for name, child in children
            if child is not None
            for found in walk(child, (*path, name))
        ]
    return [(path, command)]


@pytest.mark.parametrize(
    ("path", "command"),
    walk(cli.cli),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_exist_where_their_defaults_come_from(
    path: tuple[str, ...], command: click.Command
) -> None:
    """Each option that takes its default from a signature names a parameter that is there, and
    repeats no default."""
    for parameter in command.params:
        if isinstance(parameter, FromSignature):
            signature_default(parameter.source, parameter.parameter)
            assert parameter.to_info_dict()["default"] is None


def test_given_leaves_out_what_was_not_said() -> None:
    """Options that were not given are not passed on, so that the called function's default holds;
    False and 0 are."""
    assert given(a=None, b=0, c=False, d="x") == {"b": 0, "c": False, "d": "x"}


def test_commands_that_answer_take_json() -> None:
    """Every command but ``serve`` takes ``--json``."""
    without = {
        path for path, command in walk(cli.cli) if "as_json" not in {p.name for p in command.params}
    }
    assert without == {("serve",)}
