"""Peak memory of a build worker on a whole granule, 10980 x 10980 x 13, read in stripes.

``BANDLOOM_SIDE_PX`` takes a smaller one, to try the benchmark itself.
"""

import os
import tempfile
from pathlib import Path

from benchmarks.granule import SIDE_PX, write_granule
from benchmarks.harness import Figure
from benchmarks.process_peak import run_bandloom

LIMIT_MIB = 1.5e9 / 2**20


def run() -> list[Figure]:
    side_px = int(os.environ.get("BANDLOOM_SIDE_PX", SIDE_PX))
    with tempfile.TemporaryDirectory() as folder:
        product = write_granule(Path(folder), side_px)
        needed = run_bandloom("shards", "build", product, "--out", Path(folder, "out"))
    note = f"{side_px} x {side_px} px, 13 bands, one worker, {needed.seconds:.0f} s"
    return [Figure("build_rss", needed.mib, "MiB", "1.5 GB", LIMIT_MIB, "<= 1", note)]
