"""The map page: what it shows is what lies in the files, and a person can use it."""

import http.client
import io
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.warp import transform

from bandloom.errors import BandloomError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.predict.change import ChangeJob, compare
from bandloom.export.predict.options import PredictOptions
from bandloom.rasters.web_tiles import HALF_WORLD_M, tile_bounds
from bandloom.view.class_map import ClassMap
from bandloom.view.fetch_maplibre import SHA256, VENDOR, fetch, is_whole
from bandloom.view.repeat import predict_command
from bandloom.view.scene_bands import SceneBands
from bandloom.view.server import Views, make_server
from tests.view.command import run
from tests.view.serving import ask, served

TILE = 14


@pytest.fixture(scope="module")
def scene(chain: Path) -> Path:
    return next((chain / "data" / "scenes").iterdir())


@pytest.fixture(scope="module")
def other(chain: Path) -> Path:
    """The same map, a class later."""
    path = chain / "later.tif"
    with rasterio.open(chain / "map.tif") as source:
        codes, profile, colours, tags = source.read(1), source.profile, source.colormap(1), source.tags()
    values = [land_class["value"] for land_class in json.loads(tags["CLASSES"])]
    with rasterio.open(path, "w", **profile) as target:
        target.write(np.where(codes == values[0], values[1], codes), 1)
        target.write_colormap(1, colours)
        target.update_tags(CLASSES=tags["CLASSES"])
    return path


@pytest.fixture(scope="module")
def address(chain: Path, scene: Path, other: Path) -> Iterator[str]:
    views = Views([ClassMap(chain / "map.tif"), ClassMap(other)], SceneBands(scene))
    with served(views) as address:
        yield address


def test_areas_are_those_of_counted_pixels(chain: Path):
    with rasterio.open(chain / "map.tif") as source:
        codes = source.read(1)
    found = ClassMap(chain / "map.tif").classes
    assert sum(each.pixels for each in found) == (codes != 255).sum()
    for each in found:
        assert each.hectares == pytest.approx((codes == each.value).sum() * 0.01)


def test_what_lies_at_a_place_is_what_the_files_hold(chain: Path, scene: Path, address: str):
    rng = np.random.default_rng(0)
    with rasterio.open(chain / "map.tif") as source, rasterio.open(chain / "map.confidence.tif") as sure:
        codes, confidence = source.read(1), sure.read(1)
        for _ in range(20):
            row, column = (int(rng.integers(side)) for side in codes.shape)
            x, y = source.transform * (column + 0.5, row + 0.5)
            (longitude,), (latitude,) = transform(source.crs, "EPSG:4326", [x], [y])[:2]
            found = json.loads(ask(address, f"/at.json?lon={longitude}&lat={latitude}"))
            assert found["maps"][0]["value"] == codes[row, column]
            assert found["maps"][0]["confidence_percent"] == confidence[row, column]
            for band in found["spectrum"]:
                with rasterio.open(scene / f"{band['band']}.tif") as file:
                    assert band["dn"] == next(iter(file.sample([(x, y)])))[0]


def test_a_tile_has_the_maps_colours_where_the_map_lies(chain: Path, address: str):
    class_map = ClassMap(chain / "map.tif")
    west, south, east, north = class_map.bounds
    (x, *_), (y, *_) = transform("EPSG:4326", "EPSG:3857", [(west + east) / 2], [(south + north) / 2])[:2]
    side = 2 * HALF_WORLD_M / 2**TILE
    column, row = int((x + HALF_WORLD_M) // side), int((HALF_WORLD_M - y) // side)
    left, bottom, right, top = tile_bounds(TILE, column, row)
    assert left <= x < right
    assert bottom < y <= top
    picture = np.array(Image.open(io.BytesIO(ask(address, f"/tiles/map/0/{TILE}/{column}/{row}.png"))))
    at = int((top - y) / side * 256), int((x - left) / side * 256)
    wanted = class_map.at((west + east) / 2, (south + north) / 2)
    assert wanted is not None
    assert "#{:02x}{:02x}{:02x}".format(*picture[at][:3]) == wanted["colour"]
    assert picture[at][3] == 255
    hidden = ask(address, f"/tiles/map/0/{TILE}/{column}/{row}.png?show=")
    assert not np.array(Image.open(io.BytesIO(hidden)))[..., 3].any()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nothing", 404),
        ("/../setup.py", 404),
        ("/tiles/map/7/1/0/0.png", 404),
        ("/tiles/scene/B99/1/0/0.png", 404),
        ("/at.json", 404),
        ("/at.json?lon=x&lat=1", 400),
        ("/tiles/map/0/99/1/1.png", 404),
    ],
)
def test_what_is_not_there_is_said(address: str, path: str, code: int):
    host, _, port = address.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("GET", path)  # as it stands: urllib would mend the path
    assert connection.getresponse().status == code


