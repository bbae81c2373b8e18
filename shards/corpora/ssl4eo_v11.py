"""SSL4EO-S12 v1.1: zips of Zarr v2, 64 places and four seasons a file; one time chunk is decoded once for all of them.

Every value carries the +1000, though the scenes are of 2019 to 2021 and no field says so. ``x_`` and ``y_`` are taken
as centres of pixels, as xarray writes them; the set does not say which.
"""

import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from bandloom.errors import SceneError
from bandloom.shards.corpora.chip import Chip, chip_scene
from bandloom.shards.corpora.coordinates import as_datetime, band_names, corner_of, times
from bandloom.shards.corpora.corpus import INNER, Asked, Container, Corpus, Member, broken, split_in
from bandloom.shards.corpora.stored_values import as_measured
from bandloom.shards.corpora.zarr_v2 import ZarrV2
from bandloom.shards.scenes.in_memory import ArrayScene

_NAME = re.compile(r"ssl4eos12_(?:train|val)_seasonal_data_\d+\.zarr\.zip")
_OTHERS = ("S1GRD", "S2RGB")  # radar, and a picture of 8 bits
_DIMS = ("sample", "time", "band", "y", "x")
SAMPLES = 64 * 4
STATED = (-1000, "the table of SSL4EO-S12 v1.1")


def containers(path: Path) -> list[Container] | None:
    """Return the files of S2L1C or S2L2A that a path is, or that lie right inside."""
    if path.is_file():
        return [Container(str(path), samples=SAMPLES)] if _NAME.fullmatch(path.name) else None
    if not path.is_dir():
        return None
    names = sorted(child.name for child in path.iterdir() if _NAME.fullmatch(child.name))
    if not names:
        return None
    return [] if path.name in _OTHERS else [Container(str(path / name), samples=SAMPLES) for name in names]


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield every place at every season of a file, decoding each chunk of it once.

    Raises:
        SceneError: the file cannot be read, or a chunk of it is missing.
    """
    with ZarrV2(Path(container.path), container.path) as store:
        side = _Side(store, container.path)
        samples, seasons = side.shape[:2]
        steps = store.info("bands").chunks[:2]
        if store.info("bands").chunks[2:] != side.shape[2:]:
            raise SceneError(
                f"{container.path} cuts patches into chunks {store.info('bands').chunks}; expected whole ones."
            )
        for first, season in product(range(0, samples, steps[0]), range(0, seasons, steps[1])):
            block = _block(store, (first // steps[0], season // steps[1], 0, 0, 0))
            for at in range(first, min(first + steps[0], samples)):
                for when in range(season, min(season + steps[1], seasons)):
                    inner = f"{side.ids[at]}{INNER}{when}"
                    origin = {"place": side.ids[at], "season": when, "split": split_in(container.path)}
                    if isinstance(block, SceneError):
                        yield broken(inner, block, origin)
                    else:
                        pixels = block[at - first, when - season]
                        yield Member(inner, partial(side.open, at, when, pixels, asked.offset), origin)


def _block(store: ZarrV2, at: tuple[int, ...]) -> np.ndarray | SceneError:
    """Return a chunk of pixels, or why it cannot be read: other chunks of the file stand."""
    try:
        return store.chunk("bands", at)
    except SceneError as error:
        return error


class _Side:
    """The coordinates of a file, read once."""

    def __init__(self, store: ZarrV2, path: str) -> None:
        info = store.info("bands")
        if info.dims != _DIMS or len(info.shape) != len(_DIMS):
            raise SceneError(f"{path} orders its pixels {info.dims} {info.shape}; expected {_DIMS}: fetch it again.")
        self.path, self.shape = path, info.shape
        self.names = band_names(path, store.read("band"))
        self.ids = [str(each) for each in store.read("sample").ravel()]
        self._times = times(path, store.read("time_"), store.info("time_"))
        self._x, self._y, self._epsg = store.read("x_"), store.read("y_"), store.read("crs").ravel()
        samples, seasons, bands, height, width = info.shape
        shapes = (self._x.shape, self._y.shape, self._times.shape, self._epsg.shape, len(self.ids), len(self.names))
        if shapes != ((samples, width), (samples, height), (samples, seasons), (samples,), samples, bands):
            raise SceneError(f"{path} has coordinates of other sizes than its pixels {info.shape}; fetch it again.")
        if len(set(self.ids)) < samples:
            raise SceneError(f"{path} names a sample twice; which pixels are its own is not known: fetch it again.")
        self._clouds: dict[tuple[int, ...], np.ndarray] = {}
        self._store = store

    def open(self, at: int, when: int, pixels: np.ndarray, told: int | None) -> ArrayScene:
        """Return one place at one season as a scene."""
        name = f"{self.path}{INNER}{self.ids[at]}{INNER}{when}"
        chip = Chip(
            name,
            dict(zip(self.names, as_measured(name, pixels, self._store.info("bands")), strict=True)),
            utm(name, self._epsg[at]),
            corner_of(name, self._x[at], self._y[at]),
            as_datetime(self._times[at, when]),
            STATED,
            self._cloud(at, when),
            {"corner": "x_ and y_ taken as centres of pixels"},
        )
        return chip_scene(chip, told)

    def _cloud(self, at: int, when: int) -> np.ndarray | None:
        """Return a patch's cloud codes where the file has them; a chunk is kept until the next is asked for."""
        if "cloud_mask" not in self._store:
            return None
        info = self._store.info("cloud_mask")
        if info.dims != ("sample", "time", "y", "x") or info.shape != (*self.shape[:2], *self.shape[3:]):
            raise SceneError(f"{self.path} orders its cloud masks {info.dims} {info.shape}; fetch it again.")
        steps = info.chunks
        if steps[2:] != info.shape[2:]:
            raise SceneError(f"{self.path} cuts cloud masks into chunks {steps}; expected whole ones: fetch it again.")
        index = (at // steps[0], when // steps[1], 0, 0)
        if index not in self._clouds:
            stored = self._store.has_chunk("cloud_mask", index)
            self._clouds = {
                index: self._store.chunk("cloud_mask", index) if stored else np.full(steps, info.fill, info.dtype)
            }
        return self._clouds[index][at % steps[0], when % steps[1]]


def utm(name: str, code: Any) -> CRS:
    """Return the coordinate system of an EPSG code.

    Raises:
        SceneError: it is none.
    """
    try:
        return CRS.from_epsg(int(code))
    except (CRSError, ValueError, OverflowError, TypeError) as cause:
        raise SceneError(f"{name} states the coordinate system {code!r}, which is none; leave it out.") from cause


SSL4EO_V11 = Corpus(
    name="ssl4eo-s12-v1.1",
    title="SSL4EO-S12 v1.1",
    licence="CC-BY-4.0",
    side_px=264,
    looks_like="ssl4eos12_train_seasonal_data_000001.zarr.zip in a folder S2L1C or S2L2A",
    containers=containers,
    members=members,
    repository="embed2scale/SSL4EO-S12-v1.1",
    wanted=("*/S2L1C/*.zarr.zip", "*/S2L2A/*.zarr.zip", "splits/*"),
)
