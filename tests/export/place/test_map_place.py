"""``bandloom map`` on a catalogue of this machine: the same maps, polygons and areas as its steps give one by one."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from bandloom.export.place.map_place import _heard_out
from bandloom.run_state.pulse import StopRequested, heard_by
from bandloom.sensors import get_sensor
from tests.export.tiny_model import tiny_contract, write_tiny_bundle
from tests.shards.stac_catalogue import CORNER, Catalogue, serving, write_static
from tests.view.command import run

pytest.importorskip("pystac_client")
pytest.importorskip("shapely")
DATE = "2023-06-01/2023-06-30"
TILE_M, STEP_M = 1200, 1080  # two neighbouring tiles overlap, as Sentinel-2's do


@pytest.fixture(name="bundle", scope="module")
def a_bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tiny_contract(get_sensor("sentinel2-l2a")))


@pytest.fixture(name="catalogue", scope="module")
def a_catalogue(tmp_path_factory):
    with serving(Catalogue(tmp_path_factory.mktemp("served"))) as server:
        next_tile = (CORNER[0] + STEP_M, CORNER[1])
        server.items = [
            server.item("fair", 20.0, side_m=TILE_M),
            server.item("cloudy", 80.0, day="2023-06-15", side_m=TILE_M),
            server.item("next-fair", 10.0, next_tile, side_m=TILE_M),
        ]
        yield server


def box(west_m, south_m, east_m, north_m):
    """Return a box in degrees between two corners, in metres from the first tile's upper-left corner."""
    xs, ys = [CORNER[0] + west_m, CORNER[0] + east_m], [CORNER[1] - south_m, CORNER[1] - north_m]
    (west, east), (south, north) = transform("EPSG:32633", "EPSG:4326", xs, ys)[:2]
    return f"{west:.6f},{south:.6f},{east:.6f},{north:.6f}"


SMALL, WIDE = box(300, 900, 900, 300), box(300, 900, 1900, 300)


def words(catalogue, bundle, out, bbox=SMALL, *more):
    return ["map", "--bbox", bbox, "--date", DATE, "--bundle", bundle, "--api", catalogue.url, "--out", out, *more]


def test_one_command_gives_what_its_steps_give_one_by_one(catalogue, bundle, tmp_path, capsys):
    out = tmp_path / "place"
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 0
    said = capsys.readouterr().out
    assert "the least cloudy of 2 items that cover the whole box:\n  S2A_fair  2023-06-05  20.0 % cloud" in said
    shown = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    assert shown == sorted(
        [f"S2A_fair.{end}" for end in ("tif", "gpkg", "qml", "stac.json")]
        + ["areas.csv", "box.geojson", "made.json", "request.json", "scenes"]
    )
    scene = out / "scenes" / "S2A_fair"
    assert run("predict", bundle, scene, "--bbox", SMALL, "--out", tmp_path / "map.tif") == 0
    assert run("zones", tmp_path / "map.tif", out / "box.geojson", "--out", tmp_path / "zones.csv") == 0
    with rasterio.open(out / "S2A_fair.tif") as made, rasterio.open(tmp_path / "map.tif") as expected:
        np.testing.assert_array_equal(made.read(), expected.read())
        assert made.shape[0] <= 78  # the box and not the tile
    (zone,) = csv.DictReader((tmp_path / "zones.csv").read_text().splitlines())
    rows = list(csv.DictReader((out / "areas.csv").read_text().splitlines()))
    assert {row["map"] for row in rows} == {"S2A_fair"}
    assert {row["day"] for row in rows} == {"2023-06-05"}
    for row in rows:
        assert row["hectares"] == zone[f"{row['class']}_ha"]
        assert (row["mapped_ha"], row["box_ha"]) == (zone["mapped_ha"], zone["zone_ha"])
    assert sum(float(row["hectares"]) for row in rows) == pytest.approx(36, rel=0.02)
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 0
    assert "S2A_fair.tif: there already, left alone" in capsys.readouterr().out


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(catalogue, bundle, tmp_path, capsys):
    assert run(*words(catalogue, bundle, tmp_path / "place", SMALL, "--dry-run")) == 0
    said = capsys.readouterr().out
    assert "S2A_fair  2023-06-05  20.0 % cloud" in said
    assert "to fetch: 0.00 GB; " in said
    assert not (tmp_path / "place").exists()


