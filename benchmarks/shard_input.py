"""Shards for the shard benchmarks: real L1C scenes where they lie beside the checkout, else synthetic ones."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from shards.build import build
from shards.plan import BuildOptions
from shards.shard_set import ShardSet
from shards.synth.write import write_scenes

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL_L1C = ("lulc_seg/*/S2L1C.tif", "flood_seg/*/S2Hand.tif")


@contextlib.contextmanager
def shards_of(side_px: int, codec: str = "default", scenes: int = 8) -> Iterator[tuple[ShardSet, str]]:
    """Yield shards of whole samples (no padding) and a word on where they come from."""
    found = [str(path) for pattern in REAL_L1C for path in sorted(REAL.glob(pattern))]
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        if not found:
            write_scenes(Path(folder, "synth"), scenes, 240, 0)
            found = [str(Path(folder, "synth", "scenes"))]
        build(found, Path(folder, "out"), BuildOptions(side_px, codec=codec, min_valid=0.999))  # pyright: ignore
        yield ShardSet(Path(folder, "out")), "real L1C" if REAL.is_dir() else "synthetic"


def best_of(times: int, work: Callable[[], object]) -> float:
    """Return the shortest time of ``work`` in seconds."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best
