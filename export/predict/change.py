"""What changed between two maps of the same ground: a map of it, and from which class to which."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from bandloom.errors import SceneError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.predict.map_file import MapMeaning, listed, write_cog
from bandloom.export.predict.map_scene import PredictOptions
from bandloom.export.predict.one_scene import predict_one
from bandloom.export.predict.partial_map import DiskRows
from bandloom.export.predict.qgis_style import write_style
from bandloom.export.predict.stac_item import item_of_change, write_item
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.label_set import LabelClass, LabelSet
from bandloom.output import new_output, require_absent

CHANGED, SAME = 1, 0
BANDS = ("changed", "before", "after")
LEGEND = LabelSet("change", (LabelClass(SAME, "unchanged", "#d9d9d9"), LabelClass(CHANGED, "changed", "#c51b7d")), ())
ROWS_PX = 512


@dataclass(frozen=True)
class Change:
    """How many pixels of each class became which: ``counts[before, after]`` by index of the label set."""

    counts: np.ndarray  # (K, K) int64
    labels: LabelSet

    def lines(self) -> list[str]:
        """Return what a person reads: the share that changed, and the largest changes by area."""
        total, moved = int(self.counts.sum()), self.moved()
        share = sum(count for count, _, _ in moved) / max(total, 1)
        listed = [f"{before} to {after} {hectares(count):,.1f} ha" for count, before, after in moved[:5]]
        most = f": {', '.join(listed)}" if listed else ""
        return [f"{share:.2%} of the ground that both scenes measured changed class{most}"]

    def moved(self) -> list[tuple[int, str, str]]:
        """Return ``(pixels, before, after)`` of every change that there was, the largest first."""
        names = self.labels.names
        found = [(int(self.counts[i, j]), names[i], names[j]) for i, j in np.argwhere(self.counts) if i != j]
        return sorted(found, reverse=True)

    def record(self) -> dict[str, Any]:
        """Return the table as plain JSON types."""
        return {
            "classes": list(self.labels.names),
            "pixels_before_after": self.counts.tolist(),
            "pixel_m": MAP_PIXEL_M,
            "changed": [
                {"before": before, "after": after, "pixels": count, "hectares": hectares(count)}
                for count, before, after in self.moved()
            ],
        }


def hectares(pixels: int) -> float:
    """Return the area of map pixels."""
    return pixels * MAP_PIXEL_M**2 / 10_000


def map_change(
    bundle: Bundle, runner: Runner, scenes: tuple[str, str], out: Path, options: PredictOptions
) -> Iterator[str]:
    """Map two scenes and what changed between them, and yield what to tell the user.

    Writes ``OUT`` (three bands: changed, before, after), ``OUT's stem.change.json`` (the table), and the two maps
    ``stem.before.tif`` and ``stem.after.tif``; beside each map lie its style and its item. The later map is brought
    onto the earlier one's grid by nearest pixel.

    Raises:
        SceneError: the scenes share no ground.
        OutputError: an output exists or cannot be written.
    """
    maps = [out.with_name(f"{out.stem}.{when}.tif") for when in BANDS[1:]]
    table = out.with_name(f"{out.stem}.change.json")
    require_absent([out, table])
    for scene, target in zip(scenes, maps, strict=True):
        if target.exists():
            yield f"{target}: there already, left alone"
        else:
            yield from predict_one(bundle, runner, scene, target, options)
    style, items = out.with_suffix(".qml"), [each.with_suffix(".stac.json") for each in maps]
    sides = {"qml": style, "change.json": table}
    write_style(style, LEGEND)
    write_item(out.with_suffix(".stac.json"), item_of_change(out, items[0], items[1], LEGEND, sides))
    change = write_change(maps[0], maps[1], out, bundle, scenes)
    with new_output(table) as temporary:
        temporary.write_text(json.dumps(change.record(), indent=1) + "\n")
    yield from (f"{out}: {line}" for line in change.lines())


def write_change(before: Path, after: Path, out: Path, bundle: Bundle, scenes: tuple[str, str]) -> Change:
    """Compare two maps of one label set row by row, and write where they differ.

    Raises:
        SceneError: no pixel has a class in both.
    """
    labels, nodata = bundle.contract.get_label_set(), bundle.contract.map_nodata
    index = np.full(256, -1)
    index[list(labels.codes)] = range(len(labels))
    counts = np.zeros((len(labels), len(labels)), np.int64)
    with (
        rasterio.open(before) as first,
        rasterio.open(after) as second,
        WarpedVRT(
            second,
            crs=first.crs,
            transform=first.transform,
            width=first.width,
            height=first.height,
            resampling=Resampling.nearest,
            nodata=nodata,
        ) as moved,
        TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder,
    ):
        shape = (first.height, first.width, len(BANDS))
        pixels = DiskRows(Path(folder) / "change.raw", shape)
        for top in range(0, first.height, ROWS_PX):
            rows = (top, min(top + ROWS_PX, first.height)), (0, first.width)
            old, new = first.read(1, window=rows), moved.read(1, window=rows)
            both = (old != nodata) & (new != nodata)
            np.add.at(counts, (index[old[both]], index[new[both]]), 1)
            changed = np.where(both, np.where(old != new, CHANGED, SAME), nodata)
            pixels.append(np.stack([changed, old, new], axis=2))
        if not counts.any():
            raise SceneError(f"{scenes[0]} and {scenes[1]} share no measured ground; name two dates of one place.")
        tags = {
            "BUNDLE": bundle.record.name,
            "CONTRACT": bundle.contract.digest(),
            "BEFORE": json.dumps(first.tags()),
            "AFTER": json.dumps(second.tags()),
            "CLASSES": listed(LEGEND),
            "SCENE_BANDS": second.tags().get("SCENE_BANDS", "[]"),
        }
        meaning = MapMeaning(first.crs, first.transform, nodata, BANDS, tags, overviews="MODE")
        write_cog(out, pixels, meaning, Path(folder))
    return Change(counts, labels)
