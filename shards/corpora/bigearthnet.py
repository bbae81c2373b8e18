"""BigEarthNet v1 and v2 as pixels: Level-2A patches, a GeoTIFF a band at its own sampling, without the +1000.

Version 2 lies in a folder a tile and has its split in ``metadata.parquet`` beside them; version 1 lies flat. The two
were corrected for the atmosphere differently and are not to be mixed.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bandloom.errors import SceneError
from bandloom.sensors import SLOTS
from bandloom.shards.corpora.chip import Chip, chip_scene
from bandloom.shards.corpora.corpus import Asked, Container, Corpus, Member, one_role
from bandloom.shards.corpora.parquet import rows_of
from bandloom.shards.corpora.product_name import compact_time
from bandloom.shards.corpora.rasters_in_memory import one_place, read_raster_file
from bandloom.shards.scenes.in_memory import ArrayScene

_PRODUCT = r"S2[AB]_MSIL2A_(\d{8}T\d{6})(_N\d{4}_R\d{3}_T\w{5})?"
_PATCH, _TILE = re.compile(rf"({_PRODUCT})_\d+_\d+"), re.compile(_PRODUCT)
_BANDS = tuple(slot for slot in SLOTS if slot != "B10")
_METADATA = "metadata.parquet"
_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_PATCHES = 256  # to a tile, about
STATED = (0, "the table of BigEarthNet")


def containers(path: Path) -> list[Container] | None:
    """Return the tiles of version 2, or the patches of each product of version 1, that a path holds."""
    if not path.is_dir():
        return None
    if _PATCH.fullmatch(path.name) and (path / f"{path.name}_B02.tif").is_file():
        return [Container(str(path.parent), path.name, 1)]
    names = sorted(child.name for child in path.iterdir())
    patches = [name for name in names if _PATCH.fullmatch(name)]
    if patches:
        if not (path / patches[0] / f"{patches[0]}_B02.tif").is_file():
            return None
        products = Counter(name.rsplit("_", 2)[0] for name in patches)
        if list(products) == [path.name]:
            return [Container(str(path), samples=len(patches))]
        return [Container(str(path), product, count) for product, count in products.items()]
    tiles = [name for name in names if _TILE.fullmatch(name) and "_N" in name]
    if not tiles or not any(_PATCH.fullmatch(child.name) for child in (path / tiles[0]).iterdir()):
        return None
    return [Container(str(path / name), samples=_PATCHES) for name in tiles]


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield a tile's or a product's patches by name."""
    folder, inner = Path(container.path), container.inner
    splits = _splits(folder)
    for patch in sorted(folder.iterdir()):
        match = _PATCH.fullmatch(patch.name)
        if match is None or (inner is not None and inner not in (match[1], patch.name)):
            continue
        origin = {"place": patch.name, "split": splits.get(patch.name)}
        yield Member(patch.name, partial(_open, patch), {name: v for name, v in origin.items() if v})


def _open(patch: Path) -> ArrayScene:
    absent = [band for band in _BANDS if not (patch / f"{patch.name}_{band}.tif").is_file()]
    if absent:
        raise SceneError(f"{patch} lacks {', '.join(absent)}; expected 12 bands: fetch it again.")
    bands = {band: read_raster_file(patch / f"{patch.name}_{band}.tif") for band in _BANDS}
    crs, corner = one_place(str(patch), bands)
    match = _PATCH.fullmatch(patch.name)
    version = "v2" if match and match[3] else "v1"
    arrays = {band: pixels.values[0] for band, pixels in bands.items()}
    time = compact_time(match[2]) if match else None
    return chip_scene(Chip(str(patch), arrays, crs, corner, time, STATED, None, {"version": version}))


def _splits(folder: Path) -> dict[str, str]:
    """Return the published split by patch; nothing where there is no metadata beside the tiles."""
    for place in (folder.parent.parent, folder.parent):
        if (place / _METADATA).is_file():
            return _read_splits(place / _METADATA)
    return {}


@functools.lru_cache(maxsize=1)
def _read_splits(path: Path) -> dict[str, str]:
    rows = rows_of(path, ("patch_id", "split"))
    listed = [(str(row["patch_id"]), row["split"]) for row in rows if row["split"]]
    unknown = sorted({str(split) for _, split in listed} - set(_SPLITS))
    if unknown:
        raise SceneError(f"{path} puts patches into {unknown[0]!r}; expected {', '.join(_SPLITS)}: fetch it again.")
    return one_role(((patch, _SPLITS[split]) for patch, split in listed), path)


BIGEARTHNET = Corpus(
    name="bigearthnet",
    title="BigEarthNet, Sentinel-2",
    licence="CDLA-Permissive-1.0",
    side_px=120,
    looks_like="BigEarthNet-S2/TILE/PATCH/PATCH_B02.tif (version 2) or PATCH/PATCH_B02.tif (version 1)",
    containers=containers,
    members=members,
)
