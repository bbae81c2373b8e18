"""Maps a whole scene with a bundle: one command on the GPU box, no torch, memory independent of the scene's height."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rasterio.env import set_gdal_config

from bandloom.command_line.console import logger, track
from bandloom.errors import OutputError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.predict.claim import claimed
from bandloom.export.predict.clock import Clock
from bandloom.export.predict.map_files import MapFacts, make_files
from bandloom.export.predict.map_job import MapJob
from bandloom.export.predict.options import MAP_SUFFIXES, PredictOptions, scene_opener, two_dates_opener
from bandloom.export.predict.origin import origin_of
from bandloom.export.predict.partial_map import PartialMap
from bandloom.export.predict.publish import publish
from bandloom.export.predict.scene_mapper import SceneMapper, check_sensor
from bandloom.export.predict.uncertainty import MOST_UNLIKE, unlike_line
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.files.output import require_absent

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

__all__ = ["MAP_SUFFIXES", "Mapped", "PredictOptions", "map_scene", "scene_opener", "two_dates_opener"]


@dataclass(frozen=True)
class Mapped:
    """What one scene came to."""

    out: Path
    pixels: int
    measured: int
    counts: Mapping[str, int]  # pixels by class name
    tiles: int
    skipped: int
    seconds: float
    split: str
    shift_disagreement: float | None = None
    unlike: float | None = None  # the share of measured pixels that is unlike the training ground, where asked for

    def lines(self) -> list[str]:
        """Return the report a person reads."""
        shares = sorted(self.counts.items(), key=lambda item: -item[1])
        rate = self.pixels / 1e6 / self.seconds
        lines = [
            f"{self.out}: {self.pixels / 1e6:.2f} megapixels, {self.measured / max(self.pixels, 1):.1%} measured,"
            f" {self.tiles} tiles ({self.skipped} without data skipped)",
            "classes: " + ", ".join(f"{name} {count / max(self.measured, 1):.1%}" for name, count in shares if count),
            f"time: {self.seconds:.1f} s ({rate:.2f} megapixels/s): {self.split}",
        ]
        if self.shift_disagreement is not None:
            lines.append(f"half-tile shift: {self.shift_disagreement:.3%} of the measured pixels change class")
        if self.unlike is not None:
            lines.append(unlike_line(self.unlike))
        return lines


def map_scene(
    bundle: Bundle,
    runner: Runner,
    open_scene: Callable[[], "Scene"],
    out: Path,
    options: PredictOptions,
    command: Sequence[str] = (),
) -> Mapped:
    """Map one scene into ``out`` and the side files that the options ask for.

    A run that was killed is taken up where it stopped when the same command is given again; a run that failed leaves
    nothing. Two runs of one output never meet: the second is refused.

    Args:
        bundle: a verified segmentation bundle.
        runner: what :func:`bandloom.export.runtimes.verify.verify` returned.
        open_scene: opens one more handle of the scene, or of both dates as one.
        out: the map's GeoTIFF.
        options: how.
        command: the words that a person would type for this map, which the map remembers.

    Raises:
        BundleError: the bundle classifies scenes, or its engine overflowed.
        SceneError: the scene is of another sensor, or cannot be read.
        OutputError: an output exists, is being written by another process, or cannot be written.
    """
    job = MapJob(bundle, runner, open_scene, out, options, tuple(command))
    job.check()
    set_gdal_config("GDAL_CACHEMAX", options.cache_mb << 20)  # bytes, of the whole process
    with claimed(out), open_scene() as scene:
        check_sensor(scene.sensor, bundle.contract.get_sensor(), str(scene.name))
        return _map(job, scene)


def _map(job: MapJob, scene: "Scene") -> Mapped:
    clock = Clock()
    mapper = job.mapper(clock=clock)
    origin = origin_of(job.bundle, scene, job.options)
    work = {**origin.work(), "precision": job.options.precision, "runtime": job.runner.name}
    partial = PartialMap(job.out, job.layers(mapper), work)
    _prepare_sides(job, partial)
    with partial as rows, ThreadPoolExecutor(1, thread_name_prefix="checksum") as beside:
        record = beside.submit(origin.record)
        _fill(job, mapper, rows, clock, str(scene.name))
        shifted = _disagreement(job, rows) if job.options.shift_check else None
        with clock.time("writing"):
            facts = MapFacts(scene, record.result(), shifted, clock)
            ready = make_files(job, facts, rows)
            rows.note_publishing()
            publish(ready)
        counts = _count(job, rows)
        unlike = _unlike(job, rows, sum(counts.values())) if job.options.ood else None
    pixels = mapper.height_px * mapper.width_px
    return Mapped(
        job.out,
        pixels,
        sum(counts.values()),
        counts,
        mapper.tiles,
        mapper.skipped,
        clock.total_s,
        clock.split(),
        shifted,
        unlike,
    )


def _prepare_sides(job: MapJob, rows: PartialMap) -> None:
    """Refuse to replace side files, but for those that a run left which was killed while it gave files their names."""
    if rows.was_publishing:
        for side in job.sides.values():
            side.unlink(missing_ok=True)
    try:
        require_absent(list(job.sides.values()))
    except OutputError:
        if not rows.done_px:
            rows.discard()
        raise


def _fill(job: MapJob, mapper: SceneMapper, done: PartialMap, clock: Clock, name: str) -> None:
    """Map what is not yet mapped."""
    if done.done_px:
        logger.info("going on from row %d of %d of an interrupted run", done.done_px, mapper.height_px)
    for rows in track(mapper.rows(done.done_px), f"mapping {name}", mapper.strips):
        with clock.time("writing"):
            done.append(job.finish(rows))


def _disagreement(job: MapJob, done: PartialMap) -> float:
    """Map again with every tile shifted by half a stride; return the share of measured pixels whose class differs."""
    first = done.layer("class")
    differ = measured = 0
    mapper = job.mapper(shift_px=job.bundle.contract.tiling.half_stride_px)
    for rows in track(mapper.rows(), "mapping, tiles shifted", mapper.strips):
        before = first[rows.top_px : rows.top_px + rows.measured.shape[0]][..., 0]
        differ += int(((job.classes(rows) != before) & rows.measured).sum())
        measured += int(rows.measured.sum())
    return differ / max(measured, 1)


def _unlike(job: MapJob, done: PartialMap, measured: int) -> float:
    """Return the share of measured pixels that lie farther than all but a hundredth of held-out training ground."""
    layer = done.layer("ood")
    beyond = sum(int((layer[top : top + 512] == 0).sum()) for top in range(0, layer.shape[0], 512))
    share = beyond / max(measured, 1)
    if share > MOST_UNLIKE:
        logger.warning("%s: %s", job.out, unlike_line(share))
    return share


def _count(job: MapJob, done: PartialMap) -> dict[str, int]:
    codes = done.layer("class")
    counts = np.zeros(256, np.int64)
    for top in range(0, codes.shape[0], 512):
        counts += np.bincount(codes[top : top + 512].ravel(), minlength=256)
    return {land_class.name: int(counts[land_class.code]) for land_class in job.labels.classes}
