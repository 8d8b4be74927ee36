"""The command line: ``catalens``."""

from __future__ import annotations

import keyword
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module, metadata

import click
import structlog

from indexer.core.actor import acting, login_name
from indexer.core.atomic_files import MAKE_ROOM
from indexer.core.disk_failures import is_disk_full
from indexer.core.errors import CatalensError
from tools import commands
from tools.options import require_utf8
from tools.output import log

# The order of help. A command is a file of tools/commands; one not named here stands at the end.
COMMANDS = (
    "demo",
    "start",
    "advise",
    "train",
    "evaluate",
    "import",
    "profile",
    "schema",
    "export",
    "model",
    "index",
    "class",
    "taxonomy",
    "undo",
    "policy",
    "sync",
    "serve",
    "keys",
    "alerts",
    "migrate",
    "backup",
    "restore",
    "verify",
    "where",
    "classify",
    "similar",
    "objects",
    "facets",
    "glossary",
    "tags",
    "explain",
    "review",
    "audit",
    "feedback",
    "duplicates",
    "recommend",
    "orders",
    "evaluate-recommendations",
    "bench",
    "doctor",
)


def command_names() -> list[str]:
    """Every module of ``tools.commands`` as a command's name, in the order of help."""
    modules = pkgutil.iter_modules(commands.__path__)
    found = {module.name.rstrip("_").replace("_", "-") for module in modules}
    return [*(name for name in COMMANDS if name in found), *sorted(found.difference(COMMANDS))]


def module_of(command: str) -> str:
    """The module of a command: its name with ``_`` for ``-``, and ``_`` after a Python keyword."""
    name = command.replace("-", "_")
    return f"tools.commands.{name}_" if keyword.iskeyword(name) else f"tools.commands.{name}"


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in command_names():
            return None
        module = import_module(module_of(cmd_name))
        command = vars(module)[module.__name__.rpartition(".")[2]]
        assert isinstance(command, click.Command)
        require_utf8(command)
        return command


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(f"catalens {metadata.version('catalens')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version",
    is_flag=True,
    callback=_version,
    expose_value=False,
    is_eager=True,
    help="Print the version.",
)
def cli() -> None:
    """Visual search and tagging for shop catalogs: product photos in; categories, similar products
    and tags out."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code.

    0 done, 1 failed, 2 wrong usage. A failure is one line on stderr; ``CATALENS_DEBUG=1`` adds the
    traceback.
    """
    # Before a command loads numpy, whose BLAS asks once for how many threads.
    import_module("indexer.core.native")
    # Stdout holds the answer and nothing else. Looked up at each event: whoever replaces sys.stderr
    # is heard.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        with acting(login_name()):
            code = cli.main(args=arguments, prog_name="catalens", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", 130)
    except click.ClickException as error:
        return _failed(error.format_message())
    except CatalensError as error:
        return _failed(str(error))
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, nor must the
        # interpreter try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(_os_reason(error))
    except Exception as error:
        if is_disk_full(error):  # by the words of a library
            return _failed(f"{error}: {MAKE_ROOM}")
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _failed(f"unexpected failure, {reason} (CATALENS_DEBUG=1 shows where)")


def _failed(reason: str, code: int = 1) -> int:
    if os.environ.get("CATALENS_DEBUG", "") not in ("", "0"):
        traceback.print_exc()
    log(f"catalens: {' '.join(reason.split())}")
    return code


def _os_reason(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if is_disk_full(error):
        return f"no space left on the disk{where}: {MAKE_ROOM}"
    return f"{error.strerror or error}{where}"


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
