"""Peak memory at the full width of a Sentinel-2 granule, 10980 px, and as its height doubles.

``BANDLOOM_FULL=1`` maps the whole granule (10980 x 10980 x 13, minutes) instead of two bands of it.
"""

import os
import tempfile
from pathlib import Path

from bandloom.export.bundle.tiling import Tiling
from benchmarks.harness import Figure
from benchmarks.process_peak import run_bandloom
from tests.export.stack_file import write_stack
from tests.export.tiny_model import tiny_contract, write_tiny_bundle

SIDE_PX = 10980
LIMIT_MIB = 2048


def run() -> list[Figure]:
    heights = (SIDE_PX // 2, SIDE_PX) if os.environ.get("BANDLOOM_FULL") else (600, 1200)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bundle = write_tiny_bundle(place / "bundle", tiny_contract(tiling=Tiling(192, 24, 24)))
        peaks = []
        for height in heights:
            scene = write_stack(place / "scene.tif", (height, SIDE_PX), block_px=512)
            options = ("--threads", 1, "--batch", 4)
            peaks.append(run_bandloom("predict", bundle, scene, "--out", place / f"map{height}.tif", *options).mib)
            scene.unlink()
    note = f"{SIDE_PX} px wide, {heights[1]} and {heights[0]} px high, 13 bands, 256 MB of raster cache"
    return [
        Figure("scene_rss growth", peaks[1], "MiB", "half the height", peaks[0], "<= 1.1", note),
        Figure("scene_rss limit", peaks[1], "MiB", "2 GiB", LIMIT_MIB, "<= 1", note),
    ]
