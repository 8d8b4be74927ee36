"""Servers on loopback that take alerts: SMTP and HTTP, each of a few lines."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Taken:
    """What a server got, and how it is to answer."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    status: int = 200
    answer: bytes = b"ok"
    refuse: bool = False
    # Seconds between two bytes of an answer; 0: all at once.
    drip_s: float = 0.0


@contextmanager
def http_server() -> Iterator[Taken]:
    """A webhook's receiver."""
    taken = Taken()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            taken.headers.append(dict(self.headers.items()))
            self.send_response(taken.status)
            if 300 <= taken.status < 400:
                self.send_header("Location", f"http://127.0.0.1:{taken.port}/other")
            self.send_header("Content-Length", str(len(taken.answer)))
            self.end_headers()
            if not taken.drip_s:
                self.wfile.write(taken.answer)
                return
            with suppress(OSError):  # nobody waits any more
                for byte in taken.answer:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(taken.drip_s)

        def log_message(self, *_: object) -> None:
            pass

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as taken.port:
        yield taken


@contextmanager
def smtp_server() -> Iterator[Taken]:
    """A mail server without TLS."""
    taken = Taken()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    taken.bodies.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                if word == b"RCPT":
                    taken.recipients.append(line.decode().strip())
                    if taken.refuse:
                        self.wfile.write(b"550 nobody here\r\n")
                        continue
                self.wfile.write(b"250 fine\r\n")

    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as taken.port:
        yield taken


@contextmanager
def _running(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
