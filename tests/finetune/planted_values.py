"""A measured quantity that follows from the bands: what a regression can learn is known."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from bandloom.rasters.values import dn_to_reflectance
from bandloom.shards.scenes import open_scene

NODATA = -9999.0
QUANTITY = "canopy height [m]"
NOISE_M = 1.0


def planted(groups: dict[int, np.ndarray], seed: int = 0) -> np.ndarray:
    """Return values ``(H, W)`` float32 of native groups: 20 m and 15 m more or less by greenness, and some noise."""
    _, _, red, near = dn_to_reflectance(groups[10]).astype(np.float64)
    greenness = (near - red) / np.maximum(near + red, 1e-3)
    noise = np.random.default_rng(seed).normal(0, NOISE_M, greenness.shape)
    return (20 + 15 * np.clip(greenness, -1, 1) + noise).astype(np.float32)


def write_values(scenes: Path, out: Path, *, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Write ``OUT/NAME.tif`` for every scene, a corner of it unknown; returns the values by scene, NaN there."""
    out.mkdir(parents=True)
    found = {}
    for number, path in enumerate(sorted(scenes.iterdir())):
        with open_scene(path) as scene:
            values = planted(scene.read((0, 0, int(scene.width_m), int(scene.height_m))), number)
            stored = np.round(values / scale) if scale != 1 else values
            stored[:30, :40] = NODATA
            values = np.where(stored == NODATA, np.nan, stored * scale).astype(np.float32)
            finest = min(group.gsd_m for group in scene.sensor.groups)
            profile = {
                "driver": "GTiff",
                "height": values.shape[0],
                "width": values.shape[1],
                "count": 1,
                "dtype": "float32" if scale == 1 else "int32",
                "crs": scene.crs,
                "transform": scene.transform * Affine.scale(10 / finest),
                "nodata": NODATA,
            }
            with rasterio.open(out / f"{scene.name}.tif", "w", **profile) as raster:
                raster.write(stored.astype(profile["dtype"]), 1)
                if scale != 1:
                    raster.scales = (scale,)
            found[scene.name] = values
    return found
