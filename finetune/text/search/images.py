"""Chips for search and zero-shot: the samples of shards, or a scene cut into squares, one after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from bandloom.command_line.console import logger
from bandloom.errors import TextError
from bandloom.finetune.data.splits import PIXEL_M
from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.samples import ALIGN_PX, centre_crop
from bandloom.sensors import Sensor
from bandloom.shards.build.sources import find_sources
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import Scene, open_scene
from bandloom.shards.store.index import MANIFEST

BATCH = 32


@dataclass(frozen=True)
class Image:
    """One chip and where it comes from.

    Args:
        key: its name.
        source: the shards or the scene.
        sensor: whose groups.
        epsg: of its place; 0 when unknown.
        x_m: of its upper-left corner.
        y_m: likewise.
        side_m: of the chip.
        datetime: ISO 8601, or empty.
        class_name: where the source says it.
        groups: native groups ``{gsd_m: (C, H, W)}``.
    """

    key: str
    source: str
    sensor: str
    epsg: int
    x_m: float
    y_m: float
    side_m: float
    datetime: str
    class_name: str | None
    groups: dict[int, np.ndarray] = field(repr=False)


class SeesChips(Protocol):
    """A network of one sensor and one size of chip."""

    sensor: Sensor
    chip_px: int


class Asked(Protocol):
    """A loaded model: an aligned one, or a captioner."""

    @property
    def model(self) -> SeesChips:
        """What sees the chips."""
        ...


def images_of(aligned: Asked, source: Path) -> Iterator[Image]:
    """Yield chips of the model's sensor and size.

    Args:
        aligned: which sensor and size.
        source: a folder of shards, a scene, or a folder of scenes; scenes and samples of other sensors are left out
            with a warning, and so is the rest of a scene that makes no whole chip.

    Raises:
        TextError: samples of the shards are smaller than a chip.
    """
    sensor, chip_px = aligned.model.sensor, aligned.model.chip_px
    if (source / MANIFEST).is_file():
        yield from _of_shards(ShardSet(source), sensor, chip_px)
        return
    for scene in find_sources([str(source)]):
        yield from _of_scene(Path(scene.path), scene.key, sensor, chip_px)


def image_at(image: "Image | dict[str, object]", chip_px: int) -> dict[int, np.ndarray]:
    """Read a chip again from what an index says of it."""
    record = image if isinstance(image, dict) else vars(image)
    source = Path(str(record["source"]))
    if (source / MANIFEST).is_file():
        shards = ShardSet(source)
        row = next(i for i, entry in enumerate(shards.entries) if entry.key == record["key"])
        return centre_crop(shards.read(row).groups, chip_px)
    with open_scene(source) as scene:
        side = chip_px * PIXEL_M
        left, top = scene.transform.c, scene.transform.f
        return scene.read((float(str(record["x_m"])) - left, top - float(str(record["y_m"])), side, side))


@torch.no_grad()
def vectors_of(aligned: Aligned, images: Iterable[Image]) -> Iterator[tuple[list[Image], np.ndarray]]:
    """Yield chips with their unit vectors ``(B, D)``, some at a time; the chips' pixels are let go."""
    waiting: list[Image] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == BATCH:
            yield _encode(aligned, waiting)
            waiting = []
    if waiting:
        yield _encode(aligned, waiting)


def _encode(aligned: Aligned, images: list[Image]) -> tuple[list[Image], np.ndarray]:
    device = aligned.model.log_scale.device
    groups = {gsd: torch.from_numpy(np.stack([i.groups[gsd] for i in images])).to(device) for gsd in images[0].groups}
    vectors = aligned.model.image(groups).cpu().numpy()
    return [Image(**{**vars(image), "groups": {}}) for image in images], vectors


def _of_shards(shards: ShardSet, sensor: Sensor, chip_px: int) -> Iterator[Image]:
    names = shards.label_set.names if shards.label_set else ()
    others = sum(entry.sensor != sensor.name for entry in shards.entries)
    if others:
        logger.warning("%d samples of %s are not of %s and are left out", others, shards.path, sensor.name)
    twice = sum(entry.sensor == sensor.name and entry.split == "duplicate" for entry in shards.entries)
    if twice:
        logger.warning("%d samples of %s are marked as duplicates of others and are left out", twice, shards.path)
    for index, entry in enumerate(shards.entries):
        if entry.sensor != sensor.name or entry.split == "duplicate":
            continue
        if entry.side_px < chip_px:
            raise TextError(
                f"{entry.key} in {shards.path} is {entry.side_px} pixels wide, the model's chips {chip_px}; build"
                f" shards with --side {chip_px} or more."
            )
        inset = (entry.side_px - chip_px) // 2 // ALIGN_PX * ALIGN_PX * PIXEL_M
        name = names[entry.class_index] if entry.class_index is not None else None
        yield Image(
            entry.key,
            str(shards.path),
            sensor.name,
            entry.epsg or 0,
            entry.x_m + inset,
            entry.y_m - inset,
            chip_px * PIXEL_M,
            entry.datetime or "",
            name,
            centre_crop(shards.read(index).groups, chip_px),
        )


def _of_scene(path: Path, key: str, sensor: Sensor, chip_px: int) -> Iterator[Image]:
    side = chip_px * PIXEL_M
    with open_scene(path, sensor=None) as scene:
        if scene.sensor.name != sensor.name:
            logger.warning("%s is of %s, not of %s, and is left out", path, scene.sensor.name, sensor.name)
            return
        _say_what_is_left(path, scene, side)
        left, top = scene.transform.c, scene.transform.f
        for row in range(max(1, int(scene.height_m) // side)):
            for column in range(max(1, int(scene.width_m) // side)):
                groups = scene.read((column * side, row * side, side, side))
                if any(group.any() for group in groups.values()):
                    yield Image(
                        f"{key}_{row:04d}_{column:04d}",
                        str(path),
                        sensor.name,
                        scene.crs.to_epsg() or 0,
                        left + column * side,
                        top - row * side,
                        side,
                        scene.datetime.isoformat() if scene.datetime else "",
                        None,
                        groups,
                    )


def _say_what_is_left(path: Path, scene: Scene, side: int) -> None:
    """Warn of ground at the right and lower edge that makes no whole chip, and of a scene that is less than one."""
    right, below = (length % side for length in (scene.width_m, scene.height_m))
    if min(scene.width_m, scene.height_m) < side:
        size = f"{scene.width_m:.0f} x {scene.height_m:.0f} m"
        logger.warning("%s is %s; what its chip of %d m lacks counts as not measured", path, size, side)
    elif right or below:
        left_out = "%s: %.0f m at the right and %.0f m below make no whole chip of %d m and are left out"
        logger.warning(left_out, path, right, below, side)
