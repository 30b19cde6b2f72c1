"""A small server for a built page, with the headers that threads in the browser ask for."""

from __future__ import annotations

import contextlib
import errno
import socket
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from export.edge.errors import UserError

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
"""What the page may do, which leaves it no way to send anything anywhere but to the server it came from; the page
itself says so too, for servers that send no headers. WebAssembly is compiled, which browsers count as evaluation."""
HEADERS = {
    # These two isolate the page, and only then may it share memory between threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder; no listings, no log."""

    server_version = "dawn2dusk"
    sys_version = ""
    # Spelt out: what the operating system believes of .mjs or .wasm differs from machine to machine.
    extensions_map = {  # noqa: RUF012 - the name and the kind are the base class's
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".webmanifest": "application/manifest+json",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(code, message)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        # What is in a folder named by a digest stays as it is for good; the few files outside must be asked for again.
        fixed = code == HTTPStatus.OK and self.path.count("/") > 1
        self.send_header("Cache-Control", "public, max-age=31536000, immutable" if fixed else "no-cache")

    def list_directory(self, path: Any) -> None:
        """No listings: a folder without a page is not found."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the person."""


def make_server(folder: Path, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A server of `folder`, listening but not yet answering; port 0 takes a free one.

    Raises UserError when the address cannot be had.
    """
    try:
        return ThreadingHTTPServer((host, port), partial(Handler, directory=str(folder)))
    except OSError as error:
        remedy = "choose another --port" if error.errno == errno.EADDRINUSE else "choose another --host or --port"
        raise UserError(f"cannot serve at {host}:{port} ({error.strerror or error}); {remedy}") from error
    except OverflowError as error:
        raise UserError(f"--port {port} is outside 0 ... 65535; choose a number inside") from error


def url_of(host: str, port: int) -> str:
    """The URL at which a server of `host` is found: for 0.0.0.0, by other machines, at this machine's own address."""
    if host == "0.0.0.0":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            # Chooses the interface that leads out, and sends nothing; the address is one of those for documentation.
            probe.connect(("203.0.113.1", 9))
            host = probe.getsockname()[0]
    return f"http://{host}:{port}/"
