"""Similar ground by click: the page shows what `bandloom similar` writes, of every kind of embeddings, anywhere."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from rasterio.warp import transform

from bandloom.embeddings.raster import pack
from bandloom.errors import SceneError
from bandloom.rasters.web_tiles import mercator_of
from bandloom.view.class_map import ClassMap
from bandloom.view.server import Views
from bandloom.view.similarity import KEPT, Similarity
from bandloom.view.tiles import window_of
from tests.bandloom.embeddings.features import CORNER, CRS, features_of_ground, write_features
from tests.view.command import run
from tests.view.serving import ask, served
from tests.view.test_page import maplibre  # noqa: F401

PLACE = (10, 20)  # row and column of the token that is clicked


def degrees(row: float, column: float, crs: str = CRS, corner: tuple[float, float] = CORNER) -> tuple[float, float]:
    (longitude,), (latitude,) = transform(
        crs, "EPSG:4326", [corner[0] + 60 * column + 31], [corner[1] - 60 * row - 29]
    )[:2]
    return longitude, latitude


@pytest.fixture(params=["plain", "int8", "int8 of 8 dimensions"])
def embeddings(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    plain = write_features(tmp_path / "plain.tif", features_of_ground())
    if request.param == "plain":
        return plain
    pack(plain, tmp_path / "packed.tif", None if request.param == "int8" else 8, "int8")
    return tmp_path / "packed.tif"


def test_a_click_maps_what_the_command_writes(embeddings: Path, tmp_path: Path):
    longitude, latitude = degrees(*PLACE)
    assert run("similar", embeddings, "--at", f"{longitude},{latitude}", "--out", tmp_path / "similar.tif") == 0
    with rasterio.open(tmp_path / "similar.tif") as file:
        expected = file.read(1)
    similarity = Similarity(embeddings)
    with served(Views([], None, similarity=similarity)) as address:
        near = json.loads(ask(address, f"/similar.json?lon={longitude}&lat={latitude}"))
        assert json.loads(ask(address, f"/similar.json?lon={longitude}&lat={latitude}")) == near
        assert json.loads(ask(address, "/similar.json?lon=0&lat=0")) is None
        assert json.loads(ask(address, "/similar.json?lon={}&lat={}".format(*degrees(4, 5)))) is None  # a hole
    assert near["name"] == f"{PLACE[0]}-{PLACE[1]}"
    assert near["share"] == pytest.approx((expected[np.isfinite(expected)] >= 0.9).mean())
    assert near["low"] == pytest.approx(np.nanpercentile(expected, 2), abs=1e-4)
    bounds = mercator_of(similarity.bounds)
    shown = window_of(tmp_path / "similar.tif", 1, bounds, (200, 200), rasterio.enums.Resampling.nearest, np.nan)
    for least in (-1.0, 0.5):
        picture = similarity.picture(near["name"], bounds, (200, 200), least)
        np.testing.assert_array_equal(picture[..., 3] > 0, np.nan_to_num(shown, nan=-2) >= least)
    brightest = np.nan_to_num(shown, nan=-2) >= near["high"]
    assert {tuple(colour) for colour in picture[brightest][:, :3].tolist()} == {(253, 231, 37)}  # viridis' upper end


def test_only_the_last_clicks_are_kept_and_a_forgotten_map_is_not_there(tmp_path: Path):
    similarity = Similarity(write_features(tmp_path / "plain.tif", features_of_ground()))
    first = similarity.near(*degrees(12, 0))
    for column in range(1, KEPT + 1):
        assert similarity.near(*degrees(12, column)) is not None
    assert len(list(similarity._folder.iterdir())) == KEPT
    with pytest.raises(LookupError):
        similarity.picture(first["name"], mercator_of(similarity.bounds), (8, 8), -1.0)


@pytest.mark.parametrize("epsg", [32760, 32601])
def test_a_click_on_either_side_of_the_antimeridian_maps_both(tmp_path: Path, epsg: int):
    (x, *_), (y, *_) = transform("EPSG:4326", f"EPSG:{epsg}", [180.0], [-17.0 if epsg > 32700 else 71.0])[:2]
    corner = (round(x) - 15 * 60, round(y) + 12 * 60)
    features = features_of_ground((24, 30))
    path = tmp_path / "over.tif"
    place = {"crs": f"EPSG:{epsg}", "transform": from_origin(*corner, 60, 60), "nodata": np.nan}
    with rasterio.open(path, "w", "GTiff", 30, 24, len(features), dtype="float32", **place) as file:
        file.write(features)
    similarity = Similarity(path)
    west, _, east, _ = similarity.bounds
    assert west < 180 < east < west + 0.2
    signs = set()
    for column in (2, 27):
        longitude, latitude = degrees(12, column, f"EPSG:{epsg}", corner)
        signs.add(longitude > 0)
        near = similarity.near(longitude, latitude)
        assert near["name"] == f"12-{column}"
        picture = similarity.picture(near["name"], mercator_of(similarity.bounds), (100, 100), -1.0)
        assert (picture[..., 3] > 0).mean() > 0.85
    assert signs == {True, False}


def test_what_is_no_embedding_or_lies_elsewhere_is_refused(chain: Path, tmp_path: Path, capsys: Any):
    with pytest.raises(SceneError, match="is no embedding"):
        Similarity(chain / "map.tif")
    plain = write_features(tmp_path / "plain.tif", features_of_ground())
    with pytest.raises(SceneError, match="do not cover the same ground"):
        Views([ClassMap(chain / "map.tif")], None, similarity=Similarity(plain))
    for words, said in (
        (("--embeddings", tmp_path / "none.tif"), "do not exist; bandloom embed"),
        (("--embeddings", plain, "--export", tmp_path / "page.html"), "answers clicks, which a page to send cannot"),
        ((), "name one"),
    ):
        assert run("view", *words, "--no-open") == 2
        assert said in capsys.readouterr().err


@pytest.mark.usefixtures("maplibre")
def test_a_click_on_a_page_without_a_map_shows_similar_ground(tmp_path: Path, page: Any):
    plain = write_features(tmp_path / "plain.tif", features_of_ground())
    with served(Views([], None, similarity=Similarity(plain))) as address:
        page.goto(address)
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        assert page.locator("h1").inner_text() == "What looks alike in plain.tif"
        with page.expect_request(lambda request: "/tiles/similar/" in request.url, timeout=60_000) as asked:
            page.locator("#map canvas").click(position={"x": 480, "y": 500})
        assert asked.value.url.endswith("show=-1")
        page.wait_for_function("document.getElementById('similar-said').textContent.includes('cosine of 0.9')")
        page.wait_for_timeout(800)
        shot = np.array(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))[100:800, 200:700]
        assert len(np.unique(shot.reshape(-1, 3), axis=0)) > 20  # colours of a ramp over the ground
        with page.expect_request(lambda request: "/tiles/similar/" in request.url and "show=-1" not in request.url):
            page.locator("#least").fill("60")
            page.locator("#least").dispatch_event("change")
        page.locator("#similar-on").uncheck()
        assert page.locator("#similar-shown").is_hidden()
        page.goto("about:blank")


@pytest.mark.usefixtures("maplibre")
def test_further_maps_are_layers_folded_by_name_and_the_pointer_names_classes(chain: Path, tmp_path: Path, page: Any):
    with rasterio.open(chain / "map.tif") as source:
        codes, profile, tags = source.read(), source.profile, source.tags()
    with rasterio.open(tmp_path / "other.tif", "w", **profile) as target:
        target.write(codes)
        target.update_tags(CLASSES=tags["CLASSES"])
    with served(Views([ClassMap(chain / "map.tif")], None, layers=[ClassMap(tmp_path / "other.tif")])) as address:
        page.goto(address)
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        names = page.locator(".layer > summary").all_inner_texts()
        assert [name.strip() for name in names] == [page.locator("h1").inner_text(), "other"]
        assert [layer.evaluate("each => each.open") for layer in page.locator(".layer").all()] == [True, False]
        with page.expect_request(lambda request: "/map/1/" in request.url, timeout=60_000):
            page.locator(".layer > summary input").last.check()
        page.locator("#map canvas").hover(position={"x": 470, "y": 440})
        page.wait_for_function("document.getElementById('pointed').textContent.includes(' · ')")
        named = page.locator("#pointed").inner_text().split(" · ")[0]
        assert named in {land_class["name"] for land_class in json.loads(tags["CLASSES"])}
        with page.expect_request(lambda request: request.url.partition("show=")[2].isdigit(), timeout=60_000) as lit:
            page.locator(".legend label").first.hover()  # one class lit alone
        first = page.locator(".legend input").first.get_attribute("value")
        assert lit.value.url.endswith(f"show={first}")
        alike = page.locator(".alike").first
        assert alike.is_visible() == bool(ClassMap(chain / "map.tif").alike())
        page.goto("about:blank")
