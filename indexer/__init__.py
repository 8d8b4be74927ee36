"""Offline half of Catalens: catalog, models, index versions and what is decided with them."""

from typing import TYPE_CHECKING

from indexer.core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog, open_catalog
    from indexer.core.errors import CatalensError
    from indexer.core.home import Home
    from indexer.evaluation.evaluate import evaluate
    from indexer.feeds.dataset import Dataset, read_dataset
    from indexer.feeds.import_options import ImportOptions
    from indexer.feeds.import_report import ImportReport
    from indexer.feeds.importer import import_dataset, import_feed
    from indexer.index.live import LiveIndex
    from indexer.index.version import Versions
    from indexer.index_build.pipeline import BuildOptions, BuildReport, build_index
    from indexer.model.bundle import Bundle, load_bundle
    from indexer.model.open_runtime import open_embedder
    from indexer.model.registry import register_model
    from indexer.operations.erasure import erase
    from indexer.training.export import export
    from indexer.training.options import TrainingOptions
    from indexer.training.train import TrainReport, train

__all__ = [
    "BuildOptions",
    "BuildReport",
    "Bundle",
    "CatalensError",
    "Catalog",
    "Dataset",
    "Home",
    "ImportOptions",
    "ImportReport",
    "LiveIndex",
    "TrainReport",
    "TrainingOptions",
    "Versions",
    "build_index",
    "erase",
    "evaluate",
    "export",
    "import_dataset",
    "import_feed",
    "load_bundle",
    "open_catalog",
    "open_embedder",
    "read_dataset",
    "register_model",
    "train",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BuildOptions": "indexer.index_build.pipeline",
        "BuildReport": "indexer.index_build.pipeline",
        "Bundle": "indexer.model.bundle",
        "Catalog": "indexer.catalog.store",
        "CatalensError": "indexer.core.errors",
        "Dataset": "indexer.feeds.dataset",
        "Home": "indexer.core.home",
        "ImportOptions": "indexer.feeds.import_options",
        "ImportReport": "indexer.feeds.import_report",
        "LiveIndex": "indexer.index.live",
        "TrainReport": "indexer.training.train",
        "TrainingOptions": "indexer.training.options",
        "Versions": "indexer.index.version",
        "build_index": "indexer.index_build.pipeline",
        "erase": "indexer.operations.erasure",
        "evaluate": "indexer.evaluation.evaluate",
        "export": "indexer.training.export",
        "import_dataset": "indexer.feeds.importer",
        "import_feed": "indexer.feeds.importer",
        "load_bundle": "indexer.model.bundle",
        "open_catalog": "indexer.catalog.store",
        "open_embedder": "indexer.model.open_runtime",
        "read_dataset": "indexer.feeds.dataset",
        "register_model": "indexer.model.registry",
        "train": "indexer.training.train",
    },
)
