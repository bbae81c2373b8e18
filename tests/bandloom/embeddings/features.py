"""Features that resemble an encoder's: a few directions carry most, around a mean that is far from zero."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

CRS, CORNER, TOKEN_M = "EPSG:32647", (600_000, 1_500_000), 60


def features_of_ground(shape=(23, 31), dims=24, seed=0):
    """Return ``(D, h, w)`` float32 with a hole."""
    rng = np.random.default_rng(seed)
    strengths = 3.0 * 0.7 ** np.arange(dims)
    turned = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    values = (rng.normal(size=(*shape, dims)) * strengths) @ turned.T + rng.normal(size=dims) * 2
    values[3:6, 4:9] = np.nan
    return np.moveaxis(values, 2, 0).astype(np.float32)


def write_features(path: Path, features: np.ndarray) -> Path:
    dims, height, width = features.shape
    place = {"crs": CRS, "transform": from_origin(*CORNER, TOKEN_M, TOKEN_M), "nodata": np.nan}
    with rasterio.open(path, "w", "GTiff", width, height, dims, dtype="float32", **place) as file:
        file.write(features)
        file.update_tags(SCENE="ground")
    return path
