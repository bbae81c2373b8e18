"""The labelling page in a real browser: thirty points, closed and opened again half way."""

import io
import json
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from PIL import Image
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT

from bandloom.errors import SceneError
from bandloom.export.assess.score import assess_map
from bandloom.files.points_file import read_points_file
from bandloom.shards.labels.reading import LabelReading
from bandloom.view.class_map import ClassMap
from bandloom.view.labelling.server import CHIP_PX, LabelHandler, Labelling
from bandloom.view.labelling.session import KEYS, Session
from bandloom.view.scene_bands import SceneBands
from bandloom.view.server import listen
from tests.export.stack_file import write_stack
from tests.view.command import run

POINTS = 30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic scene, its labels as a map, and thirty points of it."""
    folder = tmp_path_factory.mktemp("labelling")
    assert run("shards", "synth", "--out", folder / "data", "--scenes", 1, "--size", 180) == 0
    classes = yaml.safe_load((folder / "data/label_set.yaml").read_text())["classes"]
    told = [
        {"value": land_class["code"], "name": land_class["name"], "colour": land_class["colour"]}
        for land_class in classes
    ]
    with rasterio.open(next((folder / "data/labels").iterdir())) as source:
        codes, profile = source.read(), source.profile | {"nodata": 255}
    with rasterio.open(folder / "map.tif", "w", **profile) as target:
        target.write(codes)
        target.update_tags(CLASSES=json.dumps(told))
    words = ("--total", POINTS, "--per-class", 2, "--seed", 3)
    assert run("assess", "sample", folder / "map.tif", *words, "--out", folder / "points.gpkg") == 0
    return folder


@contextmanager
def served(place: Path, points: Path) -> Iterator[str]:
    class_map = ClassMap(place / "map.tif")
    session = Session(read_points_file(points), class_map.classes)
    scene = SceneBands(next((place / "data/scenes").iterdir()), class_map.scene_bands)
    handler = type("Handler", (LabelHandler,), {"labelling": Labelling(session, class_map, scene)})
    with listen(handler, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def truth(place: Path, points: Path) -> list[str]:
    class_map = ClassMap(place / "map.tif")
    return [class_map.at(*at)["name"] for at in read_points_file(points).places.tolist()]  # type: ignore[index]


def press(page: Any, key: str, shows: int) -> None:
    page.keyboard.press(key)
    page.wait_for_selector(f"body[data-shown='{shows}']")


@pytest.mark.slow
def test_thirty_points_are_labelled_by_keys_closed_and_opened_half_way(place: Path, tmp_path: Path, page: Any):
    points = Path(shutil.copy(place / "points.gpkg", tmp_path))
    names, keys = (
        truth(place, points),
        {land_class.name: KEYS[i] for i, land_class in enumerate(ClassMap(place / "map.tif").classes)},
    )
    with served(place, points) as address:
        page.goto(address)
        for number in range(15):
            page.wait_for_selector(f"body[data-shown='{number}']")
            if number == 3:
                page.keyboard.press("u")
            if number == 4:
                page.keyboard.press("c")
                page.keyboard.type("uncertain edge 1")  # letters and digits that are keys elsewhere
                page.keyboard.press("Enter")
            press(page, keys[names[number]], number + 1)
            held = read_points_file(points).columns["class"]
            assert held[: number + 1] == names[: number + 1]
            assert not any(held[number + 1 :])
        wrong = next(key for name, key in keys.items() if name != names[15])
        press(page, wrong, 16)
        press(page, "z", 15)
        assert not read_points_file(points).columns["class"][15]
        page.goto("about:blank")
    with served(place, points) as address:
        page.goto(address)
        page.wait_for_selector("body[data-shown='15']")
        assert page.locator("#which").inner_text() == "Point 16 of 30"
        assert page.locator("#where").inner_text().startswith("15 labelled")
        press(page, "ArrowLeft", 14)
        assert page.locator("#classes [aria-pressed='true']").inner_text().endswith(names[14])
        press(page, "ArrowRight", 15)
        page.wait_for_selector("#spectrum circle")
        assert page.locator("#spectrum circle").count() == 13
        for number in range(15, 29):
            press(page, keys[names[number]], number + 1)
        page.locator(f"#classes button[value='{names[29]}']").click()
        page.wait_for_selector("#finished", state="visible")
        assert "bandloom assess score" in page.locator("#finished").inner_text()
        assert page.locator("#trouble").is_hidden()
        page.goto("about:blank")
    held = read_points_file(points).columns
    assert held["class"] == names
    assert [number for number, unsure in enumerate(held["unsure"]) if unsure] == [3]
    assert held["comment"][4] == "uncertain edge 1"
    assert assess_map(place / "map.tif", points, LabelReading()).overall.value == 1


def test_a_comment_is_kept_when_its_point_is_left_without_an_answer(place: Path, tmp_path: Path, page: Any):
    points = Path(shutil.copy(place / "points.gpkg", tmp_path))
    with served(place, points) as address:
        page.goto(address)
        page.wait_for_selector("body[data-shown='0']")
        page.keyboard.press("c")
        page.keyboard.type("under a cloud")
        page.keyboard.press("Enter")
        page.keyboard.press("u")
        press(page, "ArrowRight", 1)
        press(page, "ArrowLeft", 0)
        assert page.locator("#comment").input_value() == "under a cloud"
        page.goto("about:blank")
    held = read_points_file(points).columns
    assert (held["class"][0] or None, held["comment"][0], bool(held["unsure"][0])) == (None, "under a cloud", True)
    assert not any(held["comment"][1:])


def test_a_scene_of_other_ground_is_refused(place: Path, tmp_path: Path):
    class_map = ClassMap(place / "map.tif")
    scene = SceneBands(write_stack(tmp_path / "elsewhere.tif", (60, 60)), class_map.scene_bands)
    with pytest.raises(SceneError, match=r"elsewhere\.tif does not cover the ground of .*map\.tif"):
        Labelling(Session(read_points_file(place / "points.gpkg"), class_map.classes), class_map, scene)


def test_nothing_that_the_page_is_given_tells_the_maps_class(place: Path):
    with served(place, place / "points.gpkg") as address:
        record = json.loads(ask(address, "/session.json"))
    assert {answer["name"] for answer in record["answers"]} == {None}
    assert set(record) == {"file", "classes", "places", "answers", "map", "points", "title", "composites", "pixel_m"}
    assert set(record["classes"][0]) == {"key", "name", "colour"}


def test_the_middle_of_a_chip_is_the_point(place: Path):
    """The pixel of the scene at the point has the colour of the chip's middle."""
    class_map = ClassMap(place / "map.tif")
    scene = SceneBands(next((place / "data/scenes").iterdir()), class_map.scene_bands)
    points = read_points_file(place / "points.gpkg")
    with served(place, place / "points.gpkg") as address:
        for number in range(0, POINTS, 3):
            chip = np.array(Image.open(io.BytesIO(ask(address, f"/chip/{number}/true%20colour/300.png"))))
            bounds = Labelling(Session(points, class_map.classes), class_map, scene).bounds(number, 1500)
            spectrum = {each["band"]: each["dn"] for each in scene.spectrum(*points.places[number].tolist())}
            expected = []
            for band in ("B04", "B03", "B02"):
                with rasterio.open(scene.bands[band].file) as source:
                    grid = from_bounds(*bounds, 64, 64)
                    with WarpedVRT(source, crs="EPSG:3857", transform=grid, width=64, height=64, nodata=0) as view:
                        values = view.read(1)
                low, high = np.percentile(values[values > 0], (2, 80))
                expected.append(np.clip((spectrum[band] - low) / (high - low), 0, 1) * 255)
            middle = chip[CHIP_PX // 2, CHIP_PX // 2, :3]
            np.testing.assert_allclose(middle, expected, atol=1)


@pytest.mark.parametrize(
    ("path", "content", "kind", "status"),
    [
        ("/answer", b'{"number": 0, "name": "lava", "unsure": false, "comment": ""}', "application/json", 404),
        ("/answer", b'{"number": 99, "name": null, "unsure": false, "comment": ""}', "application/json", 404),
        ("/answer", b"{}", "application/json", 404),
        ("/answer", b"no json", "application/json", 400),
        ("/answer", b'"' + b"a" * 20_000 + b'"', "application/json", 400),
        ("/answer", b'{"number": 0, "name": null, "unsure": false, "comment": ""}', "text/plain", 400),
        ("/elsewhere", b"{}", "application/json", 404),
        ("/chip/0/true%20colour/0.png", None, "", 404),
        ("/chip/0/none/300.png", None, "", 404),
        ("/chip/99/true%20colour/300.png", None, "", 404),
        ("/spectrum/99.json", None, "", 404),
    ],
)
def test_what_cannot_be_answered_is_refused_and_nothing_is_written(place: Path, path, content, kind, status):
    before = (place / "points.gpkg").read_bytes()
    with served(place, place / "points.gpkg") as address:
        assert status_of(address, path, content, {"Content-Type": kind} if kind else {}) == status
    assert (place / "points.gpkg").read_bytes() == before


def test_a_page_of_another_site_is_not_answered(place: Path):
    with served(place, place / "points.gpkg") as address:
        assert status_of(address, "/session.json", None, {"Host": "evil.example"}) == 400
        assert status_of(address, "/session.json", None, {}) == 200


def status_of(address: str, path: str, content: bytes | None, headers: dict[str, str]) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, content, headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def ask(address: str, path: str) -> bytes:
    with urllib.request.urlopen(address + path) as answer:
        return answer.read()


def test_labelling_without_a_scene_or_with_two_maps_is_refused(place: Path, capsys: pytest.CaptureFixture[str]):
    assert run("view", place / "map.tif", "--label", place / "points.gpkg", "--no-open") == 2
    assert "name it with --scene" in capsys.readouterr().err
    words = ("--label", place / "points.gpkg", "--compare", place / "map.tif", "--no-open")
    assert run("view", place / "map.tif", *words) == 2
    assert "--label takes one map and goes without --compare" in capsys.readouterr().err


@pytest.mark.usefixtures("page")
def test_the_page_is_accessible_and_fits_a_narrow_screen(place: Path, page: Any):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    with served(place, place / "points.gpkg") as address:
        page.goto(address)
        page.wait_for_selector("#spectrum circle")
        found = axe.Axe().run(page).response["violations"]
        page.set_viewport_size({"width": 380, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.goto("about:blank")
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
