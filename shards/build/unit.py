"""One unit of work of a build: some scenes in, one or more tars with their indexes and histograms out."""

import json
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.env import set_gdal_config

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.errors import BandloomError, OutputError, SceneError
from bandloom.files.output import sync
from bandloom.shards.build.captions import read_captions
from bandloom.shards.build.containers import ContainerFacts, Opening, openings
from bandloom.shards.build.cutting import Cut, cut_scene
from bandloom.shards.build.geography import cells_of
from bandloom.shards.build.histograms import Histograms, count_values, merge
from bandloom.shards.build.labels import LabelNotes, open_scene_labels
from bandloom.shards.build.plan import TAR_SAMPLES, BuildOptions, Plan, class_of
from bandloom.shards.build.published import NOWHERE, cell_of
from bandloom.shards.build.sources import Source
from bandloom.shards.build.values import open_scene_values, value_of
from bandloom.shards.labels.reading import Labels
from bandloom.shards.labels.scene_values import SceneValues
from bandloom.shards.scenes import ALIGN_M, Scene
from bandloom.shards.store.codec import checksum, encode
from bandloom.shards.store.index import VALUES, Entry, write_index
from bandloom.shards.store.tar_file import TarFile, file_sha256

_AHEAD = 48  # samples cut but not yet written, 46 to a strip of a whole granule: 60 MB

_GDAL_CACHE_BYTES = 256 * 2**20  # a row of JP2 tiles; GDAL's default is a twentieth of the machine


@dataclass(frozen=True)
class _Sample:
    """A sample before it is written: its entry without a place in a tar, its members by suffix, its values counted."""

    entry: dict[str, Any]
    members: dict[str, bytes]
    counts: Histograms


@dataclass(frozen=True)
class _Measured:
    """The quantity of a square: its raster ``(H10, W10)`` float32, or its one value; None where there is none."""

    raster: np.ndarray | None
    value: float | None


def run_unit(plan: Plan, unit: int, folder: Path) -> dict[str, Any]:
    """Write the tars of one unit into ``folder`` and return its journal record.

    A scene that fails leaves nothing of itself behind: it is named in the record with its reason.
    """
    set_gdal_config("GDAL_CACHEMAX", _GDAL_CACHE_BYTES)
    with _Tars(folder, unit) as tars:
        return _fill(plan, unit, tars)


def _fill(plan: Plan, unit: int, tars: "_Tars") -> dict[str, Any]:
    done = _Done()
    for index in plan.units[unit]:
        source = plan.sources[index]
        facts = ContainerFacts(source) if source.corpus else None
        try:
            if index in plan.failures:
                raise SceneError(plan.failures[index])
            for opening in openings(source, plan):
                _add_scene(opening, plan, tars, done, facts)
        except OutputError:
            raise
        except BandloomError as error:  # a container cannot be read, or not from here on: what it gave stands
            done.quarantine.append({"source": source.path, "key": source.key, "reason": str(error)})
        if facts is not None and facts.samples:
            done.provenance[source.key] = facts.record()
    return {
        "unit": unit,
        "tars": tars.close(),
        "quarantine": done.quarantine,
        "provenance": done.provenance,
        "label_notes": done.notes.said,
        "unlabelled_px": dict(done.notes.unlabelled_px),
    }


