"""The server: headers, kinds of files, and nothing beyond its folder."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.edge.errors import UserError
from export.web.serve import make_server, url_of

FILES = {
    "index.html": "text/html; charset=utf-8",
    "sw.js": "text/javascript; charset=utf-8",
    "app-1/page.css": "text/css; charset=utf-8",
    "app-1/ort/ort.mjs": "text/javascript; charset=utf-8",
    "app-1/ort/ort.wasm": "application/wasm",
    "app-1/onnx/model.onnx": "application/octet-stream",
    "app-1/model.json": "application/json",
    "app-1/icon.svg": "image/svg+xml",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.txt").write_text("outside")
    site = folder / "site"
    for name in FILES:
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(name)
    with make_server(site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield "127.0.0.1", server.server_port
        server.shutdown()
        thread.join()


def get(address: tuple[str, int], path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    return response, response.read()


@pytest.mark.parametrize("name", FILES)
def test_every_file_comes_with_its_kind_and_isolated(address: tuple[str, int], name: str) -> None:
    response, body = get(address, f"/{name}")
    assert (response.status, body.decode()) == (200, name)
    assert response.headers["Content-Type"] == FILES[name]
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert "unsafe-inline" not in str(policy) and "'unsafe-eval'" not in str(policy)
    assert ("immutable" in response.headers["Cache-Control"]) == ("/" in name)


def test_the_root_is_the_page_and_head_is_its_header(address: tuple[str, int]) -> None:
    assert get(address, "/")[1] == b"index.html"
    response, body = get(address, "/index.html", "HEAD")
    assert (response.status, body) == (200, b"") and response.headers["Content-Length"] == "10"


@pytest.mark.parametrize(
    "path", ["/app-1/", "/nothing", "/../secret.txt", "/%2e%2e/secret.txt", "/app-1/../../secret.txt"]
)
def test_nothing_else_is_found(address: tuple[str, int], path: str) -> None:
    response, body = get(address, path)
    assert response.status == 404 and b"outside" not in body
    assert response.headers["Cache-Control"] == "no-cache"


def test_an_address_that_is_taken_or_impossible_is_one_line(address: tuple[str, int], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose another --port"):
        make_server(tmp_path, *address)
    with pytest.raises(UserError, match="outside 0"):
        make_server(tmp_path, "127.0.0.1", 70000)
    with pytest.raises(UserError, match="choose another --host"):
        make_server(tmp_path, "192.0.2.1", 0)


def test_the_address_is_one_that_a_phone_can_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with make_server(Path(), "0.0.0.0") as server:
        url = url_of("0.0.0.0", server.server_port)
        host, port = url.removeprefix("http://").removesuffix("/").split(":")
        # A server of this machine answers there: it takes connections before it serves.
        socket.create_connection((host, int(port)), timeout=10).close()
        assert int(port) == server.server_port
    assert url_of("127.0.0.1", 8000) == "http://127.0.0.1:8000/"

    def without_a_network(probe: object, place: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", without_a_network)
    assert url_of("0.0.0.0", 80) == "http://0.0.0.0:80/"
