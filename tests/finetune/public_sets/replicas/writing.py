"""What replicas of public sets share: plausible pixels, GeoTIFFs, and an independent way to native samples."""

import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from bandloom.finetune.public_sets.prepare import SHARDS, SetRequest, prepare_set
from bandloom.sensors import SLOT_GSD_M
from bandloom.shards.read.shard_set import ShardSet

LEVELS = {"B01": 1400, "B02": 1200, "B03": 1100, "B04": 1000, "B05": 1300, "B06": 2200, "B07": 2600}
LEVELS |= {"B08": 2700, "B8A": 2900, "B09": 900, "B10": 12, "B11": 2000, "B12": 1200}


def pixels(rng: np.random.Generator, bands: tuple[str, ...], side: int, offset: int = 0) -> np.ndarray:
    """Return ``(C, side, side)`` uint16 of 10000 x reflectance that tell bands and pixels apart; none is 0."""
    y, x = np.mgrid[:side, :side]
    level = rng.uniform(0.8, 1.2)
    stack = [LEVELS[b] * level * (1 + 0.1 * np.sin(x / 5 + i) * np.cos(y / 7)) for i, b in enumerate(bands)]
    noise = rng.integers(0, 6, (len(bands), side, side))
    return (np.clip(np.stack(stack), 2, None) + noise + offset).astype(np.uint16)


def write_tif(path: Path, stack: np.ndarray, *, crs="EPSG:32633", corner=(500_000.0, 5_000_040.0), pixel=10.0, **more):
    """Write a GeoTIFF without descriptions, tags or nodata, as public sets do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = stack[None] if stack.ndim == 2 else stack
    across, down = pixel if isinstance(pixel, tuple) else (pixel, pixel)
    profile = {"driver": "GTiff", "dtype": stack.dtype, "count": len(stack), "height": stack.shape[1]}
    profile |= {"width": stack.shape[2], "crs": crs, "transform": from_origin(*corner, across, down)} | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        raster = rasterio.open(path, "w", **{key: value for key, value in profile.items() if value is not None})
    with raster:
        raster.write(stack)
    return path


def native(reflectance: dict[str, np.ndarray], side_px: int) -> dict[int, np.ndarray]:
    """Return what shards should hold of 10 m bands of reflectance (NaN absent): rounded means over native pixels.

    Sums over counts in floats, where the product adds integers: ``{gsd: (C, H, W)}`` as reflectance, NaN unmeasured.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for band in sorted(reflectance, key=list(SLOT_GSD_M).index):
        values, gsd = reflectance[band], SLOT_GSD_M[band]
        side = side_px * 10 // gsd
        whole = np.full((side_px, side_px), np.nan)
        whole[: values.shape[0], : values.shape[1]] = values
        blocks = whole.reshape(side, gsd // 10, side, gsd // 10)
        count = np.isfinite(blocks).sum((1, 3))
        mean = np.nansum(blocks, (1, 3)) / np.maximum(count, 1)
        groups.setdefault(gsd, []).append(np.where(count > 0, mean, np.nan))
    return {gsd: np.stack(parts) for gsd, parts in groups.items()}


def stored(groups) -> dict[int, np.ndarray]:
    """Return a sample's digital numbers as reflectance, NaN where absent: the convention, spelled out once more."""
    return {gsd: np.where(dn == 0, np.nan, (dn.astype(float) - 1000) / 10000) for gsd, dn in groups.items()}


def assert_same(groups, reflectance: dict[str, np.ndarray], side_px: int, atol: float = 0.51e-4) -> None:
    """Compare a sample with its 10 m bands of reflectance: equal up to the rounding to a ten-thousandth."""
    expected, got = native(reflectance, side_px), stored(groups)
    assert set(got) == set(expected)
    for gsd, values in got.items():
        np.testing.assert_array_equal(np.isnan(values), np.isnan(expected[gsd]))
        np.testing.assert_allclose(values, expected[gsd], atol=atol)


def prepared(form: str, root: Path, out: Path, **request) -> ShardSet:
    """Run ``labels prepare`` and open its shards."""
    prepare_set(SetRequest(form, root, **request), out)
    return ShardSet(out / SHARDS)


def by_scene(shards: ShardSet) -> dict[str, int]:
    """Return the place of every sample by the key of its scene; of several squares the first."""
    return {entry.key.rsplit("_r", 1)[0]: i for i, entry in reversed(list(enumerate(shards.entries)))}
