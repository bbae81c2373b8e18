"""MMEarth: one HDF5 file of a million tiles, half Level-1C and half Level-2A, read by runs of tiles.

Bands lie as B1 to B7, B8A, B8, B9 to B12, interpolated to 10 m, without the +1000. A Level-2A tile has a B10 of zeros,
which is absent. Tiles have a coordinate system and the degrees of their centre, and no corner. Needs h5py.
"""

import datetime as dt
import json
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.warp import transform

from bandloom.errors import MissingExtraError, SceneError, said
from bandloom.shards.corpora.chip import PIXEL_M, Chip, chip_scene
from bandloom.shards.corpora.corpus import INNER, Asked, Container, Corpus, Member, broken, one_role
from bandloom.shards.scenes.grid import utm_of
from bandloom.shards.scenes.in_memory import ArrayScene

_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B08", "B09", "B10", "B11", "B12")
_RUN = 1024  # tiles to a unit of work
_BROKEN = (OSError, KeyError, ValueError, RuntimeError)
STATED = (0, "the table of MMEarth")


def containers(path: Path) -> list[Container] | None:
    """Return runs of the tiles of the file that a path is, or that lies right inside."""
    if path.is_dir():
        inside = sorted(child for child in path.iterdir() if child.suffix == ".h5")
        runs = [run for file in inside for run in containers(file) or []]
        return runs or None
    if path.suffix != ".h5" or not _beside(path, "_tile_info.json").is_file():
        return None
    try:
        with _h5py().File(path) as file:
            count, bands = file["sentinel2"].shape[:2]
    except _BROKEN as cause:
        raise SceneError(f"{path} cannot be read ({said(cause)}); it was cut short: fetch it again.") from cause
    if bands != len(_ORDER):
        raise SceneError(f"{path} has {bands} bands in sentinel2; expected {len(_ORDER)}: fetch it again.")
    return [
        Container(str(path), f"{first}-{min(first + _RUN, count)}", min(_RUN, count - first))
        for first in range(0, count, _RUN)
    ]


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield a run of tiles.

    Raises:
        SceneError: the file or what lies beside it cannot be read.
    """
    path = Path(container.path)
    first, last = (int(part) for part in (container.inner or "").split("-"))
    tiles, splits = _tiles(_beside(path, "_tile_info.json")), _splits(_beside(path, "_splits.json"))
    try:
        file = _h5py().File(path)
    except _BROKEN as cause:
        raise SceneError(f"{path} cannot be read ({said(cause)}); it was cut short: fetch it again.") from cause
    with file:
        for at in range(first, last):
            inner = f"{at}"
            try:
                tile = file["metadata"][at][0]
                name = tile.decode() if isinstance(tile, bytes) else str(tile)
                pixels = file["sentinel2"][at]
            except _BROKEN as cause:
                yield broken(inner, SceneError(f"{path}{INNER}{at} cannot be read ({said(cause)}); fetch it again."))
                continue
            origin = {"place": name, "split": splits.get(at)}
            facts = tiles.get(name)
            yield Member(
                inner,
                partial(_open, pixels, facts, f"{path}{INNER}{at}"),
                {key: value for key, value in origin.items() if value},
            )


def _open(pixels: np.ndarray, facts: dict[str, Any] | None, name: str) -> ArrayScene:
    level = str((facts or {}).get("S2_type", "")).lower()
    if facts is None or level not in ("l1c", "l2a"):
        raise SceneError(f"{name} has no entry in _tile_info.json that says its level; leave it out.")
    bands: dict[str, np.ndarray] = dict(zip(_ORDER, pixels, strict=True))
    empty = not bands["B10"].any()
    if empty != (level == "l2a"):
        raise SceneError(
            f"{name} is {level} by _tile_info.json and its B10 is {'empty' if empty else 'not'}; leave it out."
        )
    if empty:
        del bands["B10"]
    try:
        longitude, latitude = float(facts["lon"]), float(facts["lat"])
        crs = utm_of(longitude, latitude)
        told = str(facts.get("CRS", ""))
        x, y = transform("EPSG:4326", told if told.startswith("EPSG:") else crs, [longitude], [latitude])[:2]
        crs = type(crs).from_user_input(told) if told.startswith("EPSG:") else crs
        time = dt.datetime.fromisoformat(str(facts["S2_DATE"])[:10]).replace(tzinfo=dt.UTC)
    except (KeyError, ValueError, TypeError) as cause:
        raise SceneError(f"{name} does not say where or when it is ({said(cause)}); leave it out.") from cause
    half = pixels.shape[-1] * PIXEL_M / 2
    chip = Chip(
        name, bands, crs, (x[0] - half, y[0] + half), time, STATED, None, {"corner": "from the centre's degrees"}
    )
    return chip_scene(chip)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.stem}{ending}")


@lru_cache(maxsize=1)
def _tiles(path: Path) -> dict[str, Any]:
    return _json(path)


@lru_cache(maxsize=1)
def _splits(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    try:
        lists = {name: own for name, own in _json(path).items() if name in ("train", "val", "test")}
        return one_role(((int(at), name) for name, own in lists.items() for at in own), path)
    except (TypeError, ValueError) as cause:
        raise SceneError(f"{path} holds no lists of tiles by split; fetch it again.") from cause


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as cause:
        raise SceneError(f"{path} cannot be read ({said(cause)}); fetch it again.") from cause
    if not isinstance(content, dict):
        raise SceneError(f"{path} is no JSON object; fetch it again.")
    return content


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as cause:
        raise MissingExtraError("h5py", "hdf5") from cause
    return h5py


MMEARTH = Corpus(
    name="mmearth",
    title="MMEarth",
    licence="CC-BY-4.0",
    side_px=132,
    looks_like="data_1M_v001.h5 with data_1M_v001_tile_info.json beside it",
    containers=containers,
    members=members,
)
