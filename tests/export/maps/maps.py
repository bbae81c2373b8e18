"""Small real map files for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

NAMES = {1: "water", 2: "crop", 4: "tree"}
UTM = Affine(10, 0, 500_000, 0, -10, 1_500_000)


def codes_of_a_map() -> np.ndarray:
    """Return ``(90, 70)`` codes of three classes, one of them rare, with a corner of no data."""
    rng = np.random.default_rng(3)
    codes = rng.choice([1, 2, 4], (90, 70), p=[0.05, 0.55, 0.4]).astype(np.uint8)
    codes[:10, :20] = 255
    return codes


def write_map(path: Path, codes: np.ndarray, crs: Any = "EPSG:32647", grid: Affine = UTM, **profile: Any) -> Path:
    """Write codes as a map with names, 255 as no data."""
    shape = {"height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": codes.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=grid, nodata=255, **shape, **profile) as file:
        file.write(codes, 1)
        file.update_tags(CLASSES=json.dumps([{"value": code, "name": name} for code, name in NAMES.items()]))
    return path
