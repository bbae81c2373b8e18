"""TerraMesh: tars of one Zarr zip a sample, read from front to back without unpacking.

Whether values carry +1000 differs from sample to sample, and between Level-1C and Level-2A of one sample. The half made
of Major TOM holds copies of the measured 20 and 60 m samples, which are taken back; the block test tells. Neighbouring
samples touch.
"""

import re
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from bandloom.errors import SceneError
from bandloom.shards.corpora.chip import Chip, chip_scene
from bandloom.shards.corpora.coordinates import as_datetime, band_names, corner_of, times
from bandloom.shards.corpora.corpus import Asked, Container, Corpus, Member, split_in
from bandloom.shards.corpora.ssl4eo_v11 import utm
from bandloom.shards.corpora.stored_values import as_measured
from bandloom.shards.corpora.zarr_v2 import ZarrV2
from bandloom.shards.scenes.bands import BAND_ORDERS
from bandloom.shards.scenes.in_memory import ArrayScene

_NAME = re.compile(r"(?:majortom|ssl4eos12)_(?:shard|train|val)_\d+\.tar")
_WANTED = ("S2L1C", "S2L2A")
_OTHERS = ("DEM", "LULC", "NDVI", "S1GRD", "S1RTC", "S2RGB")
_SUFFIX = ".zarr.zip"
_LIMIT_BYTES = 2**28  # of one sample; a real one is 1.8 MB of pixels a level
SAMPLES = 10_240


def containers(path: Path) -> list[Container] | None:
    """Return the tars of S2L1C or S2L2A that a path is, or that lie right inside."""
    if path.is_file():
        return [Container(str(path), samples=SAMPLES)] if _NAME.fullmatch(path.name) and _is_shard(path) else None
    if not path.is_dir():
        return None
    names = sorted(child.name for child in path.iterdir() if _NAME.fullmatch(child.name))
    if not names:
        return None
    return [] if path.name in _OTHERS else [Container(str(path / name), samples=SAMPLES) for name in names]


def _is_shard(path: Path) -> bool:
    """Tell by its first member."""
    try:
        with tarfile.open(path, "r|") as tar:
            first = tar.next()
            return first is not None and first.name.endswith(_SUFFIX)
    except (tarfile.TarError, OSError, EOFError):
        return False


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield a tar's samples in its order, each held in memory while it is used.

    Raises:
        SceneError: the tar is cut short or damaged; what came before stands.
    """
    path = container.path
    try:
        with tarfile.open(path, "r|") as tar:
            for entry in tar:
                name = entry.name.rpartition("/")[2]
                if not entry.isfile() or not name.endswith(_SUFFIX):
                    continue
                if entry.size > _LIMIT_BYTES:
                    raise SceneError(
                        f"{path} states {entry.size} bytes for {name}, which no sample has; fetch it again."
                    )
                file = tar.extractfile(entry)
                content = b"" if file is None else file.read()
                if len(content) != entry.size:
                    raise SceneError(f"{path} ends inside {name}; it was cut short: fetch it again.")
                inner = name.removesuffix(_SUFFIX)
                yield Member(
                    inner,
                    partial(_open, content, f"{path}!{inner}", asked.offset),
                    {"place": inner, "split": split_in(path) or split_in(name)},
                )
            if tar.offset and not _ended(Path(path)):
                raise SceneError(f"{path} has no end of archive; it was cut short: fetch it again.")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as cause:
        raise SceneError(f"{path} cannot be read on ({cause}); it was cut short: fetch it again.") from cause


def _ended(path: Path) -> bool:
    """Tell whether a tar ends with the two blocks of zeros that close it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * tarfile.BLOCKSIZE))
        return size % tarfile.BLOCKSIZE == 0 and not any(file.read())


def _open(content: bytes, name: str, told: int | None) -> ArrayScene:
    with ZarrV2(content, name) as store:
        info = store.info("bands")
        if info.shape[:-2] != info.chunks[:-2] and int(np.prod(info.shape)) > 2**25:
            raise SceneError(f"{name} states pixels of {info.shape}; expected one sample: fetch it again.")
        pixels = store.read("bands", sparse=False)
        dims = info.dims or ("band", "y", "x")
        if len(dims) == pixels.ndim == 4 and "time" in dims and pixels.shape[dims.index("time")] == 1:
            pixels, dims = pixels.squeeze(dims.index("time")), tuple(dim for dim in dims if dim != "time")
        if pixels.ndim != 3 or dims != ("band", "y", "x"):
            raise SceneError(f"{name} orders its pixels {dims} {info.shape}; expected band, y and x: fetch it again.")
        names = _names(store, name, len(pixels))
        corner = corner_of(name, store.read("x"), store.read("y"))
        if (len(store.read("y")), len(store.read("x"))) != pixels.shape[1:]:
            raise SceneError(f"{name} has coordinates of another size than its pixels {pixels.shape}; fetch it again.")
        clouds = store.read("cloud_mask").squeeze() if "cloud_mask" in store else None
        chip = Chip(
            name,
            dict(zip(names, as_measured(name, pixels, info), strict=True)),
            _crs(store, name),
            corner,
            _time(store, name),
            None,
            clouds,
            {"corner": "x and y taken as centres of pixels"},
        )
    return chip_scene(chip, told)


def _names(store: ZarrV2, name: str, count: int) -> list[str]:
    if "band" in store:
        stored = store.read("band")
        if stored.dtype.kind in "US":
            names = band_names(name, stored)
            if len(names) == count:
                return names
            raise SceneError(f"{name} has {count} bands and names {len(names)}; fetch it again.")
    order = next((order for order in (BAND_ORDERS["l1c"], BAND_ORDERS["l2a"]) if len(order) == count), None)
    if order is None:
        raise SceneError(f"{name} has {count} bands without names; expected 13 (S2L1C) or 12 (S2L2A): fetch it again.")
    return list(order)


def _crs(store: ZarrV2, name: str) -> CRS:
    """Return the coordinate system: an EPSG code in ``crs``, or the words that rioxarray writes at ``spatial_ref``."""
    if "crs" in store:
        return utm(name, store.read("crs").ravel()[0])
    if "spatial_ref" not in store:
        raise SceneError(f"{name} does not say in which coordinate system it lies; leave it out.")
    told: Any = store.info("spatial_ref").attributes
    words = told.get("crs_wkt") or told.get("spatial_ref")
    try:
        return CRS.from_wkt(words) if words else utm(name, store.read("spatial_ref").ravel()[0])
    except (CRSError, TypeError, ValueError) as cause:
        raise SceneError(
            f"{name} states a coordinate system that is none ({str(words)[:60]}); leave it out."
        ) from cause


def _time(store: ZarrV2, name: str) -> Any:
    if "time" not in store:
        return None
    return as_datetime(times(name, store.read("time"), store.info("time")).ravel()[0])


TERRAMESH = Corpus(
    name="terramesh",
    title="TerraMesh",
    licence="CC-BY-SA-4.0",
    side_px=264,
    looks_like="majortom_shard_000001.tar or ssl4eos12_shard_000794.tar of NAME.zarr.zip in a folder S2L1C or S2L2A",
    containers=containers,
    members=members,
    repository="ibm-esa-geospatial/TerraMesh",
    wanted=("*/S2L1C/*.tar", "*/S2L2A/*.tar"),
)
