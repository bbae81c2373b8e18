"""A mosaic of maps of one label set: where maps overlap, a pixel is of the first one that knows its class."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio

from bandloom.classes.label_set import LabelSet
from bandloom.command_line.console import track
from bandloom.export.bundle.bundle import sha256_of
from bandloom.export.place.mosaic_grid import Grid, Rows, grid_of, rows_on
from bandloom.export.predict.claim import claimed
from bandloom.export.predict.map_file import MapMeaning, class_meaning, make_cog, make_text
from bandloom.export.predict.partial_map import PartialMap
from bandloom.export.predict.publish import publish
from bandloom.export.predict.qgis_style import style
from bandloom.export.predict.stac_item import item_of_mosaic
from bandloom.files.output import require_absent

ROWS_PX = 512
RULE = "where maps overlap, a pixel is of the first one that knows its class"
SHARED_TAGS = ("TIFFTAG_SOFTWARE", "BUNDLE", "CONTRACT", "MODEL_SHA256", "SENSOR", "RUNTIME")
TIMES = ("ACQUISITION_DATETIME", "TIFFTAG_DATETIME")


@dataclass(frozen=True)
class Parts:
    """What a mosaic is made of.

    Attributes:
        maps: in the order in which they are asked for a pixel's class.
        labels: the classes of all of them.
        nodata: the code of ground without a class.
        layers: the endings of what lies beside every map and belongs to the mosaic too, such as ``confidence``.
    """

    maps: Sequence[Path]
    labels: LabelSet
    nodata: int
    layers: tuple[str, ...] = ()

    def file(self, number: int, layer: str) -> Path:
        """Return the file of a map's layer."""
        path = self.maps[number]
        return path if layer == "class" else path.with_name(f"{path.stem}.{layer}.tif")


@dataclass
class Mosaic:
    """What was made: the pixels taken of each map, and those that several maps know, and know alike."""

    path: Path
    grid: Grid
    moved: int
    taken: list[int] = field(default_factory=list)
    shared: int = 0
    alike: int = 0

    def lines(self) -> list[str]:
        """Return the report a person reads."""
        told = f"{self.path}: {len(self.taken)} maps in one, in {self.grid.crs.to_string()}; {RULE}"
        lines = [told]
        if self.moved:
            lines.append(f"{self.moved} of them lie on another grid and were brought to it by the nearest pixel")
        if self.shared:
            lines.append(
                f"{self.shared / max(1, sum(self.taken)):.1%} of the ground is on several maps, of which"
                f" {self.alike / self.shared:.1%} has the same class on them"
            )
        return lines


def write_mosaic(out: Path, parts: Parts) -> Mosaic:
    """Write the mosaic of some maps, its style, its item, and its layers, a strip of it in memory at a time.

    Raises:
        SceneError: a map cannot be read.
        OutputError: the mosaic or a file beside it exists, or cannot be written.
    """
    with claimed(out):
        grid = grid_of(parts.maps)
        partial = _begin(out, parts, grid)
        with partial as rows:
            made = _fill(out, parts, grid, rows)
            ready = _files(out, parts, grid, rows)
            rows.note_publishing()
            publish(ready)
    return made


def _sides(out: Path, parts: Parts) -> dict[str, Path]:
    return {
        name: out.with_name(f"{out.stem}.{name}") for name in (*(f"{n}.tif" for n in parts.layers), "qml", "stac.json")
    }


def _begin(out: Path, parts: Parts, grid: Grid) -> PartialMap:
    """Return empty layers on disk; what a run left that was killed while it gave files their names is removed."""
    shape = (*grid.shape, 1)
    layers = dict.fromkeys(("class", *parts.layers), shape)
    work = {"mosaic": [sha256_of(path) for path in parts.maps]}
    partial = PartialMap(out, layers, work)
    sides = list(_sides(out, parts).values())
    if partial.was_publishing:
        for side in sides:
            side.unlink(missing_ok=True)
    partial.discard()  # a mosaic is quick, and what several maps share is counted over all of it
    require_absent(sides)
    return PartialMap(out, layers, work)