def test_several_tiles_become_one_mosaic_whose_ground_is_counted_once(catalogue, bundle, tmp_path, capsys):
    out = tmp_path / "place"
    assert run(*words(catalogue, bundle, out, WIDE, "--no-page", "--confidence")) == 0
    said = capsys.readouterr().out
    assert "no item covers the box alone; 2 of 2023-06-05 do together" in said
    assert "mosaic.tif: 2 maps in one, in EPSG:32633; where maps overlap, a pixel is of the first one" in said
    with rasterio.open(out / "S2A_next-fair.tif") as clear, rasterio.open(out / "S2A_fair.tif") as other:
        with rasterio.open(out / "mosaic.tif") as mosaic:
            codes, expected = mosaic.read(1), np.full(mosaic.shape, 255, np.uint8)
            for one in (other, clear):  # the clearer one last, over the other
                column, row = (round(place) for place in ~mosaic.transform * (one.transform.c, one.transform.f))
                expected[row : row + one.height, column : column + one.width] = one.read(1)
        np.testing.assert_array_equal(codes, expected)
        assert clear.width + other.width > mosaic.width
    rows = list(csv.DictReader((out / "areas.csv").read_text().splitlines()))
    assert {(row["map"], row["day"]) for row in rows} == {("mosaic", "2023-06-05")}
    assert sum(float(row["hectares"]) for row in rows) == pytest.approx(float(rows[0]["mapped_ha"]), abs=1e-3)
    assert float(rows[0]["mapped_ha"]) == pytest.approx(float(rows[0]["box_ha"]), rel=0.01)
    assert run("zones", out / "mosaic.tif", out / "box.geojson", "--out", tmp_path / "zones.csv") == 0
    (zone,) = csv.DictReader((tmp_path / "zones.csv").read_text().splitlines())
    for row in rows:
        assert row["hectares"] == zone[f"{row['class']}_ha"]
    assert (out / "mosaic.gpkg").is_file()
    assert (out / "mosaic.confidence.tif").is_file()
    assert not (out / "S2A_fair.gpkg").exists()
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(*words(catalogue, bundle, out, WIDE, "--no-page", "--confidence")) == 0
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.slow
def test_tiles_of_two_zones_become_one_map(bundle, tmp_path, capsys):
    """Around 18 degrees east, where zones 33 and 34 meet."""
    (x,), (y,) = transform("EPSG:4326", "EPSG:32633", [17.998], [45.001])[:2]
    west_corner = (round(x / 60) * 60 - 600, round(y / 60) * 60 + 300)
    (x,), (y,) = transform("EPSG:4326", "EPSG:32634", [18.0], [45.003])[:2]
    east_corner = (round(x / 60) * 60 - 300, round(y / 60) * 60 + 300)
    server = Catalogue(tmp_path)
    server.server_close()
    items = [
        server.item("west", 5.0, west_corner, side_m=TILE_M),
        server.item("east", 1.0, east_corner, side_m=TILE_M, crs="EPSG:32634"),
    ]
    path = write_static(tmp_path, items, href=lambda href: str(tmp_path / href.partition("?")[0].rpartition("/")[2]))
    bbox = "17.993,44.997,18.007,45.001"
    out = tmp_path / "place"
    typed = ["map", "--bbox", bbox, "--date", DATE, "--bundle", bundle, "--api", path, "--out", out]
    assert run(*typed) == 0
    said = capsys.readouterr().out
    assert "1 of them lie on another grid and were brought to it by the nearest pixel" in said
    rows = list(csv.DictReader((out / "areas.csv").read_text().splitlines()))
    assert sum(float(row["hectares"]) for row in rows) == pytest.approx(float(rows[0]["box_ha"]), rel=0.01)
    assert "S2A_east" in (out / "mosaic.html").read_text()


