"""The files of one map, finished but not yet named: the map, its layers, picture, style and catalogue item."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.transform import Affine

from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.predict.clock import Clock
from bandloom.export.predict.map_file import MapMeaning, class_meaning, make_cog, make_picture, make_text
from bandloom.export.predict.map_job import MapJob, layer_bands
from bandloom.export.predict.map_tags import tags_of
from bandloom.export.predict.origin import TAG
from bandloom.export.predict.partial_map import PartialMap
from bandloom.export.predict.qgis_style import style
from bandloom.export.predict.stac_item import item_of_map

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene


@dataclass(frozen=True)
class MapFacts:
    """What a map tells beside its pixels.

    Attributes:
        scene: what was mapped.
        origin: what it was made from, :meth:`bandloom.export.predict.origin.Origin.record`.
        shifted: the share of pixels that change class when tiles are shifted, where it was measured.
        clock: where the time went.
    """

    scene: "Scene"
    origin: dict[str, Any]
    shifted: float | None
    clock: Clock


def make_files(job: MapJob, facts: MapFacts, rows: PartialMap) -> dict[Path, Path]:
    """Write every file of a map into its workspace.

    Returns:
        Where each lies, by its final name, the map itself last.
    """
    contract, scene = job.bundle.contract, facts.scene
    finest_m = min(group.gsd_m for group in contract.groups)
    transform = scene.transform * Affine.scale(MAP_PIXEL_M / finest_m)
    tags = _tags(job, facts)
    plain = partial(MapMeaning, scene.crs, transform, contract.map_nodata, tags=tags)
    meaning = class_meaning(job.labels, scene.crs, transform, contract.map_nodata, tags)
    ready = {}
    for name, names in layer_bands(job.labels, job.options).items():
        side = job.sides[f"{name}.tif"]
        ready[side] = make_cog(side, rows.layer(name), plain(names), rows.folder)
    made = make_cog(job.out, rows.layer("class"), meaning, rows.folder)
    if (side := job.sides.get("png")) and meaning.colours:
        ready[side] = make_picture(side, made, meaning.colours, rows.folder)
    ready[job.sides["qml"]] = make_text(job.sides["qml"], style(job.labels), rows.folder)
    item = json.dumps(_item(job, facts, (scene.crs, transform, rows.layer("class").shape[:2])), indent=1) + "\n"
    ready[job.sides["stac.json"]] = make_text(job.sides["stac.json"], item, rows.folder)
    return ready | {job.out: made}


def _tags(job: MapJob, facts: MapFacts) -> dict[str, str]:
    tags = tags_of(job.bundle, facts.scene, job.options) | {TAG: json.dumps(facts.origin), "RUNTIME": job.runner.name}
    if job.command:
        tags["COMMAND"] = json.dumps(job.command)
    if facts.shifted is not None:
        tags["HALF_TILE_SHIFT_DISAGREEMENT"] = f"{facts.shifted:.6f}"
    return tags


def _item(job: MapJob, facts: MapFacts, grid: tuple[Any, Affine, tuple[int, ...]]) -> dict[str, Any]:
    sides = {suffix: path for suffix, path in job.sides.items() if suffix != "stac.json"}
    item = item_of_map(job.out, facts.scene, job.bundle, sides, grid, facts.shifted)
    item["properties"]["bandloom:seconds"] = facts.clock.record()
    return item
