"""Building shards from JP2 against decoding the same JP2s and nothing else; one process each.

``BANDLOOM_FULL=1`` takes a whole granule (10980 px, about ten minutes) instead of a corner of one.
"""

import os
import tempfile
import time
from pathlib import Path

import rasterio
from rasterio.windows import Window

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from benchmarks.granule import SIDE_PX, write_granule
from benchmarks.harness import Figure


def run() -> list[Figure]:
    side_px = int(os.environ.get("BANDLOOM_SIDE_PX", SIDE_PX if os.environ.get("BANDLOOM_FULL") else 4320))
    with tempfile.TemporaryDirectory() as folder:
        product = write_granule(Path(folder), side_px)
        megapixels = side_px**2 * (4 + 6 / 4 + 3 / 36) / 1e6
        times: dict[str, list[float]] = {"decode": [], "build": []}
        for turn in range(3 if side_px < SIDE_PX else 1):  # in turns, so that a busy minute hits both
            began = time.perf_counter()
            for path in sorted(product.rglob("IMG_DATA/*_B??.jp2")):
                _decode(path)
            times["decode"].append(time.perf_counter() - began)
            began = time.perf_counter()
            build([str(product)], Path(folder, f"out{turn}"), BuildOptions())
            times["build"].append(time.perf_counter() - began)
    note = f"{side_px} x {side_px} px in JP2 tiles of the real sizes; plan, checksums, codec and index included"
    return [
        Figure(
            "build",
            megapixels / min(times["build"]),
            "Mpx/s",
            "decoding the same JP2s",
            megapixels / min(times["decode"]),
            ">= 0.9",
            note,
        )
    ]


def _decode(path: Path) -> None:
    """Read a band by rows of tiles, each once."""
    with rasterio.open(path) as raster:
        high = raster.block_shapes[0][0]
        for top in range(0, raster.height, high):
            rows = min(high, raster.height - top)
            raster.read(window=Window(0, top, raster.width, rows))  # pyright: ignore[reportCallIssue]