def test_a_static_catalogue_gives_the_map_that_its_items_give_by_an_api(catalogue, bundle, tmp_path, capsys):
    path = write_static(tmp_path, catalogue.items, href=lambda href: href)
    assert run(*words(catalogue, bundle, tmp_path / "by-api", SMALL, "--no-page")) == 0
    typed = words(catalogue, bundle, tmp_path / "place", SMALL, "--no-page")
    typed[typed.index("--api") + 1] = path
    assert run(*typed) == 0
    assert "the least cloudy of 2 items that cover the whole box" in capsys.readouterr().out
    for name in ("areas.csv", "box.geojson"):
        assert (tmp_path / "place" / name).read_text() == (tmp_path / "by-api" / name).read_text()
    with (
        rasterio.open(tmp_path / "place/S2A_fair.tif") as one,
        rasterio.open(tmp_path / "by-api/S2A_fair.tif") as other,
    ):
        np.testing.assert_array_equal(one.read(), other.read())
    typed[typed.index("--api") + 1] = tmp_path / "absent.json"
    typed[typed.index("--out") + 1] = tmp_path / "none"
    assert run(*typed) == 2
    assert "there is no catalogue at" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--bbox": box(300, 900, 960, 300)}, "was begun for --bbox"),
        ({"--date": "2023-06-01/2023-06-29"}, "was begun for --date 2023-06-01/2023-06-30"),
        ({"--max-cloud": "50"}, "was begun for --max-cloud 100"),
        ({"--bundle": "other"}, "was begun for another model"),
        ({"--date": "2023-06-31"}, "write the first and the last day"),
        ({"--date": "2023-06-30/2023-06-01"}, "write the first and the last day"),
        ({"--bbox": "1,2,3"}, "write west,south,east,north"),
    ],
)
def test_what_was_begun_for_something_else_is_refused(catalogue, bundle, tmp_path, capsys, change, said):
    other = write_tiny_bundle(tmp_path / "other", tiny_contract(get_sensor("sentinel2-l2a")), seed=5)
    out = tmp_path / "place"
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    typed = words(catalogue, bundle, out, SMALL, "--no-page")
    for flag, value in change.items():
        typed = [*typed, flag, value] if flag not in typed else typed
        typed[typed.index(flag) + 1] = other if value == "other" else value
    assert run(*typed) == 2
    assert said in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_what_somebody_else_put_there_and_boxes_nobody_covers_are_refused(catalogue, bundle, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert run(*words(catalogue, bundle, tmp_path / "mine")) == 2
    assert "holds other things" in capsys.readouterr().err
    assert run(*words(catalogue, bundle, tmp_path / "place", box(300, 900, 4000, 300))) == 2
    assert "of the box; name a longer --date" in capsys.readouterr().err
    assert run(*words(catalogue, bundle, tmp_path / "place", "1,2,3,4")) == 2
    assert "has no item of 'sentinel-2-l2a' there and then" in capsys.readouterr().err
    assert not (tmp_path / "place").exists()
    out = tmp_path / "made"
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 0
    (out / "areas.csv").unlink()
    (out / "S2A_fair.gpkg").unlink()
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 0
    record = json.loads((out / "made.json").read_text())
    (out / "made.json").write_text(json.dumps(record | {"areas.csv": {"S2A_fair.tif": "another"}}))
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 2
    assert "areas.csv is there already, and not made of these maps" in capsys.readouterr().err


def test_a_bundle_whose_bands_the_catalogue_lacks_is_refused_before_anything_is_fetched(catalogue, tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "l1c")
    asked = len(catalogue.asked)
    more = ("--collection", "sentinel-2-l2a")
    assert run(*words(catalogue, bundle, tmp_path / "place", SMALL, *more)) == 2
    assert "has no asset for B10" in capsys.readouterr().err
    assert not any("/files/" in str(one) for one in catalogue.asked[asked:])
    classifier = write_tiny_bundle(tmp_path / "classifier", tiny_contract(task="classify"))
    assert run(*words(catalogue, classifier, tmp_path / "place")) == 2
    assert "does not map classes of one date" in capsys.readouterr().err


def test_a_fetch_that_broke_goes_on_with_the_items_it_began_with(catalogue, bundle, tmp_path, capsys):
    out = tmp_path / "place"
    catalogue.cut["fair_B05.tif"] = 100
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 2
    assert "run the same command again" in capsys.readouterr().err
    catalogue.items.append(clearer := catalogue.item("clearer-by-now", 0.0, side_m=TILE_M))
    try:
        assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 0
    finally:
        catalogue.items.remove(clearer)
    assert "chosen when this folder was begun" in capsys.readouterr().out
    assert [path.name for path in (out / "scenes").iterdir()] == ["S2A_fair"]
    asked = len(catalogue.asked)
    assert run(*words(catalogue, bundle, out, SMALL, "--no-page")) == 0
    assert len(catalogue.asked) == asked  # a finished folder asks nobody


@pytest.mark.slow
def test_a_run_that_is_stopped_at_any_moment_ends_within_20_s_and_goes_on_to_the_same_results(
    catalogue, bundle, tmp_path
):
    expected = tmp_path / "expected"
    assert run(*words(catalogue, bundle, expected, WIDE)) == 0
    out, stopped, wait_s = tmp_path / "place", 0, 0.8
    for _ in range(30):
        typed = [str(word) for word in words(catalogue, bundle, out, WIDE)]
        process = subprocess.Popen([sys.executable, "-m", "bandloom.cli", *typed], env=os.environ)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            process.wait(20)
            assert time.monotonic() - began < 20
            stopped += 1
            wait_s = max(wait_s + 0.7, 1.2 * wait_s)  # a busy machine gets there too
            continue
        assert process.returncode == 0
        break
    assert process.returncode == 0
    assert stopped >= 3
    for name in ("S2A_fair", "S2A_next-fair", "mosaic"):
        with rasterio.open(out / f"{name}.tif") as one, rasterio.open(expected / f"{name}.tif") as other:
            np.testing.assert_array_equal(one.read(), other.read())
        text = (out / f"{name}.html").read_text()
        assert all(shown in text for shown in ("maplibre", '"name": "water"', name))
        assert '"scene/true colour": "data:image/png' in text
    assert (out / "areas.csv").read_text() == (expected / "areas.csv").read_text()
    assert {path.name for path in out.iterdir() if path.suffix != ".lock"} >= {path.name for path in expected.iterdir()}


class Stopping:
    """Asks for a stop at the third beat."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def hear(self, stage: str) -> None:
        self.heard.append(stage)
        if len(self.heard) == 3:
            raise StopRequested

    speak = hear


def test_a_stop_while_the_page_is_written_ends_its_process_too():
    listener = Stopping()
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    with heard_by(listener), subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as child:
        with pytest.raises(StopRequested):
            _heard_out(child)
        assert child.wait(20) == -signal.SIGTERM
    assert listener.heard == ["writing the page"] * 3


@pytest.mark.slow
def test_the_process_that_writes_the_page_ends_with_a_map_that_is_stopped(catalogue, bundle, tmp_path):
    out = tmp_path / "place"
    typed = [str(word) for word in words(catalogue, bundle, out)]
    with subprocess.Popen([sys.executable, "-m", "bandloom.cli", *typed], env=os.environ) as process:
        child = None
        while child is None:
            assert process.poll() is None
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            child = next((Path("/proc", one) for one in children if "view" in commands_of(one)), None)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    for _ in range(400):
        if not child.exists():
            break
        time.sleep(0.05)
    assert not child.exists()
    assert run(*words(catalogue, bundle, out)) == 0
    assert (out / "S2A_fair.html").is_file()


def commands_of(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return []


@pytest.mark.drill
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_full_is_one_sentence_and_the_same_command_goes_on_with_room(catalogue, bundle, tmp_path, capfd):
    """Several scenes, their mosaic, polygons and areas, on a disk that takes 5 to 95 % of them."""
    roomy, disk = tmp_path / "roomy", tmp_path / "disk"
    disk.mkdir()
    assert run(*words(catalogue, bundle, roomy, WIDE, "--confidence", "--no-page")) == 0
    sizes = {path.relative_to(roomy): path.stat().st_size for path in roomy.rglob("*") if path.is_file()}
    for share in (0.05, 0.4, 0.7, 0.95):
        size = int(share * sum(sizes.values())) // 4096 * 4096
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False).returncode:
            pytest.skip("tmpfs cannot be mounted here")
        try:
            capfd.readouterr()
            assert run(*words(catalogue, bundle, disk / "place", WIDE, "--confidence", "--no-page")) == 2
            said = capfd.readouterr().err.strip().splitlines()[-1]
            assert said.count("the disk is full while writing") == 1, said
            assert str(disk / "place") in said
            subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
            assert run(*words(catalogue, bundle, disk / "place", WIDE, "--confidence", "--no-page")) == 0
            for name in ("mosaic.tif", "mosaic.confidence.tif"):
                with rasterio.open(disk / "place" / name) as made, rasterio.open(roomy / name) as expected:
                    np.testing.assert_array_equal(made.read(), expected.read())
            assert (disk / "place" / "areas.csv").read_text() == (roomy / "areas.csv").read_text()
            made = {path.relative_to(disk / "place") for path in (disk / "place").rglob("*") if path.is_file()}
            assert {name for name in made ^ set(sizes) if not name.name.startswith(".")} == set()
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
