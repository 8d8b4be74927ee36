"""Web server: Waitress on one address, with bounded connections, bodies and end."""

from service.server.parser import ANSWER, ASKER, EXCESS, OWNERS, REFUSED
from service.server.web_server import WebServer, check_address, make_server, run_server

__all__ = [
    "ANSWER",
    "ASKER",
    "EXCESS",
    "OWNERS",
    "REFUSED",
    "WebServer",
    "check_address",
    "make_server",
    "run_server",
]