def test_a_map_that_vanishes_while_the_page_is_open_is_said(chain: Path, tmp_path: Path):
    (tmp_path / "map.tif").write_bytes((chain / "map.tif").read_bytes())
    views = Views([ClassMap(tmp_path / "map.tif")], None)
    (tmp_path / "map.tif").unlink()
    with make_server(views, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"http://127.0.0.1:{server.server_address[1]}", "/tiles/map/0/1/0/0.png")
        assert refused.value.code == 503
        assert "map.tif" in refused.value.read().decode()
        server.shutdown()


@pytest.fixture(scope="module")
def maplibre() -> None:
    if not all(is_whole(VENDOR, name) for name in SHA256):
        try:
            fetch()
        except Exception as cause:
            pytest.skip(f"MapLibre is not here and cannot be fetched: {cause}")


@pytest.mark.usefixtures("maplibre")
def test_a_person_can_use_the_page(address: str, page: Any):
    page.goto(address)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    assert page.locator(".legend li, .empty li").count() > 3
    assert "ha" in page.locator(".legend .area").first.inner_text()
    page.locator(".legend input").first.uncheck()
    with page.expect_request(lambda request: "scene/SWIR" in request.url, timeout=120_000):
        page.locator("#composite").select_option("SWIR")
    page.locator("#opacity").fill("40")
    page.locator("#swipe").fill("250")
    assert page.locator("#other").evaluate("each => each.style.getPropertyValue('--at')") == "25%"
    page.locator("#map canvas").click(position={"x": 100, "y": 450})
    page.wait_for_selector("#here svg", timeout=30_000)
    assert page.locator("#here circle").count() == 13
    shown = page.locator("#here polyline").count()  # the pixel, and the means of the classes that are not hidden
    assert 2 < shown <= page.locator(".legend li, .empty li").count()
    page.locator("#map canvas").focus()
    page.keyboard.press("Enter")  # without a mouse too
    page.wait_for_selector("#here strong")
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("#trouble").is_hidden()


@pytest.mark.usefixtures("maplibre")
def test_the_heading_says_what_the_map_is_and_empty_classes_are_folded_away(chain: Path, page: Any):
    with rasterio.open(chain / "map.tif") as source:
        found, tags = set(np.unique(source.read(1)).tolist()), source.tags()
    classes = json.loads(tags["CLASSES"])
    with make_server(Views([ClassMap(chain / "map.tif")], None), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}")
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        assert page.locator("h1").inner_text().endswith(f" of {tags['SCENE']}")
        assert page.locator("h1").inner_text() in page.title()
        assert f"mapped by {tags['BUNDLE']}" in page.locator("#about").inner_text()
        for place, there in ((".legend", True), (".empty", False)):
            names = {name for each in page.locator(f"{place} li").all() if (name := each.text_content())}
            wanted = {land_class["name"] for land_class in classes if (land_class["value"] in found) == there}
            assert len(names) == len(wanted)
            assert all(any(name in line for line in names) for name in wanted)
        assert page.locator(".empty").is_visible() == (len(classes) > len(found - {255}))
        server.shutdown()


