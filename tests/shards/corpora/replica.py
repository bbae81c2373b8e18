"""Small replicas of published corpora, with what is known of every sample: its native values, as they must be read."""

import datetime as dt
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
L2A = tuple(name for name in L1C if name != "B10")
GSD_M = {
    name: 10 if name in ("B02", "B03", "B04", "B08") else 60 if name in ("B01", "B09", "B10") else 20 for name in L1C
}
SIDE = 24


@dataclass(frozen=True)
class Truth:
    """What a sample holds: native digital numbers with the offset in, by band; 0 where nothing was measured."""

    bands: dict[str, np.ndarray]
    facts: dict = field(default_factory=dict)

    def group(self, gsd_m: int) -> np.ndarray:
        """Return ``(C, H, W)`` of the bands of one sampling distance, in the order of slots."""
        return np.stack([self.bands[name] for name in L1C if name in self.bands and GSD_M[name] == gsd_m])


def native(seed: int, side: int = SIDE, names=L1C) -> dict[str, np.ndarray]:
    """Return reflectance of every band on its own grid: land with shadow and bright soil, and a clear sky in B10."""
    rng = np.random.default_rng(seed)
    bands = {}
    for number, name in enumerate(L1C):
        px = side * 10 // GSD_M[name]
        plane = 0.06 + 0.015 * number + rng.uniform(-0.045, 0.09, (px, px))
        bands[name] = rng.uniform(0.0005, 0.004, (px, px)) if name == "B10" else plane
    return {name: bands[name] for name in names}


def stored(reflectance: np.ndarray, offset: int, dtype=np.uint16) -> np.ndarray:
    """Return stored values: 10000 x reflectance, and 1000 more where ``offset`` is -1000."""
    return (np.rint(reflectance * 10000) - offset).astype(dtype)


def truth_of(bands: dict[str, np.ndarray], **facts) -> Truth:
    """Return what reflectance on native grids must be read as."""
    return Truth({name: stored(plane, -1000) for name, plane in bands.items()}, facts)


def copied(plane: np.ndarray, name: str, phase=(0, 0)) -> np.ndarray:
    """Put a band on the 10 m grid by nearest neighbour, blocks beginning at ``phase``; the size stays."""
    factor = GSD_M[name] // 10
    big = plane.repeat(factor, 0).repeat(factor, 1)
    up, left = (-at % factor for at in phase)
    return np.pad(big, [(0, up), (0, left)], mode="edge")[up : up + len(big), left : left + big.shape[1]]


def interpolated(plane: np.ndarray, name: str) -> np.ndarray:
    """Put a band on the 10 m grid bilinearly."""
    factor = GSD_M[name] // 10
    return plane if factor == 1 else zoom(plane, factor, order=1, mode="nearest", grid_mode=True)


def block_means(dn: np.ndarray, factor: int) -> np.ndarray:
    """Return rounded means over blocks of the samples that are not 0; plain loops."""
    out = np.zeros([size // factor for size in dn.shape], np.uint16)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            block = dn[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            known = block[block > 0].astype(np.int64)
            out[row, column] = (known.sum() + len(known) // 2) // len(known) if len(known) else 0
    return out


def write_zarr_zip(path: Path, arrays: dict, chunks: dict) -> Path:
    """Write ``{name: (dims, values)}`` as xarray writes a zip of Zarr v2."""
    import xarray as xr
    import zarr

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with warnings.catch_warnings(), zarr.storage.ZipStore(path, mode="w") as store:
        warnings.simplefilter("ignore")
        encoding = {name: {"chunks": size} for name, size in chunks.items()}
        xr.Dataset(arrays).to_zarr(store, zarr_format=2, encoding=encoding, consolidated=True)
    return path


@dataclass
class Patch:
    """One patch of a replica of SSL4EO-S12 v1.1: its pixels on the 10 m grid and what they must be read as."""

    pixels: np.ndarray
    truth: Truth


def patch(seed: int, names, offset=-1000, how=interpolated) -> Patch:
    """Return a patch of 10 m pixels and its truth: copies give the samples back, anything else its block means."""
    bands = native(seed, names=names)
    planes = {name: stored(how(plane, name), offset, np.int16) for name, plane in bands.items()}
    if how is copied:
        truth = truth_of(bands)
    else:
        with_offset = {name: plane.astype(np.uint16) + (1000 + offset) for name, plane in planes.items()}
        truth = Truth({name: block_means(plane, GSD_M[name] // 10) for name, plane in with_offset.items()})
    return Patch(np.stack(list(planes.values())), truth)


def write_ssl4eo_v11(path: Path, ids, level: str, *, seed=0, how=interpolated, offset=-1000, clouds=True, first=0):
    """Write one file of SSL4EO-S12 v1.1: places, four seasons, 13 or 12 bands; return the truth by (id, season)."""
    names = L1C if level == "S2L1C" else L2A
    patches = {
        (place, season): patch(hash_of(place, season, level, seed), names, offset, how)
        for place in ids
        for season in range(4)
    }
    bands = np.stack([np.stack([patches[place, season].pixels for season in range(4)]) for place in ids])
    easting = {place: 500_000.0 + 3_000 * int(place[:4] or 0) + 3.7 for place in ids}
    x = np.stack([easting[place] + 5 + 10 * np.arange(SIDE) for place in ids])
    y = np.stack([5_300_000.4 - 5 - 10.0 * np.arange(SIDE)] * len(ids))
    when = np.datetime64("2020-06-04T05:46:39", "ns") + np.arange(4) * np.timedelta64(91, "D")
    arrays = {
        "bands": (("sample", "time", "band", "y", "x"), bands),
        "band": (("band",), np.array(names, "<U3")),
        "sample": (("sample",), np.array(ids, "<U7")),
        "time": (("time",), np.arange(4)),
        "x_": (("sample", "x"), x),
        "y_": (("sample", "y"), y),
        "crs": (("sample",), np.full(len(ids), 32632)),
        "time_": (("sample", "time"), np.stack([when] * len(ids))),
        "center_lat": (("sample",), np.full(len(ids), 47.8)),
    }
    if clouds:
        cover = np.zeros((len(ids), 4, SIDE, SIDE), np.uint8)
        cover[:, 1, :6] = np.arange(4, dtype=np.uint8).repeat(6)
        arrays["cloud_mask"] = (("sample", "time", "y", "x"), cover)
    write_zarr_zip(path, arrays, {"bands": (len(ids), 1, len(names), SIDE, SIDE)})
    return {key: patch.truth for key, patch in patches.items()}


def hash_of(*parts) -> int:
    """Return a seed of words and numbers that is the same on every machine."""
    import zlib

    return zlib.crc32(repr(parts).encode())


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
