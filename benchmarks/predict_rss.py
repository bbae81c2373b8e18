"""Peak memory of ``bandloom predict`` when the scene gets twice as high."""

import tempfile
from pathlib import Path

from bandloom.export.bundle.tiling import Tiling
from benchmarks.harness import Figure
from benchmarks.process_peak import run_bandloom
from tests.export.stack_file import write_stack
from tests.export.tiny_model import tiny_contract, write_tiny_bundle

WIDTH_PX, HEIGHT_PX = 2048, 1536


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bundle = write_tiny_bundle(place / "bundle", tiny_contract(tiling=Tiling(192, 24, 24)))
        peaks = []
        for height in (HEIGHT_PX, 2 * HEIGHT_PX):
            scene = write_stack(place / f"{height}.tif", (height, WIDTH_PX))
            options = ("--cache-mb", 64, "--threads", 1, "--batch", 4)
            needed = run_bandloom("predict", bundle, scene, "--out", place / f"map{height}.tif", *options)
            peaks.append(needed.mib)
    note = f"{WIDTH_PX} px wide, {2 * HEIGHT_PX} against {HEIGHT_PX} px high, 13 bands; a tiny engine"
    return [Figure("predict_rss", peaks[1], "MiB", "half the height", peaks[0], "<= 1.1", note)]
