"""Shards for the shard benchmarks: real L1C scenes where they lie beside the checkout, else synthetic ones."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth.write import write_scenes

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL_L1C = ("lulc_seg/*/S2L1C.tif", "flood_seg/*/S2Hand.tif")
_SHIFTS = 3  # squares along each side of a scene, overlapping where they must


@contextlib.contextmanager
def shards_of(side_px: int, codec: str = "default", scenes: int = 8) -> Iterator[tuple[ShardSet, str]]:
    """Yield shards of whole samples (no padding) and a word on where they come from."""
    found = [str(path) for pattern in REAL_L1C for path in sorted(REAL.glob(pattern))]
    with TemporaryDirectory() as folder:
        yield _built(Path(folder), found, side_px, codec, scenes), "real L1C" if found else "synthetic"


@contextlib.contextmanager
def many_shards_of(side_px: int, codec: str) -> Iterator[tuple[ShardSet, str]]:
    """Yield some hundred whole samples, more than a processor's caches hold: squares of the real scenes, turned."""
    with TemporaryDirectory() as folder:
        found = [path for scene in sorted(REAL.glob(REAL_L1C[0])) for path in _squares(scene, side_px, Path(folder))]
        shards = _built(Path(folder), found, side_px, codec, 60)
        yield shards, f"{len(shards)} squares of {'real L1C, shifted and turned' if found else 'synthetic ground'}"


def _built(folder: Path, found: list[str], side_px: int, codec: str, scenes: int) -> ShardSet:
    with contextlib.redirect_stdout(io.StringIO()):
        if not found:
            write_scenes(folder / "synth", scenes, 240, 0)
            found = [str(folder / "synth" / "scenes")]
        build(found, folder / "out", BuildOptions(side_px, codec=codec, min_valid=0.999))  # pyright: ignore
    return ShardSet(folder / "out")


def _squares(scene: Path, side_px: int, folder: Path) -> list[str]:
    """Write squares of a scene of native samples copied to 10 m, cut at multiples of 60 m, each in its eight turns."""
    with rasterio.open(scene) as raster:
        pixels, profile, tags, names = raster.read(), raster.profile, raster.tags(), raster.descriptions
    room = [(length - side_px) // 6 for length in pixels.shape[1:]]
    corners = product(*(np.unique(np.linspace(0, steps, _SHIFTS).astype(int)) * 6 for steps in room if steps >= 0))
    written = []
    for (top, left), turn in product(corners if min(room) >= 0 else (), range(8)):
        square = np.rot90(pixels[:, top : top + side_px, left : left + side_px], turn % 4, (1, 2))
        path = folder / f"{scene.parent.name}_{top}_{left}_{turn}.tif"
        with rasterio.open(path, "w", **profile | {"height": side_px, "width": side_px}) as file:
            file.write(square if turn < 4 else square[:, :, ::-1])
            file.descriptions = names
            file.update_tags(**tags)
        written.append(str(path))
    return written


def best_of(times: int, work: Callable[[], object]) -> float:
    """Return the shortest time of ``work`` in seconds."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best
