"""How long after ``bandloom view`` starts the first tile of a whole Sentinel-2 granule's map is there."""

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.export.predict.map_file import class_meaning, write_cog
from benchmarks.harness import Figure

SIDE_PX = 10_980  # of a granule at 10 m
PROMISE_S = 2.0
LABELS = LabelSet("eight", tuple(LabelClass(code, f"class {code}", f"#{code * 25:02x}8040") for code in range(1, 9)))
TILE = "/tiles/map/0/9/{x}/{y}.png"  # the zoom at which a granule fills a screen


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as place:
        write_granule_map(Path(place))
        began = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "bandloom.cli",
            "view",
            str(Path(place) / "map.tif"),
            "--no-open",
            "--port",
            "0",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
            try:
                address = _address(program)
                listening = time.perf_counter() - began
                first = first_tile_s(address)
            finally:
                program.terminate()
    note = f"a granule's map, {SIDE_PX} x {SIDE_PX} pixels; the program listened after {listening:.2f} s"
    return [Figure("view_first_tile", first, "s", "the promise", PROMISE_S, "<= 1", note)]


def write_granule_map(folder: Path) -> Path:
    """Write ``map.tif``: patches of 8 classes over a whole granule."""
    patches = np.random.default_rng(0).integers(1, 9, (SIDE_PX // 20, SIDE_PX // 20)).astype(np.uint8)
    codes = patches.repeat(20, 0).repeat(20, 1)[..., None]
    meaning = class_meaning(LABELS, CRS.from_epsg(32648), Affine(10, 0, 600000, 0, -10, 1500000), 255, {})
    write_cog(folder / "map.tif", codes, meaning, folder)
    return folder / "map.tif"


def first_tile_s(address: str) -> float:
    """Return the seconds from the page's first question to the first tile with something on it."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"{address}/record.json") as answer:
        west, south, east, north = json.load(answer)["maps"][0]["bounds"]
    x = int((np.mean([west, east]) + 180) / 360 * 2**9)
    y = int((1 - np.arcsinh(np.tan(np.radians(np.mean([south, north])))) / np.pi) / 2 * 2**9)
    with urllib.request.urlopen(address + TILE.format(x=x, y=y)) as answer:
        answer.read()
    return time.perf_counter() - began


def _address(program: subprocess.Popen[str]) -> str:
    for line in program.stdout or ():
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise RuntimeError("bandloom view did not start")
