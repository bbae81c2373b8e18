"""The plugin in a real QGIS without a window: its results are the command's own bytes.

QGIS is looked for as ``import qgis`` of ``/usr/bin/python3`` (Debian's package ``qgis``), or as what
``BANDLOOM_QGIS_PYTHON`` names: a Python that has it, or a script that sets its environment and starts one.
"""

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from bandloom.export.qgis.plugin.verbs import VERBS
from bandloom.export.qgis.plugin_zip import write_plugin
from bandloom.sensors import get_sensor
from tests.export.maps.maps import codes_of_a_map, write_map
from tests.export.products.test_zones import write_zones_file
from tests.export.stack_file import write_stack
from tests.export.tiny_model import LABELS, tiny_contract, write_tiny_bundle
from tests.shards.stac_catalogue import CORNER, Catalogue, write_static
from tests.view.command import run

pytestmark = [pytest.mark.slow]
SCRIPT = Path(__file__).with_name("in_qgis.py")
ROOT = Path(__file__).parents[4]


def qgis_python() -> list[str]:
    """Return the words that start QGIS's Python, or skip."""
    words = shlex.split(os.environ.get("BANDLOOM_QGIS_PYTHON", "/usr/bin/python3"))
    if shutil.which(words[0]):
        asked = subprocess.run([*words, "-c", "import qgis.core"], env=plain(), capture_output=True, check=False)
        if asked.returncode == 0:
            return words
    pytest.skip(f"{words[0]} has no qgis; apt install qgis, or name a Python by BANDLOOM_QGIS_PYTHON")


