"""CloudSEN12+: patches of 509 or 2000 pixels with their cloud labels, in TACO files of version 1.

An item is a patch and holds two: the image (Level-1C 13 bands; Level-2A 12, then aerosol and water vapour) and its
label. Patches are padded with zeros to a multiple of 32 pixels, on the left and at the bottom by the set's card; what
is told and what the pixels say must agree, and the padding is cut off. No value carries the +1000, by the card; B10 may
contradict it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import SceneError
from bandloom.sensors import SLOTS
from bandloom.shards.corpora.chip import Chip, chip_scene
from bandloom.shards.corpora.corpus import INNER, Asked, Container, Corpus, Member
from bandloom.shards.corpora.product_name import earth_engine_time
from bandloom.shards.corpora.rasters_in_memory import Pixels, read_raster_bytes, stack_on_10_m
from bandloom.shards.corpora.tortilla import NESTED, Item, columns_of, content_of, is_tortilla, items_of
from bandloom.shards.scenes.in_memory import ArrayScene

SIDE_PX = 258  # two cover the 509 pixels of a patch and 7 more
SQUARES = 4
DENSE, SPARSE, NONE = "high", "scribble", "nolabel"  # label_type: every pixel, some of them, none
UNLABELLED = 99
ROLES = {"train": "train", "validation": "val", "test": "test"}
STATED = (0, "the card of CloudSEN12+")
_WANTED = ("label_type", "real_proj_shape")  # what tells these files from other sets in the same container
_COLUMNS = (*_WANTED, "tortilla:data_split", "roi_id", "s2_id", "stac:time_start")
_L2A = tuple(slot for slot in SLOTS if slot != "B10")
_BANDS = {13: SLOTS, 12: _L2A, 14: (*_L2A, "AOT", "WVP")}


def containers(path: Path) -> list[Container] | None:
    """Return the parts of one level that a path is, or that lie right inside; ``cloudsen12-extra`` is passed over."""
    if path.is_file():
        count = _patches(path)
        return None if count is None else [Container(str(path), samples=count * SQUARES)]
    if not path.is_dir():
        return None
    parts = [part for child in sorted(path.iterdir()) if is_tortilla(child) for part in containers(child) or []]
    return parts or None


def _patches(path: Path) -> int | None:
    """Return how many patches a part holds; None where it is none of this set, or holds no images.

    A part that is damaged counts as one by its name: it is quarantined when its turn comes, and the others stand.
    """
    if not is_tortilla(path) or "-extra" in path.name:
        return None
    try:
        names, count = columns_of(path)
    except SceneError:
        return 1 if "cloudsen12" in path.name.lower() else None
    return count if set(_WANTED) <= names else None


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield the patches of a part in the order in which they lie.

    Raises:
        SceneError: the part cannot be read.
    """
    path = Path(container.path)
    for item in sorted(patches_of(path).values(), key=lambda item: item.begin):
        split = ROLES.get(str(item.facts.get("tortilla:data_split")))
        origin = {"place": item.facts.get("roi_id"), "product": item.facts.get("s2_id"), "split": split}
        told = {name: value for name, value in origin.items() if value}
        yield Member(item.id, partial(_open, path, item, asked.offset), told)


@lru_cache(maxsize=16)
def patches_of(path: Path) -> dict[str, Item]:
    """Return the patches of a part by id.

    Raises:
        SceneError: it cannot be read, or names a patch twice.
    """
    items = items_of(path, _COLUMNS)
    by_id = {item.id: item for item in items}
    if len(by_id) < len(items):
        raise SceneError(f"{path} names a patch twice; which counts is not known: fetch it again.")
    return by_id


@dataclass(frozen=True)
class Patch:
    """A patch without its padding.

    Attributes:
        bands: ``(H, W)`` integers by Sentinel-2 band.
        pixels: the raster that they were cut from, with its place.
        label: ``(H, W)`` codes, 99 where there is none.
        corner: easting and northing of the upper-left corner, metres.
        padding: what was cut off, in words.
    """

    bands: dict[str, np.ndarray]
    pixels: Pixels
    label: np.ndarray
    corner: tuple[float, float]
    padding: str


