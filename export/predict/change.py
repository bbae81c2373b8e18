"""Change between two maps of the same ground: where, and from which class to which."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.errors import BundleError, SceneError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.predict.change_table import Change
from bandloom.export.predict.claim import claimed
from bandloom.export.predict.map_file import MapMeaning, listed, make_cog, make_text
from bandloom.export.predict.one_scene import predict_missing, require_same_outputs
from bandloom.export.predict.options import PredictOptions, command_of
from bandloom.export.predict.partial_map import DiskRows
from bandloom.export.predict.publish import publish
from bandloom.export.predict.qgis_style import style
from bandloom.export.predict.stac_item import item_of_change
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.files.output import require_absent

CHANGED, SAME = 1, 0
BANDS = ("changed", "before", "after")
LEGEND = LabelSet("change", (LabelClass(SAME, "unchanged", "#d9d9d9"), LabelClass(CHANGED, "changed", "#c51b7d")), ())
SIDES = ("change.json", "qml", "stac.json")
ROWS_PX = 512


@dataclass(frozen=True)
class ChangeJob:
    """One map of what changed between two scenes.

    Attributes:
        bundle: a bundle whose model maps one date.
        scenes: the earlier and the later one.
        out: the map of changes.
        options: how the scenes are mapped.
    """

    bundle: Bundle
    scenes: tuple[str, str]
    out: Path
    options: PredictOptions

    @property
    def maps(self) -> tuple[Path, Path]:
        """The maps of the two scenes."""
        before, after = (self.out.with_name(f"{self.out.stem}.{when}.tif") for when in BANDS[1:])
        return before, after

    @property
    def sides(self) -> dict[str, Path]:
        """The files beside the map, by suffix."""
        return {suffix: self.out.with_name(f"{self.out.stem}.{suffix}") for suffix in SIDES}


def map_change(
    bundle: Bundle, runner: Runner, scenes: tuple[str, str], out: Path, options: PredictOptions
) -> Iterator[str]:
    """Map two scenes and what changed between them, and yield what to tell the user.

    Writes ``OUT`` (three bands: changed, before, after), ``OUT's stem.change.json`` (the table), and the two maps
    ``stem.before.tif`` and ``stem.after.tif``; beside each map lie its style and its item. The later map is brought
    onto the earlier one's grid by nearest pixel. Maps of the two scenes that are there already are used, if they are
    what this command would make.

    Raises:
        BundleError: the bundle maps values.
        SceneError: the scenes share no ground.
        OutputError: an output exists or cannot be written, or a map that is there is of another scene or bundle.
    """
    if bundle.contract.answer.continuous:
        raise BundleError(f"the bundle {bundle.path} maps values, not classes: map both scenes and subtract them.")
    job = ChangeJob(bundle, scenes, out, options)
    with claimed(out):
        require_absent([*job.sides.values()])
        pairs = list(zip(scenes, job.maps, strict=True))
        for scene, target in pairs:
            if target.exists():
                require_same_outputs(bundle, scene, target, options)
        for scene, target in pairs:
            yield from predict_missing(bundle, runner, scene, target, options)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as workspace:
            change = _publish(job, Path(workspace))
    yield from (f"{out}: {line}" for line in change.lines())


def _publish(job: ChangeJob, workspace: Path) -> Change:
    """Compare the two maps, and write what came out beside its table, style and item."""
    items = [path.with_suffix(".stac.json") for path in job.maps]
    own = {suffix: path for suffix, path in job.sides.items() if suffix != "stac.json"}
    item = item_of_change(job.out, items[0], items[1], LEGEND, own)
    change, made = compare(job, job.maps, workspace)
    texts = {
        "change.json": json.dumps(change.record(), indent=1) + "\n",
        "qml": style(LEGEND),
        "stac.json": json.dumps(item, indent=1) + "\n",
    }
    ready = {path: make_text(path, texts[suffix], workspace) for suffix, path in job.sides.items()}
    publish(ready | {job.out: made})
    return change


def compare(job: ChangeJob, maps: tuple[Path, Path], workspace: Path) -> tuple[Change, Path]:
    """Compare two maps of one label set row by row, and write where they differ into a workspace.

    Returns:
        What changed, and where the map of it lies, which has not got its final name yet.

    Raises:
        SceneError: no pixel has a class in both.
    """
    labels, nodata = job.bundle.contract.get_label_set(), job.bundle.contract.map_nodata
    index = np.full(256, -1)
    index[list(labels.codes)] = range(len(labels))
    counts = np.zeros((len(labels), len(labels)), np.int64)
    with rasterio.open(maps[0]) as first, rasterio.open(maps[1]) as second, _onto(first, second, nodata) as moved:
        pixels = DiskRows(workspace / "change.raw", (first.height, first.width, len(BANDS)))
        for top in range(0, first.height, ROWS_PX):
            rows = (top, min(top + ROWS_PX, first.height)), (0, first.width)
            old, new = first.read(1, window=rows), moved.read(1, window=rows)
            both = (old != nodata) & (new != nodata)
            np.add.at(counts, (index[old[both]], index[new[both]]), 1)
            changed = np.where(both, np.where(old != new, CHANGED, SAME), nodata)
            pixels.append(np.stack([changed, old, new], axis=2))
        if not counts.any():
            raise SceneError(f"{' and '.join(job.scenes)} share no measured ground; name two dates of one place.")
        tags = _tags(job, first.tags(), second.tags())
        meaning = MapMeaning(first.crs, first.transform, nodata, BANDS, tags, overviews="MODE")
        return Change(counts, labels), make_cog(job.out, pixels, meaning, workspace)


def _onto(first: Any, second: Any, nodata: int) -> WarpedVRT:
    """Look at the second map through the grid of the first."""
    return WarpedVRT(
        second,
        crs=first.crs,
        transform=first.transform,
        width=first.width,
        height=first.height,
        resampling=Resampling.nearest,
        nodata=nodata,
    )


def _tags(job: ChangeJob, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    return {
        "BUNDLE": job.bundle.record.name,
        "CONTRACT": job.bundle.contract.digest(),
        "BEFORE": json.dumps(before),
        "AFTER": json.dumps(after),
        "CLASSES": listed(LEGEND),
        "SCENE_BANDS": after.get("SCENE_BANDS", "[]"),
        "COMMAND": json.dumps(command_of(job.bundle.path, job.scenes, job.out, job.options)),
    }