def plain() -> dict[str, str]:
    """Return the environment without this test's own Python."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | {
        "QT_QPA_PLATFORM": "offscreen"
    }


@pytest.fixture(name="qgis")
def in_qgis(tmp_path):
    """Return a function that runs algorithms in one QGIS and returns what came of each."""
    words = qgis_python()
    command = tmp_path / "bin" / "bandloom"
    command.parent.mkdir()
    command.write_text(
        f"#!/bin/sh\nunset LD_LIBRARY_PATH\nexport PYTHONPATH={shlex.quote(str(ROOT))}\n"
        f'exec {shlex.quote(sys.executable)} -m bandloom.cli "$@"\n'
    )
    command.chmod(0o755)
    write_plugin(tmp_path / "plugin.zip")

    def ran(runs):
        task = {
            "zip": str(tmp_path / "plugin.zip"),
            "plugins": str(tmp_path / "plugins"),
            "command": str(command),
            "result": str(tmp_path / "result.json"),
            "runs": runs,
        }
        (tmp_path / "task.json").write_text(json.dumps(task))
        environment = plain() | {"XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path)}
        done = subprocess.run(
            [*words, str(SCRIPT), str(tmp_path / "task.json")], env=environment, capture_output=True, text=True
        )
        assert (tmp_path / "result.json").is_file(), done.stdout + done.stderr
        return json.loads((tmp_path / "result.json").read_text())

    return ran


def asked(verb, **parameters):
    return {"algorithm": f"bandloom:{verb}", "parameters": {k: str(v) for k, v in parameters.items()}}


def test_every_algorithm_gives_what_the_command_gives(qgis, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny.bundle")
    scene = write_stack(tmp_path / "scene.tif", (180, 150))
    with rasterio.open(scene) as file:
        left, bottom, right, top = file.bounds
    half = f"{left},{(left + right) / 2},{bottom},{top} [EPSG:32647]"
    classes = write_map(tmp_path / "classes.tif", codes_of_a_map())
    zones = write_zones_file(tmp_path / "zones.geojson")
    out = tmp_path / "out"
    out.mkdir()
    made, part, fgb, points, areas = (
        out / name for name in ("map.tif", "part.tif", "polygons.fgb", "points.gpkg", "areas.gpkg")
    )
    got = qgis(
        [
            asked("predict", BUNDLE=bundle, SCENE=scene, CONFIDENCE=True, OUT=made, POLYGONS=out / "of-map.gpkg")
            | {"show": [str(made), str(out / "of-map.gpkg")]},
            asked("predict", BUNDLE=bundle, SCENE=scene, EXTENT=half, OUT=part),
            asked("polygons", MAP=classes, LEAST_HA=0.5, OUT=fgb),
            asked("assess_sample", MAP=classes, PER_CLASS=12, SEED=3, OUT=points),
            asked("zones", MAP=classes, ZONES=zones, NAME="name", OUT=areas),
            asked("polygons", MAP=classes, OUT=fgb),
            asked("polygons", MAP=tmp_path / "absent.tif", OUT=out / "none.gpkg"),
        ]
    )
    assert got["available"]
    assert got["algorithms"] == {
        f"bandloom:{verb.name}": [parameter.name for parameter in verb.parameters] for verb in VERBS
    }
    first, *_, again, absent = got["runs"]
    assert not [one["error"] for one in got["runs"][:5] if "error" in one]
    assert first["given"]["OUT"] == str(made)
    palette = [[land_class.name, land_class.colour.lower()] for land_class in LABELS.classes]
    assert first["styles"] == {str(made): palette, str(out / "of-map.gpkg"): palette}
    assert (out / "map.confidence.tif").is_file()
    assert again["error"] == f"the output {fgb} exists already; choose another name, or remove it first."
    assert "absent.tif" in absent["error"]
    assert got["without"][0] is False
    assert "is not found; install it" in got["without"][1]
    assert got["unloaded"]
    with rasterio.open(made) as whole_map, rasterio.open(part) as half_map:
        assert abs(half_map.width - whole_map.width / 2) <= 6
        np.testing.assert_array_equal(half_map.shape[0], whole_map.shape[0])
    same = {path: path.read_bytes() for path in (made, fgb)}
    rows = table_of(points), table_of(areas)
    out.rename(tmp_path / "of-qgis")  # maps carry the command that made them, with its paths
    out.mkdir()
    words = [
        ("predict", bundle, scene, "--confidence", "--threads", "0", "--out", made, "--polygons", out / "of-map.gpkg"),
        ("polygons", classes, "--least-ha", "0.5", "--smooth", "1.0", "--out", fgb),
        ("assess", "sample", classes, "--per-class", "12", "--seed", "3", "--out", points),
        ("zones", classes, zones, "--name", "name", "--out", areas),
    ]
    for line in words:
        assert run(*line) == 0
    assert {path: path.read_bytes() for path in (made, fgb)} == same
    assert (table_of(points), table_of(areas)) == rows


def table_of(path):
    pyogrio = pytest.importorskip("pyogrio")
    meta, _, geometry, values = pyogrio.raw.read(path)
    return [list(meta["fields"]), meta["crs"], [bytes(one) for one in geometry], [list(map(str, v)) for v in values]]


def test_points_are_scored_and_a_cancelled_map_leaves_no_process_and_no_map(qgis, tmp_path):
    classes = write_map(tmp_path / "classes.tif", codes_of_a_map())
    assert run("assess", "sample", classes, "--per-class", "10", "--out", tmp_path / "points.csv") == 0
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["class"] = row["stratum"] if number % 5 else "water"
    with (tmp_path / "labelled.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    bundle = write_tiny_bundle(tmp_path / "tiny.bundle")
    scene = write_stack(tmp_path / "scene.tif", (2400, 2400))
    stopped = asked("predict", BUNDLE=bundle, SCENE=scene, OUT=tmp_path / "map.tif")
    got = qgis(
        [
            asked("assess_score", MAP=classes, POINTS=tmp_path / "labelled.csv", OUT=tmp_path / "score.json"),
            stopped | {"cancel_when": f"{tmp_path}/.map.tif*"},
        ]
    )
    score, cancelled = got["runs"]
    assert "error" not in score, score
    expected = tmp_path / "expected.json"
    assert run("assess", "score", classes, tmp_path / "labelled.csv", "--out", expected) == 0
    told, plainly = (json.loads(path.read_text()) for path in (tmp_path / "score.json", expected))
    assert told == plainly
    assert told["methods"] in score["given"]["SAID"]
    assert "stopped: bandloom was ended before it was finished" in cancelled["error"]
    assert not (tmp_path / "map.tif").exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "map.tif") not in running
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif") == 0  # and the same command goes on


def test_an_extent_and_a_time_become_one_map_which_is_opened_in_its_colours(qgis, tmp_path):
    pytest.importorskip("pystac_client")
    bundle = write_tiny_bundle(tmp_path / "tiny.bundle", tiny_contract(get_sensor("sentinel2-l2a")))
    server = Catalogue(tmp_path)
    server.server_close()
    items = [
        server.item(name, cloud, (CORNER[0] + east_m, CORNER[1]), side_m=1200)
        for name, cloud, east_m in (("west", 5.0, 0), ("east", 1.0, 1080))
    ]
    path = write_static(tmp_path, items, href=lambda href: str(tmp_path / href.partition("?")[0].rpartition("/")[2]))
    (west, east), (south, north) = transform(
        "EPSG:32633", "EPSG:4326", [CORNER[0] + 300, CORNER[0] + 1900], [CORNER[1] - 900, CORNER[1] - 300]
    )[:2]
    extent = f"{west:.6f},{east:.6f},{south:.6f},{north:.6f} [EPSG:4326]"
    out = tmp_path / "place"
    task = asked("map", EXTENT=extent, DATE="2023-06-01/2023-06-30", BUNDLE=bundle, API=path, OUT=out)
    mosaic = str(out / "mosaic.tif")
    got = qgis([task | {"draw": [mosaic]}, asked("map", **task["parameters"] | {"DATE": "2023-13-01"})])
    made, wrong = got["runs"]
    assert made["opens"] == {mosaic: True}  # one map and not its tiles
    assert made["styles"][mosaic] == [[land_class.name, land_class.colour.lower()] for land_class in LABELS.classes]
    assert any("2 maps in one" in line for line in made["told"])
    assert wrong["error"].startswith("--date '2023-13-01' is not understood; write the first and the last day")
    bbox = f"{west:.6f},{south:.6f},{east:.6f},{north:.6f}"
    plain_out = tmp_path / "plain"
    words = ["map", "--bbox", bbox, "--date", "2023-06-01/2023-06-30", "--bundle", bundle, "--api", path, "--no-page"]
    assert run(*words, "--out", plain_out) == 0
    assert (out / "areas.csv").read_text() == (plain_out / "areas.csv").read_text()
    assert (out / "mosaic.html").is_file()
