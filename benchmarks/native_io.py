"""What a scene costs to read and prepare as native groups, against 13 bands resampled to 10 m."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from bandloom.export.bundle.native_groups import group_feed
from bandloom.sensors import get_sensor
from bandloom.shards.scenes import open_scene
from benchmarks.harness import Figure

SIDE_PX = 1536
TILE_PX = 96
REPEATS = 3


def write_bands(folder: Path) -> None:
    """Write each band on its own grid, as a granule has it."""
    rng = np.random.default_rng(0)
    for group in get_sensor("sentinel2-l1c").groups:
        side = SIDE_PX * 10 // group.gsd_m
        for band in group.bands:
            coarse = rng.integers(1010, 3000, (side // 2, side // 2)).repeat(2, 0).repeat(2, 1)
            pixels = (coarse + rng.integers(0, 40, (side, side))).astype(np.uint16)
            profile = {
                "driver": "GTiff",
                "height": side,
                "width": side,
                "count": 1,
                "dtype": "uint16",
                "nodata": 0,
                "crs": "EPSG:32647",
                "transform": from_origin(600000, 1500000, group.gsd_m, group.gsd_m),
                "tiled": True,
                "blockxsize": 256,
                "blockysize": 256,
                "compress": "deflate",
            }
            with rasterio.open(folder / f"{band.name}.tif", "w", **profile) as file:
                file.write(pixels, 1)
                file.update_tags(RADIO_ADD_OFFSET="-1000")


def read_native(folder: Path) -> dict[int, np.ndarray]:
    """Read native groups, which both ways of feeding start from."""
    with open_scene(folder, sensor="sentinel2-l1c", offset=-1000) as scene:
        return scene.read((0.0, 0.0, SIDE_PX * 10.0, SIDE_PX * 10.0))


def native(groups: dict[int, np.ndarray]) -> int:
    """Lay native groups out as an engine's input; return its bytes. Normalisation is in the engine."""
    return sum(fed.nbytes for batch in _tiles(groups) for fed in group_feed(batch).values())


def upsampled(groups: dict[int, np.ndarray]) -> int:
    """Resample 13 bands to 10 m and normalise them in float32, as an encoder of one grid is fed."""
    stack = np.concatenate([dn.repeat(g // 10, 1).repeat(g // 10, 2) for g, dn in groups.items()])
    return sum(((batch[10].astype(np.float32) - 1000) / 10000 * 2 - 0.5).nbytes for batch in _tiles({10: stack}))


def _tiles(groups: dict[int, np.ndarray]) -> Iterator[dict[int, np.ndarray]]:
    for row in range(0, SIDE_PX, TILE_PX):
        yield {
            g: np.stack([_tile(dn, g, row, column) for column in range(0, SIDE_PX, TILE_PX)])
            for g, dn in groups.items()
        }


def _tile(dn: np.ndarray, gsd_m: int, row_px: int, column_px: int) -> np.ndarray:
    side, row, column = (px * 10 // gsd_m for px in (TILE_PX, row_px, column_px))
    return dn[:, row : row + side, column : column + side]


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        write_bands(Path(folder))
        groups = read_native(Path(folder))
    seconds: dict[str, list[float]] = {"native": [], "upsampled": []}
    fed = {}
    for _ in range(REPEATS):  # interleaved: both see the same noise
        for name, work in (("native", native), ("upsampled", upsampled)):
            began = time.perf_counter()
            fed[name] = work(groups)
            seconds[name].append(time.perf_counter() - began)
    note = f"{SIDE_PX} x {SIDE_PX} px, 13 bands in tiles of {TILE_PX}; best of {REPEATS}, interleaved"
    return [
        Figure("native_io bytes", fed["upsampled"] / 1e6, "MB", "native groups", fed["native"] / 1e6, ">= 2", note),
        Figure(
            "native_io preparing",
            min(seconds["upsampled"]),
            "s",
            "native groups",
            min(seconds["native"]),
            ">= 2",
            note + "; decoding is the same for both and left out",
        ),
    ]
