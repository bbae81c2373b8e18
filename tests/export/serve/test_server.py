"""A real server process: what it answers, and what it refuses without harm."""

import io
import json
import socket
import struct
import threading
import time
import urllib.request

import numpy as np
import pytest
import rasterio
from PIL import Image

from bandloom.export.serve.upload import TIFF_MAGIC
from tests.export.predict.test_map_scene import run
from tests.export.serve.hostile import hostile_requests
from tests.export.serve.server_process import head, read_all, serving, status_of
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

pytest.importorskip("uvicorn", reason="pip install 'bandloom[serve]'")

BOUNDS = ("upload_mb=3", "raster_mb=40", "block_mb=20", "map_mpx=1", "header_s=1", "body_s=1.5", "in_flight=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bundle, a scene, and what ``predict`` makes of it."""
    folder = tmp_path_factory.mktemp("serve")
    write_tiny_bundle(folder / "tiny")
    write_stack(folder / "scene.tif", (200, 250), hole=(slice(30, 80), slice(100, 170)))
    assert run("predict", folder / "tiny", folder / "scene.tif", "--out", folder / "map.tif") == 0
    return folder


@pytest.fixture(scope="module")
def server(place):
    limits = [word for bound in BOUNDS for word in ("--limit", bound)]
    layers = ("--layer", f"map={place / 'map.tif'}", "--scene", f"scene={place / 'scene.tif'}")
    with serving(place / "tiny", *limits, *layers) as running:
        yield running


def post(server, content, query="", kind="image/tiff"):
    request = urllib.request.Request(f"{server.url}/predict{query}", content, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def get(server, path):
    try:
        with urllib.request.urlopen(server.url + path, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def test_an_uploads_map_is_the_map_that_predict_makes(server, place):
    status, content = post(server, (place / "scene.tif").read_bytes())
    assert status == 200
    with rasterio.MemoryFile(content) as memory, memory.open() as got, rasterio.open(place / "map.tif") as expected:
        np.testing.assert_array_equal(got.read(1), expected.read(1))
        assert got.transform == expected.transform
        assert got.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert "/tmp" not in json.dumps(got.tags())
    assert b"/uploads" not in content


def test_a_map_in_numbers(server, place):
    status, content = post(server, (place / "scene.tif").read_bytes(), "?format=json")
    record = json.loads(content)
    with rasterio.open(place / "map.tif") as file:
        codes = file.read(1)
    assert status == 200
    assert {land_class["code"]: land_class["pixels"] for land_class in record["classes"]} == {
        code: int((codes == code).sum()) for code in (10, 20, 30, 40)
    }
    assert record["measured_pixels"] == int((codes != 255).sum())
    assert record["crs"] == "EPSG:32647"


def test_what_it_says_of_itself(server):
    assert json.loads(get(server, "/health")[1]) == {"status": "ok"}
    ready = json.loads(get(server, "/ready")[1])
    assert (ready["status"], ready["bundle"]) == ("ready", "tiny")
    status, numbers = get(server, "/metrics")
    assert status == 200
    assert b'bandloom_requests_total{route="/health",status="200"}' in numbers
    assert b"process_resident_memory_bytes" in numbers


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/layers", "/openapi.json", "/tiles/map/0/0/0.png"])
def test_head_is_the_head_of_get(server, path):
    """Load balancers ask HEAD /health."""
    asked = {
        method: server.talk(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        for method in ("GET", "HEAD")
    }
    assert status_of(asked["HEAD"]) == status_of(asked["GET"]) == (404 if "tiles" in path else 200)
    head_of_get, head_alone = (answer.partition(b"\r\n\r\n") for answer in asked.values())
    assert head_alone[2] == b""
    assert len(head_of_get[2]) > 0
    if path != "/metrics":  # which counts the requests
        assert b"content-length: %d\r\n" % len(head_of_get[2]) in head_alone[0].lower() + b"\r\n"


def test_head_of_what_takes_a_body_is_refused(server):
    assert status_of(server.talk(b"HEAD /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 405


def test_tiles_of_a_map_and_of_a_scene(server, place):
    listed = json.loads(get(server, "/layers")[1])
    assert [item["name"] for item in listed] == ["map", "scene"]
    west, south, east, north = listed[0]["bounds"]
    x = int(((west + east) / 2 + 180) / 360 * 2**14)
    sine = np.sin(np.radians((south + north) / 2))
    y = int((0.5 - np.log((1 + sine) / (1 - sine)) / (4 * np.pi)) * 2**14)
    for name, seen in (("map", {(0, 0, 255), (255, 255, 0), (0, 128, 0), (255, 0, 0)}), ("scene", None)):
        status, content = get(server, f"/tiles/{name}/14/{x}/{y}.png")
        assert status == 200
        rgba = np.asarray(Image.open(io.BytesIO(content)))
        assert rgba.shape == (256, 256, 4)
        assert set(np.unique(rgba[..., 3])) == {0, 255}  # the scene's hole and what lies beyond it are transparent
        if seen:
            assert {tuple(colour) for colour in rgba[rgba[..., 3] > 0][:, :3].tolist()} <= seen
    assert get(server, f"/tiles/map/14/{x + 2000}/{y}.png")[0] == 404
    assert get(server, "/tiles/other/1/0/0.png")[0] == 404
    assert get(server, "/tiles/map/1/7/0.png")[0] == 404


@pytest.mark.parametrize("seed", [0])
def test_hostile_requests_are_refused_and_the_next_good_one_is_answered(server, place, seed):
    good = (place / "scene.tif").read_bytes()
    for name, sent, expected in hostile_requests(good, seed, 44):
        status = status_of(server.talk(sent, timeout=5))
        assert status < 500, (name, status)
        assert expected is None or status in expected, (name, status)
    assert server.process.poll() is None
    assert post(server, good)[0] == 200
    assert not any("Exception in ASGI" in line for line in server.said)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(1, 6))
def test_two_hundred_hostile_requests_are_refused_and_good_ones_answered(server, place, seed):
    test_hostile_requests_are_refused_and_the_next_good_one_is_answered(server, place, seed)


def test_a_client_that_dribbles_its_head_or_body_is_let_go(server):
    for begun in (
        b"",
        b"POST /predict HTTP/1.1\r\nHost: l",
        head("POST", "/predict", "Content-Type: image/tiff", length=1000) + TIFF_MAGIC[0],
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=8) as line:
            line.sendall(begun)
            began = time.monotonic()
            said = read_all(line)
        assert 0.5 < time.monotonic() - began < 6
        assert status_of(said) in (0, 408)
        assert b"500" not in said[:20]


def test_more_requests_than_places_get_429_and_a_time_to_come_back(server, place):
    slow = head("POST", "/predict", "Content-Type: image/tiff", length=1000) + TIFF_MAGIC[0]
    lines = [socket.create_connection(("127.0.0.1", server.port), timeout=8) for _ in range(2)]
    for line in lines:
        line.sendall(slow)
    deadline = time.monotonic() + 5
    while b"in_flight 2.0" not in get(server, "/metrics")[1]:
        assert time.monotonic() < deadline
    said = server.talk(head("POST", "/predict", "Content-Type: image/tiff", length=4) + TIFF_MAGIC[0])
    for line in lines:
        line.close()
    assert status_of(said) == 429
    assert b"retry-after: 1" in said
    while b"in_flight 0.0" not in get(server, "/metrics")[1]:
        assert time.monotonic() < deadline
    assert post(server, (place / "scene.tif").read_bytes())[0] == 200


def test_a_client_that_goes_away_leaves_nothing(server, place):
    sent = head("POST", "/predict", "Content-Type: image/tiff", length=2_000_000) + b"II*\0" * 1000
    line = socket.create_connection(("127.0.0.1", server.port), timeout=8)
    line.sendall(sent)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by reset
    line.close()
    assert post(server, (place / "scene.tif").read_bytes())[0] == 200
    assert not any("Exception in ASGI" in line for line in server.said)


def test_term_lets_running_requests_end(place):
    write_stack(place / "large.tif", (600, 600))
    with serving(place / "tiny", "--batch", 1) as server:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(post(server, (place / "large.tif").read_bytes())[0]))
        asking.start()
        while b"in_flight 1.0" not in get(server, "/metrics")[1]:
            pass
        assert server.end() == 0
        asking.join()
    assert answers == [200]


def test_a_classifiers_tiles(tmp_path, place):
    from bandloom.export.bundle.tiling import Tiling
    from tests.export.tiny_model import tiny_contract

    write_tiny_bundle(tmp_path / "classifier", tiny_contract(tiling=Tiling(48), task="classify"))
    with serving(tmp_path / "classifier") as server:
        status, content = post(server, (place / "scene.tif").read_bytes(), "?format=json")
        assert status == 200
        assert len(json.loads(content)["features"]) == 30
        assert post(server, (place / "scene.tif").read_bytes())[0] == 422


def test_a_layer_that_cannot_be_served_is_refused(place, capsys):
    assert run("serve", place / "tiny", "--layer", f"a/b={place / 'map.tif'}") == 2
    assert "NAME=PATH" in capsys.readouterr().err
    assert run("serve", place / "tiny", "--layer", f"stack={place / 'scene.tif'}") == 2
    assert "is no layer" in capsys.readouterr().err
    assert run("serve", place / "tiny", "--limit", "upload=3") == 2
    assert "upload_mb" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["300.1.1.1", "taken", "192.0.2.1"])
def test_an_address_that_cannot_be_listened_on_is_one_sentence(tmp_path, host, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = ("127.0.0.1", taken.getsockname()[1]) if host == "taken" else (host, 0)
        assert run("serve", tmp_path, "--host", address[0], "--port", address[1]) == 2
    assert f"error: --host {address[0]} --port {address[1]} cannot be listened on" in capsys.readouterr().err


def test_a_port_that_is_none_is_refused_by_its_option(tmp_path, capsys):
    assert run("serve", tmp_path, "--port", "99999") == 2
    assert "--port" in capsys.readouterr().err
