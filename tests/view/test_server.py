"""The server behind the map page, asked over real sockets."""

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.view.class_map import ClassMap
from bandloom.view.server import Views, make_server


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Serve a map of noise; its tiles are too large for a socket's buffers."""
    profile = {
        "driver": "GTiff",
        "width": 2000,
        "height": 2000,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32648",
        "transform": rasterio.Affine(10, 0, 600000, 0, -10, 1500000),
    }
    with rasterio.open(tmp_path / "map.tif", "w", **profile) as file:
        file.write(np.random.default_rng(0).integers(0, 250, (1, 2000, 2000)).astype(np.uint8))
    with make_server(Views([ClassMap(tmp_path / "map.tif")], None), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("path", ["/", "/view.css", "/record.json", "/nothing"])
def test_head_is_the_head_of_get(port: int, path: str) -> None:
    answers = {}
    for method in ("GET", "HEAD"):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        answers[method] = answer.status, answer.getheader("Content-Type"), answer.getheader("Content-Length"), len(body)
    assert answers["HEAD"] == (*answers["GET"][:3], 0)


def leave(port: int, asked: bytes) -> None:
    """Ask and go at once, with a reset, so that whatever is sent afterwards fails."""
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.sendall(asked)
    line.close()


def test_a_browser_that_leaves_is_not_worth_a_word(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(5):
            leave(port, b"GET /tiles/map/0/9/402/237.png HTTP/1.1\r\n\r\n")  # while it is drawn
            leave(port, b"GET /record.json HTTP/1.1\r\nHo")  # in the middle of its head
            leave(port, b"")
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/record.json")
    assert json.loads(connection.getresponse().read())["maps"][0]["name"] == "map"
    assert capfd.readouterr().err == ""