def read_patch(path: Path, item: Item) -> Patch:
    """Return the image and the label of one patch.

    Raises:
        SceneError: it holds other items, bands or sizes than the set's card says.
    """
    name = f"{path}{INNER}{item.id}"
    if item.format != NESTED:
        raise SceneError(f"{name} is a {item.format}; expected an image and its label: fetch it again.")
    inside = items_of(path, inside=item)
    wanted = (1, 2) if item.facts.get("label_type") == NONE else (2,)
    if len(inside) not in wanted:
        raise SceneError(f"{name} holds {len(inside)} files; expected an image and its label: fetch it again.")
    image = read_raster_bytes(content_of(path, inside[0]), f"{name}{INNER}{inside[0].id}")
    label = np.full(image.values.shape[1:], UNLABELLED, np.uint8)
    if len(inside) > 1:
        mask = read_raster_bytes(content_of(path, inside[1]), f"{name}{INNER}{inside[1].id}", (None, 0, UNLABELLED))
        label = mask.values[0] if len(mask.values) == 1 else mask.values
    order = _BANDS.get(len(image.values))
    if order is None or label.shape != image.values.shape[1:]:
        raise SceneError(
            f"{name} holds rasters of {image.values.shape} and {label.shape}; expected 13 bands (Level-1C) or 14"
            " (Level-2A), and one of labels, of one size: fetch it again."
        )
    bands, _, corner = stack_on_10_m(image, order, name)
    rows, columns, said = _unpadded(image.values, item.facts.get("real_proj_shape"), name)
    cut = np.s_[rows[0] : rows[1], columns[0] : columns[1]]
    return Patch(
        {band: plane[cut] for band, plane in bands.items() if band in SLOTS},
        image,
        label[cut],
        (corner[0] + 10 * columns[0], corner[1] - 10 * rows[0]),
        said,
    )


def _unpadded(values: np.ndarray, told: Any, name: str) -> tuple[tuple[int, int], tuple[int, int], str]:
    """Return the rows and columns of a padded image that hold the patch, and which sides were cut.

    Raises:
        SceneError: no size is told, or no side has so many lines of zeros.
    """
    if not isinstance(told, int | float) or not 1 <= told <= min(values.shape[1:]):
        raise SceneError(
            f"{name} states real_proj_shape {told!r} for {values.shape[1:]} pixels; expected their number without the"
            " padding: fetch it again."
        )
    side, empty = int(told), ~np.any(values, axis=0)
    spans, words = [], []
    for axis, (first, last), by_card in ((0, ("top", "bottom"), "bottom"), (1, ("left", "right"), "left")):
        size = values.shape[1 + axis]
        extra = size - side
        lines = np.all(empty, axis=1 - axis)
        sides = {first: lines[:extra].all(), last: lines[size - extra :].all()}
        padded = by_card if sides[by_card] else next((where for where, zeros in sides.items() if zeros), None)
        if padded is None:
            raise SceneError(
                f"{name} states {side} pixels and stores {size}, but neither {first} nor {last} are {extra} lines of"
                " zeros; which pixels count is not known: leave it out."
            )
        spans.append((extra, size) if padded == first else (0, side))
        words += [f"{extra} {padded}"] if extra else []
    return spans[0], spans[1], ", ".join(words) or "none"


def scene_of(path: Path, item: Item, patch: Patch, told: int | None = None) -> ArrayScene:
    """Return a patch as a scene of native band groups.

    Raises:
        SceneError: its place or its values cannot be used.
    """
    name = f"{path}{INNER}{item.id}"
    cloud = patch.label if item.facts.get("label_type") == DENSE else None
    facts = {"padding": patch.padding, "corner": "as the raster states, the padding cut off"}
    chip = Chip(name, patch.bands, patch.pixels.crs, patch.corner, _time(item), STATED, cloud, facts)
    return chip_scene(chip, told)


def _open(path: Path, item: Item, told: int | None) -> ArrayScene:
    return scene_of(path, item, read_patch(path, item), told)


def _time(item: Item) -> datetime | None:
    """Return the time of the product's Earth Engine id, or else of the table: seconds since 1970."""
    time = earth_engine_time(str(item.facts.get("s2_id")).rpartition("/")[2])
    told = item.facts.get("stac:time_start")
    if time is None and isinstance(told, int | float) and 0 < told < 2**33:
        return datetime.fromtimestamp(int(told), UTC)
    return time or (told.replace(tzinfo=UTC) if isinstance(told, datetime) else None)


CLOUDSEN12 = Corpus(
    name="cloudsen12",
    title="CloudSEN12+",
    licence="CC0-1.0",
    side_px=SIDE_PX,
    looks_like="cloudsen12-l1c.0000.part.taco (or l2a), TACO version 1 with label_type and real_proj_shape",
    containers=containers,
    members=members,
    repository="tacofoundation/cloudsen12",
    wanted=("cloudsen12-l1c.*.taco", "cloudsen12-l2a.*.taco"),
)
