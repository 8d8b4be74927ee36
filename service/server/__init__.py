"""Web server: Waitress on one address, with bounded connections, bodies and end."""

from service.server.parser import EXCESS, OWNERS, REFUSED
from service.server.web_server import WebServer, make_server, run_server

__all__ = ["EXCESS", "OWNERS", "REFUSED", "WebServer", "make_server", "run_server"]
