"""Web server: Waitress on one address, with bounded connections, bodies and end."""

from service.server.parser import REFUSED
from service.server.web_server import WebServer, make_server, run_server

__all__ = ["REFUSED", "WebServer", "make_server", "run_server"]
