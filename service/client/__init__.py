"""Python client of the service."""

from service.client.client import Client
from service.client.transport import ProblemError

__all__ = ["Client", "ProblemError"]
