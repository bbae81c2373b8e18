"""SSL4EO-S12 v1: a folder a place, a folder a season, one GeoTIFF a band at its own sampling, in degrees.

No value carries the +1000. The groups of bands begin at different corners, so they are brought to UTM as every scene in
degrees is, each group on its own grid, and the square that all of them cover is kept.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from bandloom.errors import SceneError
from bandloom.rasters.values import OFFSET, valid
from bandloom.sensors import Sensor
from bandloom.shards.corpora.corpus import INNER, Asked, Container, Corpus, Member
from bandloom.shards.corpora.product_name import earth_engine_time
from bandloom.shards.scenes import ALIGN_M, SceneOptions, open_scene
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.in_memory import ArrayScene
from bandloom.shards.scenes.offset import decide_offset

SIDE_PX = 240  # what lies inside a patch of 264 pixels that is turned by up to 2.5 degrees to lie in UTM
_LEVELS = ("s2a", "s2c", "s2_l1c", "s2_l2a")
_PLACE = re.compile(r"\d{7}")
_BANDS = {"s2c": 13, "s2_l1c": 13, "s2a": 12, "s2_l2a": 12}
_STATED = "the table of SSL4EO-S12 v1"


def containers(path: Path) -> list[Container] | None:
    """Return the places of one level that a path holds, or the one that it is; a place has four seasons."""
    if not path.is_dir():
        return None
    if _PLACE.fullmatch(path.name) and _seasons(path):
        return [Container(str(path), samples=4)]
    if path.name not in _LEVELS:
        return None
    places = sorted(child.name for child in path.iterdir() if _PLACE.fullmatch(child.name))
    return [Container(str(path / name), samples=4) for name in places] or None


def _seasons(place: Path) -> list[Path]:
    return [child for child in sorted(place.iterdir()) if earth_engine_time(child.name) is not None and child.is_dir()]


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield the seasons of a place.

    Raises:
        SceneError: it has none.
    """
    place = Path(container.path)
    seasons = _seasons(place)
    if not seasons:
        raise SceneError(f"{place} holds no season; it is incomplete: fetch it again.")
    for number, season in enumerate(seasons):
        origin = {"place": place.name, "season": number, "product": season.name}
        yield Member(season.name, partial(_open, season, f"{place}{INNER}{season.name}"), origin)


def _open(season: Path, name: str) -> ArrayScene:
    wanted = _BANDS.get(season.parent.parent.name)
    files = [child for child in season.iterdir() if child.suffix == ".tif"]
    if wanted is not None and len(files) != wanted:
        raise SceneError(f"{season} holds {len(files)} bands; expected {wanted}: the season is incomplete.")
    _refuse_pictures(season, files)
    with open_scene(season, SceneOptions(offset=0)) as scene:
        rows, columns = (int(side // ALIGN_M) for side in (scene.height_m, scene.width_m))
        side = min(rows, columns, SIDE_PX * 10 // ALIGN_M)
        top, left = ((size - side) // 2 * ALIGN_M for size in (rows, columns))
        groups = scene.read((left, top, side * ALIGN_M, side * ALIGN_M))
        _check_cirrus(name, scene.sensor, groups)
        own = scene.provenance.get("own_samples", [])
        facts: dict[str, Any] = {
            **scene.provenance,
            "source": name,
            "offset": 0,
            "offset_from": _STATED,
            "upsampled_by": "none",
            "warped": "samples taken back" if own else "from degrees, by us",
        }
        corner = scene.transform * (left / scene.transform.a, top / scene.transform.a)
        return ArrayScene(
            scene.sensor,
            groups,
            float(side * ALIGN_M),
            float(side * ALIGN_M),
            scene.crs,
            Affine(10, 0, corner[0], 0, -10, corner[1]),
            season.name,
            _time(season),
            facts,
        )


def _check_cirrus(name: str, sensor: Sensor, groups: Mapping[int, np.ndarray]) -> None:
    """Refuse a season whose B10 says that the +1000 is in its values, as in scenes of 2022 and reprocessed ones.

    Args:
        name: of the sample.
        sensor: its bands.
        groups: ``{gsd_m: (C, H, W)}``, read as the table says.

    Raises:
        SceneError: B10 contradicts the table.
    """
    for group in sensor.groups:
        if "B10" in group.slots:
            cirrus = groups[group.gsd_m][group.slots.index("B10")]
            decide_offset(name, None, 0, cirrus[valid(cirrus)].astype(np.int64) - OFFSET, np.array([]), {}, _STATED)


def _refuse_pictures(season: Path, files: Sequence[Path]) -> None:
    """Refuse the edition of 8-bit JPEG and LMDB, whose values are lost.

    Raises:
        SceneError: the files hold bytes.
    """
    for file in files[:1]:
        with open_raster(file) as raster:
            if raster.dtypes[0] == "uint8":
                raise SceneError(
                    f"{season} is of the 8-bit edition, whose values are lost; take the 16-bit GeoTIFFs (s2_l1c.tar.gz,"
                    " s2_l2a.tar.gz) or SSL4EO-S12 v1.1."
                )


def _time(season: Path) -> datetime | None:
    """Return the time in a season's metadata, or else in its Earth Engine id."""
    try:
        told = json.loads((season / "metadata.json").read_text())["system:time_start"]
        return datetime.fromtimestamp(float(told) // 1000, UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return earth_engine_time(season.name)


SSL4EO_V1 = Corpus(
    name="ssl4eo-s12-v1",
    title="SSL4EO-S12 v1",
    licence="CC-BY-4.0",
    side_px=SIDE_PX,
    looks_like="s2c/0000000/20200604T054639_20200604T054831_T43RCP/B1.tif (also s2a, s2_l1c, s2_l2a)",
    containers=containers,
    members=members,
)
