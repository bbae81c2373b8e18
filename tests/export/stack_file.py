"""Scenes on disk: 13-band 10 m stacks in the project's value convention."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from bandloom.sensors import get_sensor


def write_stack(
    path: Path,
    size_px: tuple[int, int],
    *,
    seed: int = 0,
    sensor: str = "sentinel2-l1c",
    hole: tuple[slice, slice] | None = None,
    epsg: int = 32647,
    block_px: int = 256,
) -> Path:
    """Write smooth noise, row of blocks by row of blocks; ``hole`` is left without data."""
    names = [band.name for band in get_sensor(sensor).bands if band.slot]
    height, width = size_px
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": len(names),
        "dtype": "uint16",
        "crs": f"EPSG:{epsg}",
        "transform": from_origin(600000, 1500000, 10, 10),
        "nodata": 0,
        "tiled": True,
        "blockxsize": block_px,
        "blockysize": block_px,
        "compress": "deflate",
        "zlevel": 1,
        "interleave": "band",
    }
    rng = np.random.default_rng(seed)
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = names
        file.update_tags(RADIO_ADD_OFFSET="-1000", ACQUISITION_DATETIME="2024-01-02T03:04:05Z")
        for top in range(0, height, block_px):
            rows = min(block_px, height - top)
            coarse = rng.integers(1010, 1900, (len(names), -(-rows // 6), -(-width // 6)))
            pixels = coarse.repeat(6, 1).repeat(6, 2)[:, :rows, :width] + rng.integers(0, 30, (1, rows, width))
            pixels = pixels.astype(np.uint16)
            if hole is not None:
                there = np.zeros((height, width), bool)
                there[hole] = True
                pixels[:, there[top : top + rows]] = 0
            file.write(pixels, window=rasterio.windows.Window(0, top, width, rows))
    return path