def _fill(out: Path, parts: Parts, grid: Grid, rows: PartialMap) -> Mosaic:
    made = Mosaic(out, grid, 0, [0] * len(parts.maps))
    height = grid.shape[0]
    names = ("class", *parts.layers)
    with ExitStack() as stack:
        read: list[dict[str, Rows]] = []
        for number, path in enumerate(parts.maps):
            with rasterio.open(path) as raster:
                made.moved += grid.offset_of(raster) is None
            files = {name: rows_on(grid, parts.file(number, name), parts.nodata) for name in names}
            read.append({name: stack.enter_context(file) for name, file in files.items()})
        for top in track(range(0, height, ROWS_PX), f"rows of {out.name}"):
            rows.append(_strip(made, read, (top, min(top + ROWS_PX, height)), parts.nodata))
    return made


def _strip(made: Mosaic, read: list[dict[str, Rows]], at: tuple[int, int], nodata: int) -> dict[str, np.ndarray]:
    """Return the layers of some rows, and count what was taken and what is shared."""
    shape = at[1] - at[0], made.grid.shape[1]
    out = {name: np.full(shape, nodata, np.uint8) for name in read[0]}
    shared, differs = np.zeros(shape, bool), np.zeros(shape, bool)
    for number, layers in enumerate(read):
        codes = layers["class"](*at)
        known, held = codes != nodata, out["class"] != nodata
        shared |= known & held
        differs |= known & held & (codes != out["class"])
        take = known & ~held
        made.taken[number] += int(take.sum())
        for name in out if take.any() else ():
            out[name][take] = (codes if name == "class" else layers[name](*at))[take]
    made.shared += int(shared.sum())
    made.alike += int((shared & ~differs).sum())
    return out


def _files(out: Path, parts: Parts, grid: Grid, rows: PartialMap) -> dict[Path, Path]:
    """Write every file into the workspace; return where each lies by its final name, the mosaic last."""
    tags, sides = _tags(parts), _sides(out, parts)
    ready = {}
    for name in parts.layers:
        side = sides[f"{name}.tif"]
        with rasterio.open(parts.file(0, name)) as first:
            bands = tuple(map(str, first.descriptions))
        meaning = MapMeaning(grid.crs, grid.transform, parts.nodata, bands, tags=tags)
        ready[side] = make_cog(side, rows.layer(name), meaning, rows.folder)
    meaning = class_meaning(parts.labels, grid.crs, grid.transform, parts.nodata, tags)
    made = make_cog(out, rows.layer("class"), meaning, rows.folder)
    items = [path.with_suffix(".stac.json") for path in parts.maps]
    own = {suffix: path for suffix, path in sides.items() if suffix != "stac.json"}
    item = item_of_mosaic(out, items, parts.labels, own, (grid.crs, grid.transform, grid.shape))
    ready[sides["qml"]] = make_text(sides["qml"], style(parts.labels), rows.folder)
    ready[sides["stac.json"]] = make_text(sides["stac.json"], json.dumps(item, indent=1) + "\n", rows.folder)
    return ready | {out: made}


def _tags(parts: Parts) -> dict[str, str]:
    """Return what all maps say alike, and which maps these are; the time where all are of one day."""
    told: list[Mapping[str, str]] = []
    for path in parts.maps:
        with rasterio.open(path) as raster:
            told.append(raster.tags())
    first = told[0]
    tags = {name: first[name] for name in SHARED_TAGS if name in first}
    scenes = [one.get("SCENE", path.stem) for one, path in zip(told, parts.maps, strict=True)]
    tags["SCENE"] = " and ".join(scenes) if len(scenes) < 3 else f"{len(scenes)} scenes"
    days = {one.get("ACQUISITION_DATETIME", "")[:10] for one in told}
    if len(days) == 1:
        tags |= {name: first[name] for name in TIMES if name in first}
    listed = [
        {"map": path.name, "scene": scene, "bands": json.loads(one.get("SCENE_BANDS") or "[]")}
        for path, scene, one in zip(parts.maps, scenes, told, strict=True)
    ]
    return tags | {"MOSAIC": json.dumps({"rule": RULE, "maps": listed})}
