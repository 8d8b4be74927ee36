"""Command line of Catalens, its sample catalog and its benchmarks."""

from typing import TYPE_CHECKING

from indexer.core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from tools.cli import run

__all__ = ["run"]

__getattr__, __dir__ = lazy_exports(__name__, {"run": "tools.cli"})