@pytest.mark.usefixtures("maplibre")
def test_the_page_says_when_a_file_goes_away_while_it_is_open(chain: Path, tmp_path: Path, browser: Any):
    (tmp_path / "map.tif").write_bytes((chain / "map.tif").read_bytes())
    views = Views([ClassMap(tmp_path / "map.tif")], None)
    page = browser.new_page()  # not the fixture: a tile that fails is an error in the console
    with make_server(views, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}")
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        assert page.locator("#pointed").inner_text().count(".") == 2
        (tmp_path / "map.tif").unlink()
        page.locator(".legend input").first.uncheck()  # asks for new tiles
        page.wait_for_selector("#trouble", state="visible", timeout=30_000)
        said = page.locator("#trouble").inner_text()
        assert said.startswith("a file behind this page cannot be read now")
        assert "map.tif" in said
        server.shutdown()
        server.server_close()
        page.locator("#map canvas").click(position={"x": 200, "y": 200})
        page.wait_for_function("document.getElementById('trouble').textContent.includes('does not answer')")
        assert "start bandloom view again" in page.locator("#trouble").inner_text()
    page.close()


def test_a_map_of_what_changed_is_a_map_too(chain: Path, other: Path, tmp_path: Path):
    scene, later = str(next((chain / "data" / "scenes").iterdir())), "later"
    job = ChangeJob(read_bundle(chain / "bundle"), (scene, later), tmp_path / "change.tif", PredictOptions())
    _, out = compare(job, (chain / "map.tif", other), tmp_path)
    with rasterio.open(chain / "map.tif") as first, rasterio.open(other) as second:
        changed = int((first.read(1) != second.read(1)).sum())
    found = ClassMap(out)
    assert {land_class.name: land_class.pixels for land_class in found.classes}["changed"] == changed > 0
    assert found.at(*_middle(found))["name"] in ("changed", "unchanged")  # type: ignore[index]
    command = predict_command(out, found.tags)
    assert command[3] == "--change"
    assert command[4:6] == [scene, later]


def _middle(found: ClassMap) -> tuple[float, float]:
    west, south, east, north = found.bounds
    return (west + east) / 2, (south + north) / 2


@pytest.mark.usefixtures("maplibre")
def test_one_code_of_two_classes_is_two_lines_of_the_legend(chain: Path, tmp_path: Path, browser: Any):
    with rasterio.open(chain / "map.tif") as source:
        codes, profile, classes = source.read(), source.profile, json.loads(source.tags()["CLASSES"])
    with rasterio.open(tmp_path / "other.tif", "w", **profile) as target:
        target.write(codes)
        target.update_tags(CLASSES=json.dumps([classes[0] | {"name": "another"}, *classes[1:]]))
    page = browser.new_page()  # not the fixture: the server ends while tiles are on their way
    with make_server(Views([ClassMap(chain / "map.tif"), ClassMap(tmp_path / "other.tif")], None), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}")
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        lines = page.locator(".legend li, .empty li").all_text_contents()
        assert len(lines) == len(classes) + 1
        one_sided = {line for line in lines if "none" in line}
        assert len(one_sided) == 2
        assert all(any(name in line for line in one_sided) for name in (classes[0]["name"], "another"))
        with page.expect_request(lambda request: "/map/1/" in request.url) as asked:
            page.locator(".legend input").last.uncheck()
        assert set(asked.value.url.partition("show=")[2].split(",")) == {
            str(land_class["value"]) for land_class in classes[1:]
        }
        page.close()
        server.shutdown()


@pytest.mark.usefixtures("maplibre")
def test_a_browser_that_cannot_draw_is_told_and_shows_the_classes(address: str, browser: Any):
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(address)
    page.wait_for_selector("#trouble", state="visible", timeout=30_000)
    assert page.locator("#trouble").inner_text().startswith("this browser draws no WebGL")
    assert page.locator(".legend li, .empty li").count() > 3
    page.close()


