"""Copernicus-Pretrain, Sentinel-2 top of atmosphere as GeoTIFFs of 13 bands: a folder a grid cell, one a place.

Scenes with and without the +1000 are mixed; B10 decides each. Bands are those of Earth Engine on one 10 m grid: copies
whose blocks begin anywhere, or interpolated; the block test tells.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bandloom.sensors import SLOTS
from bandloom.shards.corpora.chip import Chip, chip_scene
from bandloom.shards.corpora.corpus import INNER, Asked, Container, Corpus, Member
from bandloom.shards.corpora.product_name import earth_engine_time
from bandloom.shards.corpora.rasters_in_memory import read_raster_file, stack_on_10_m
from bandloom.shards.scenes.in_memory import ArrayScene

_CELL = re.compile(r"\d+_-?\d+\.\d+_-?\d+\.\d+")
_SAMPLES = 17  # images to a cell, about


def containers(path: Path) -> list[Container] | None:
    """Return the grid cells that a path holds, or the one that it is."""
    if not path.is_dir():
        return None
    if _CELL.fullmatch(path.name):
        return [Container(str(path), samples=_SAMPLES)] if _places(path) else None
    cells = sorted(child.name for child in path.iterdir() if _CELL.fullmatch(child.name))
    if not cells or not any(_places(path / name) for name in cells[:8]):
        return None
    return [Container(str(path / name), samples=_SAMPLES) for name in cells]


def _places(cell: Path) -> list[Path]:
    return [child for child in sorted(cell.iterdir()) if _CELL.fullmatch(child.name) and child.is_dir()]


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield a cell's images, those of one place after each other."""
    cell = Path(container.path)
    for place in _places(cell):
        for number, file in enumerate(sorted(place.glob("*.tif"))):
            inner = f"{place.name}{INNER}{file.stem}"
            origin = {"place": f"{cell.name}/{place.name}", "season": number, "product": file.stem}
            yield Member(inner, partial(_open, file, f"{cell}{INNER}{inner}", asked.offset), origin)


def _open(file: Path, name: str, told: int | None) -> ArrayScene:
    bands, crs, corner = stack_on_10_m(read_raster_file(file), SLOTS, str(file))
    chip = Chip(name, bands, crs, corner, earth_engine_time(file.stem), None)
    return chip_scene(chip, told)


COPERNICUS_PRETRAIN = Corpus(
    name="copernicus-pretrain",
    title="Copernicus-Pretrain, Sentinel-2",
    licence="CC-BY-4.0",
    side_px=264,
    looks_like="images/0772176_-96.00_44.00/0865831_-95.92_43.96/20221121T170629_20221121T170955_T14TQP.tif",
    containers=containers,
    members=members,
    repository="wangyi111/Copernicus-Pretrain",
    wanted=("*s2_toa*",),
)