@dataclass
class _Done:
    """What a unit has to say of its sources, for the journal."""

    quarantine: list[dict[str, str]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: LabelNotes = field(default_factory=LabelNotes)
    cells: dict[tuple[str, int, int], tuple[str, ...]] = field(default_factory=dict)  # of places seen already


def _add_scene(opening: Opening, plan: Plan, tars: "_Tars", done: _Done, facts: ContainerFacts | None) -> None:
    """Add one scene's samples, or name it in quarantine with its reason: it leaves nothing of itself behind."""
    source, notes = opening.source, done.notes
    try:
        with ExitStack() as files:
            scene = files.enter_context(opening.open())
            origin = None if facts is None else {**(opening.origin or {}), **facts.origin_of(scene)}
            labels = open_scene_labels(files, scene, source, plan, notes)
            values = open_scene_values(files, scene, source, plan)
            if not tars.add_all(_samples(scene, source, labels, values, plan, origin, done.cells)):
                raise SceneError(f"{source.path} gives no sample: it is all nodata, or all above --max-cloud.")
            notes.take(labels, source.path)
            if facts is None:
                done.provenance[source.key] = scene.provenance | {"sensor_record": scene.sensor.to_dict()}
            else:
                facts.take(scene)
    except OutputError:
        raise
    except BandloomError as error:
        done.quarantine.append({"source": source.path, "key": source.key, "reason": str(error)})


class _Tars:
    """The tars of a unit under temporary names, renamed when all are complete."""

    def __init__(self, folder: Path, unit: int) -> None:
        self._folder, self._unit = folder, unit
        self._parts: list[_Part] = []

    def add_all(self, samples: Iterator[_Sample]) -> int:
        """Add one scene's samples as they come, or none of them when it fails on the way; return how many."""
        parts, count = len(self._parts), 0
        mark = self._parts[-1].mark if self._parts else None
        try:
            for count, sample in enumerate(samples, 1):  # noqa: B007
                self._open_part().add(sample)
        except BaseException:
            while len(self._parts) > parts:
                self._parts.pop().discard()
            if mark is not None:
                self._parts[-1].cut_back(mark)
            raise
        for part in self._parts:
            part.keep()
        return count

    def close(self) -> list[dict[str, Any]]:
        """Put all tars in place and return their records."""
        done = [part.finish() for part in self._parts]
        self._parts = []
        return done

    def __enter__(self) -> "_Tars":
        return self

    def __exit__(self, *error: object) -> None:
        for part in self._parts:  # a crash on the way: the temporary files are swept by the next build
            part.tar.abandon()

    def _open_part(self) -> "_Part":
        if not self._parts or len(self._parts[-1].entries) == TAR_SAMPLES:
            self._parts.append(_Part(self._folder, f"{self._unit:05d}-{len(self._parts):03d}"))
        return self._parts[-1]


class _Part:
    """One tar on its way, with its index and histograms; what a scene adds counts when the scene is whole."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._temporary = folder / f".{name}.tar.tmp"
        self.tar = TarFile(self._temporary)
        self.entries: list[Entry] = []
        self._kept: dict[tuple[str, ...], Histograms] = {}
        self._new: dict[tuple[str, ...], Histograms] = {}

    @property
    def mark(self) -> tuple[int, int]:
        """How much there is: bytes and samples."""
        return self.tar.at, len(self.entries)

    def add(self, sample: _Sample) -> None:
        key = sample.entry["key"]
        places = {suffix: self.tar.add(f"{key}.{suffix}", content) for suffix, content in sample.members.items()}
        entry = Entry(**sample.entry, shard=f"{self._name}.tar", split="", members=places)
        self.entries.append(entry)
        merge(self._new.setdefault(entry.cells, {}), sample.counts)

    def keep(self) -> None:
        """Count what was added since the last time."""
        while self._new:
            cells, histograms = self._new.popitem()
            merge(histograms, self._kept.get(cells, {}))
            self._kept[cells] = histograms

    def cut_back(self, mark: tuple[int, int]) -> None:
        """Take back what was added since ``mark``."""
        self.tar.cut_back(mark[0])
        del self.entries[mark[1] :]
        self._new = {}

    def discard(self) -> None:
        """Leave nothing."""
        self.tar.abandon()
        self._temporary.unlink()

    def finish(self) -> dict[str, Any]:
        """Write the files beside the tar, put it in place, and return its record."""
        size = self.tar.close()
        final, index = self._folder / f"{self._name}.tar", self._folder / f"{self._name}.index.jsonl"
        histograms = self._folder / f"{self._name}.histograms.npz"
        write_index(index, self.entries)
        _write_histograms(histograms, self._kept)
        sync(self._temporary)
        self._temporary.rename(final)
        sync(index)
        sync(histograms)
        return {"tar": final.name, "bytes": size, "samples": len(self.entries), "sha256": file_sha256(final)}


def _samples(
    scene: Scene,
    source: Source,
    labels: Labels | None,
    values: SceneValues | None,
    plan: Plan,
    origin: dict[str, Any] | None,
    cells: dict[tuple[str, int, int], tuple[str, ...]],
) -> Iterator[_Sample]:
    """Cut a scene, join its labels, leave out squares under the thresholds."""
    options, class_index = plan.options, None
    if source.class_name is not None and plan.taxonomy is not None:
        class_index = class_of(source, plan.taxonomy)
    value = value_of(source, options)
    pending: deque[Future[_Sample]] = deque()
    with ThreadPoolExecutor(1, "encode") as encoder:  # encodes one strip while the next is decoded
        for cut in cut_scene(scene, options.side_px * 10):
            if cut.valid_fraction <= options.min_valid or (cut.cloud_fraction or 0.0) > options.max_cloud:
                continue
            label = labels.read(cut.window_m) if labels else None
            measured = _Measured(values.read(cut.window_m) if values else None, value)
            own = _cells(scene, source, cut, options.side_px * 10.0, origin, cells)
            pending.append(
                encoder.submit(_sample, scene, source, cut, label, class_index, measured, options, own, origin)
            )
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _cells(
    scene: Scene,
    source: Source,
    cut: Cut,
    side_m: float,
    origin: dict[str, Any] | None,
    known: dict[tuple[str, int, int], tuple[str, ...]],
) -> tuple[str, ...]:
    """Return what a square's split goes by: its published roles, or the one-degree cells of its ground.

    Where a corpus has several dates of a place, these are the cells of the first.
    """
    if source.published is not None:
        return (cell_of(source.published),)
    if not scene.crs:
        return (NOWHERE,)
    x_m, y_m = scene.transform.c + cut.window_m[0], scene.transform.f - cut.window_m[1]
    epsg = scene.crs.to_epsg() or 0
    if origin is None or "place" not in origin:
        return cells_of(epsg, x_m, y_m, side_m)
    at = origin["place"], cut.row, cut.column
    if at not in known:
        known[at] = cells_of(epsg, x_m, y_m, side_m)
    return known[at]


def _sample(
    scene: Scene,
    source: Source,
    cut: Cut,
    label: np.ndarray | None,
    class_index: int | None,
    measured: _Measured,
    options: BuildOptions,
    cells: tuple[str, ...],
    origin: dict[str, Any] | None,
) -> _Sample:
    """Encode one square: band groups, mask, label, and the JSON sidecar that describes them."""
    arrays: dict[str, np.ndarray] = {f"g{gsd_m}.b2nd": pixels for gsd_m, pixels in cut.groups.items()}
    if cut.cloud is not None:
        arrays["cloud.b2nd"] = cut.cloud.astype(np.uint8)
    if label is not None:
        arrays["label.b2nd"] = label
    if measured.raster is not None and np.isfinite(measured.raster).any():
        arrays[VALUES] = measured.raster
    x_m, y_m = scene.transform.c + cut.window_m[0], scene.transform.f - cut.window_m[1]
    entry: dict[str, Any] = {
        "key": f"{source.key}_r{cut.row:04d}_c{cut.column:04d}",
        "sensor": scene.sensor.name,
        "epsg": scene.crs.to_epsg() if scene.crs else None,
        "x_m": x_m,
        "y_m": y_m,
        "side_px": options.side_px,
        "datetime": scene.datetime.isoformat() if scene.datetime else None,
        "valid_fraction": cut.valid_fraction,
        "cloud_fraction": cut.cloud_fraction,
        "class_index": class_index,
        "has_label": class_index is not None or (label is not None and bool((label != IGNORE_INDEX).any())),
        "inside_px": (
            _inside(scene.height_m, cut.window_m[1], options),
            _inside(scene.width_m, cut.window_m[0], options),
        ),
        "cells": cells,
        "xxh3": {suffix: checksum(array) for suffix, array in arrays.items()},
    }
    if measured.value is not None:
        entry["value"] = measured.value
    if origin is not None:
        entry["origin"] = origin
    if source.published is not None:
        entry["published"] = dict(source.published)
    if options.captions:
        square = (scene.crs.to_epsg() or 0, x_m, y_m, options.side_px * 10.0)
        entry["captions"] = read_captions(Path(options.captions)).of(entry["key"], (source.key, scene.name), square)
    bands = {group.name: [band.name for band in group.bands] for group in scene.sensor.groups}
    sidecar = {name: value for name, value in entry.items() if name != "cells"} | {"bands": bands, "source": source.key}
    members = {suffix: encode(array, options.codec) for suffix, array in arrays.items()}
    members["json"] = json.dumps(sidecar, separators=(",", ":")).encode()
    return _Sample(entry, members, count_values(scene.sensor, cut.groups))


def _inside(scene_m: float, offset_m: float, options: BuildOptions) -> int:
    """Return how far a square lies inside its scene along one axis, in pixels of 10 m, rounded up to 60 m."""
    return min(options.side_px, math.ceil((scene_m - offset_m) / ALIGN_M) * ALIGN_M // 10)


def _write_histograms(path: Path, histograms: dict[tuple[str, ...], Histograms]) -> None:
    flat = {
        f"{','.join(cells)}|{slot}": counts for cells, bands in histograms.items() for slot, counts in bands.items()
    }
    np.savez_compressed(path, **flat)  # pyright: ignore[reportArgumentType]
