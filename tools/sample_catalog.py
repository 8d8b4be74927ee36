"""The sample catalog as a module: ``python -m tools.sample_catalog OUT``.

Draws the catalog and prints the manifest's path.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.sample.catalog import draw_product, make_sample_catalog

__all__ = ["draw_product", "main", "make_sample_catalog"]


def main(arguments: list[str] | None = None) -> None:
    """Write the catalog into a folder and print the manifest's path."""
    parser = argparse.ArgumentParser(prog="python -m tools.sample_catalog", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--products", type=int, default=600)
    parser.add_argument("--size", type=int, default=288, help="side of a photo in px")
    options = parser.parse_args(arguments)
    print(
        make_sample_catalog(
            options.out, seed=options.seed, products=options.products, size=options.size
        )
    )


if __name__ == "__main__":
    main()
