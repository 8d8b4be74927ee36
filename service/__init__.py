"""Service half of Catalens: the engine that answers, its HTTP face and its Python client."""

from typing import TYPE_CHECKING

from indexer.core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from service.app import create_app, serve
    from service.client import Client, ProblemError
    from service.engine import Engine
    from service.settings.model import Settings

__all__ = ["Client", "Engine", "ProblemError", "Settings", "create_app", "serve"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Client": "service.client",
        "Engine": "service.engine",
        "ProblemError": "service.client",
        "Settings": "service.settings.model",
        "create_app": "service.app",
        "serve": "service.app",
    },
)
