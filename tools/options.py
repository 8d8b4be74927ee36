"""Click options that several commands share, and defaults read from signatures."""

from __future__ import annotations

import inspect
import json
import math
import os
import shlex
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from indexer.core.printable import is_utf8, plain_line
from tools.output import log

# Characters of a wrong value that are said again.
_SHOWN = 60
_BYTES = "bytes that are no UTF-8 name nothing here: give it in UTF-8"
# What has no end of its own ends where nothing can count it any more.
_MOST_COUNTED = 2**31 - 1
_LARGEST = 1e12
_EMPTY = "an empty path names no file or folder (an empty variable of a script?): name one"


class _GivenPath(click.Path):
    """A file or folder. An empty text is none: it would stand for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if value in ("", b""):
            self.fail(_EMPTY, param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class _OutputPath(_GivenPath):
    """A file or folder to write, not one of a home's own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        place = path.resolve()
        for folder in (place, *place.parents):
            if (folder / "home.json").is_file():
                self.fail(
                    f"{path} lies in the home {folder}, whose files are its own: name a place "
                    "outside of it",
                    param,
                    ctx,
                )
        return path


class _PlaceText(click.types.StringParamType):
    """A file or folder, or the address or version that may stand instead; never empty."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "":
            self.fail(_EMPTY, param, ctx)
        return str(super().convert(value, param, ctx))


class _StoredText(click.types.StringParamType):
    """A text that can be stored: an argument may be any bytes, and a name of a file too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = str(super().convert(value, param, ctx))
        if not is_utf8(found):
            self.fail(f"{plain_line(found[:_SHOWN])}: {_BYTES}", param, ctx)
        return found


def require_utf8(command: click.Command) -> None:
    """Have the command, and those below it, refuse each text that nothing can store."""
    for param in command.params:
        if type(param.type) is click.types.StringParamType:
            param.type = _StoredText()
    if isinstance(command, click.Group):
        for part in command.commands.values():
            require_utf8(part)


AnyPath = _GivenPath(path_type=Path)
OutputPath = _OutputPath(path_type=Path)
PlaceText = _PlaceText()
DEVICE = click.Choice(["auto", "cpu", "cuda"])


class JsonObject(click.ParamType):
    """An object as JSON text."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        try:
            found = value if isinstance(value, dict) else json.loads(value)
            # A half of a surrogate pair is JSON too, as an escape.
            if not is_utf8(json.dumps(found, ensure_ascii=False)):
                self.fail(f"JSON with {_BYTES}", param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"not a JSON object: {plain_line(str(value)[:_SHOWN])}", param, ctx)
        return found


class NumberRange(click.FloatRange):
    """A number in a range; what is no number (``nan``) or has no end (``inf``) is in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no number that has an end.", param, ctx)
        if self.max is None and abs(found) > _LARGEST:
            self.fail(f"{found:g} is more than anything counts: {_LARGEST:g} at most.", param, ctx)
        return found


class CountRange(click.IntRange):
    """A whole number in a range; without an end of its own, one that can be counted to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = int(super().convert(value, param, ctx))
        if self.max is None and found > _MOST_COUNTED:
            self.fail(f"more than anything counts: {_MOST_COUNTED} at most.", param, ctx)
        return found


class FromSignature(click.Option):
    """An option without a default of its own: the called function's default holds.

    ``source`` is ``"module:function"`` (or a dataclass) and ``name`` its parameter (by default the
    option's own); ``--help`` reads the default from there.
    """

    def __init__(
        self, *args: Any, source: str = "", parameter: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.source = source
        self.parameter = parameter or self.name or ""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        default = signature_default(self.source, self.parameter) if self.source else None
        if record is None or default is None or default is False:
            return record
        return record[0], f"{record[1]}  [default: {default}]"


def signature_default(source: str, parameter: str) -> Any:
    """The default that ``module:function`` (or dataclass) gives to ``parameter``, if any."""
    module, _, name = source.partition(":")
    target = getattr(import_module(module), name)
    if is_dataclass(target):
        found = {field.name: field.default for field in fields(target)}.get(parameter, MISSING)
        return None if found is MISSING else found
    default = inspect.signature(target).parameters[parameter].default
    return None if default is inspect.Parameter.empty else default


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line: those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``: one JSON document on stdout."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Answer with one JSON document on stdout."
    )(command)


def home_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--home``: the one folder that holds models, the catalog, photos and index versions."""
    return click.option(
        "--home",
        type=AnyPath,
        envvar="CATALENS_HOME",
        default=Path("catalens-home"),
        show_default=True,
        help="The folder of models, catalog, photos and index versions (or set CATALENS_HOME).",
    )(command)


def device_option(source: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--device``: where the network runs."""
    return click.option(
        "--device", type=DEVICE, cls=FromSignature, source=source, help="Where the network runs."
    )


def seed_option(source: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--seed``: a number that every generator of random numbers takes."""
    return click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), cls=FromSignature, source=source, help=help
    )


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The input of a query: a photo's file or a stored product, in a home."""
    product = click.option(
        "--product", metavar="ID", help="Ask about this stored product instead of a photo."
    )
    image = click.argument("image", type=AnyPath, required=False)
    return image(product(home_option(json_option(command))))


def group_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--group-by``, ``--group-size`` and ``--out-of-stock``, as searches have them."""
    options = (
        click.option("--group-by", metavar="FIELD", help="One result for each value of a field."),
        click.option("--group-size", type=click.IntRange(1, 20), help="Products shown of a group."),
        click.option(
            "--out-of-stock",
            type=click.Choice(["show", "last", "hide"]),
            help="What becomes of products that are out of stock.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


FILTER_HELP = """Only products that pass, e.g. '{"must": [{"field": "price", "lt": 20}]}'."""
filter_option = click.option("--filter", type=JsonObject(), metavar="JSON", help=FILTER_HELP)
ungrouped_option = click.option(
    "--ungrouped", is_flag=True, help="Each variant of a product is a result of its own."
)


def _note_cache(ctx: click.Context, _: click.Parameter, folder: Path | None) -> Path | None:
    """Have erasures of this user know a folder that features go to."""
    if folder is not None and not ctx.resilient_parsing:
        from indexer.core.errors import CatalensError
        from indexer.model.feature_store import note_cache

        try:
            note_cache(folder)
        except CatalensError as error:
            log(
                f"`catalens index erase --cache` will not know {folder}: {error}; erase there with "
                f"CATALENS_CACHE={shlex.quote(str(folder))}"
            )
    return folder


cache_option = click.option(
    "--cache",
    type=AnyPath,
    callback=_note_cache,
    help="Folder of cached features (default: CATALENS_CACHE, or ~/.cache/catalens).",
)
profile_option = click.option(
    "--profile", metavar="NAME", help="How strict quality is judged: studio or marketplace."
)
policy_option = click.option("--policy", type=AnyPath, help="YAML file of what is prohibited.")