def test_maps_of_other_sizes_are_compared_and_it_is_said(chain: Path, tmp_path: Path):
    with rasterio.open(chain / "map.tif") as source:
        window = rasterio.windows.Window(0, 0, 50, 40)  # type: ignore[call-arg]
        codes, profile = source.read(window=window), source.profile | {"width": 50, "height": 40}
    profile |= {"tiled": False, "blockxsize": 50, "blockysize": 40}
    with rasterio.open(tmp_path / "small.tif", "w", **profile) as target:
        target.write(codes)
    record = Views([ClassMap(chain / "map.tif"), ClassMap(tmp_path / "small.tif")], None).record()
    assert "differ in size" in record["note"]
    assert sum(land_class["pixels"] for land_class in record["maps"][1]["classes"]) == (codes != 255).sum()


def test_bands_of_a_safe_folder_are_found_at_their_finest(tmp_path: Path):
    profile = {
        "driver": "GTiff",
        "width": 8,
        "height": 8,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32648",
        "transform": rasterio.Affine(10, 0, 600000, 0, -10, 1500000),
    }
    for name in ("R20m/T48QUE_B04_20m", "R10m/T48QUE_B04_10m", "R20m/T48QUE_B8A_20m", "QI/MSK_CLDPRB_20m"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as file:
            file.write(np.full((1, 8, 8), 2000, np.uint16))
    found = SceneBands(tmp_path)
    assert {name: Path(band.file).stem for name, band in found.bands.items()} == {
        "B04": "T48QUE_B04_10m",
        "B8A": "T48QUE_B8A_20m",
    }
    assert found.bounds[0] < found.bounds[2]


@pytest.mark.usefixtures("maplibre")
def test_the_page_is_accessible(address: str, page: Any):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page.goto(address)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    faults = [
        violation
        for violation in axe.Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert faults == []


@pytest.mark.usefixtures("maplibre")
@pytest.mark.slow
def test_a_page_to_send_needs_no_server(chain: Path, scene: Path, tmp_path: Path, page: Any):
    out = tmp_path / "map.html"
    assert run("view", chain / "map.tif", "--scene", scene, "--export", out) == 0
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if request.url.startswith("http") else None)
    page.goto(out.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    assert page.locator(".legend li, .empty li").count() > 3
    assert outside == []
    page.locator("#map canvas").click(position={"x": 400, "y": 450})
    page.wait_for_selector("#here strong")
    assert page.locator("#here strong").inner_text() in page.locator(".legend").inner_text()
    assert page.locator("#trouble").is_hidden()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none.tif"], "does not exist"),
        ([""], "is a folder; name the MAP.tif in it"),
        (["text.tif"], "cannot be read as a raster"),
        (["plain.tif"], "has no coordinate system"),
        (["map.tif", "--scene", "map.tif"], "holds no band of the map's sensor"),
        (["map.tif", "--compare", "far.tif"], "do not cover the same ground"),
        (["map.tif", "--scene", "B04.tif"], "does not cover the ground of"),
        (["map.tif", "--scene", "none.tif"], "does not exist"),
    ],
)
def test_bad_input_is_one_sentence(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words, sentence):
    with rasterio.open(chain / "map.tif") as source:
        codes, profile = source.read(), source.profile
    (tmp_path / "map.tif").write_bytes((chain / "map.tif").read_bytes())
    (tmp_path / "text.tif").write_text("no raster")
    with rasterio.open(tmp_path / "plain.tif", "w", **(profile | {"crs": None})) as target:
        target.write(codes)
    with rasterio.open(tmp_path / "far.tif", "w", **(profile | {"crs": "EPSG:32760"})) as target:
        target.write(codes)
    with rasterio.open(tmp_path / "B04.tif", "w", **(profile | {"crs": "EPSG:32760"})) as target:
        target.write(codes)
    arguments = [word if word.startswith("--") else tmp_path / word for word in words]
    assert run("view", *arguments, "--no-open", "--port", "0") == 2
    said = capsys.readouterr().err
    assert re.match(r"error: .*\.\n$", said)
    assert sentence in said


def test_a_port_in_use_is_said(chain: Path, address: str, capsys: pytest.CaptureFixture[str]):
    port = address.rpartition(":")[2]
    assert run("view", chain / "map.tif", "--no-open", "--port", port) == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_a_machine_without_npm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BandloomError, match="npm is not installed"):
        fetch(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()
