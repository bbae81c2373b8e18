"""One unit of work of a build: some scenes in, one or more tars with their indexes and histograms out."""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import BandloomError, LabelError, OutputError, SceneError
from bandloom.label_set import IGNORE_INDEX, LabelSet
from bandloom.output import sync
from bandloom.sensors import Sensor
from shards.codec import checksum, encode
from shards.cutting import Cut, cut_scene
from shards.geography import cells_of
from shards.histograms import Histograms, add_sample
from shards.index import Entry, write_index
from shards.labels import LabelRaster, label_path
from shards.plan import TAR_SAMPLES, BuildOptions, Plan
from shards.scenes import ALIGN_M, Scene
from shards.sources import Source
from shards.tar_file import TarFile, file_sha256


@dataclass(frozen=True)
class _Sample:
    """A sample before it is written: its entry without a place in a tar, and its members by suffix."""

    entry: dict[str, Any]
    members: dict[str, bytes]
    groups: dict[int, np.ndarray]
    sensor: Sensor


def run_unit(plan: Plan, unit: int, folder: Path) -> dict[str, Any]:
    """Write the tars of one unit into ``folder`` and return its journal record.

    A scene that fails leaves nothing of itself behind: it is named in the record with its reason.
    """
    with _Tars(folder, unit) as tars:
        return _fill(plan, unit, tars)


def _fill(plan: Plan, unit: int, tars: "_Tars") -> dict[str, Any]:
    quarantine, provenance = [], {}
    for index in plan.units[unit]:
        source = plan.sources[index]
        try:
            if index in plan.failures:
                raise SceneError(plan.failures[index])
            with ExitStack() as files:
                scene = files.enter_context(plan.options.open(source))
                samples = _samples(files, scene, source, plan.options, plan.label_set)
                if not tars.add_all(samples):
                    raise SceneError(f"{source.path} gives no sample: it is all nodata, or all above --max-cloud.")
                provenance[source.key] = scene.provenance | {"sensor_record": scene.sensor.to_dict()}
        except OutputError:
            raise
        except BandloomError as error:
            quarantine.append({"source": source.path, "key": source.key, "reason": str(error)})
    return {"unit": unit, "tars": tars.close(), "quarantine": quarantine, "provenance": provenance}


class _Tars:
    """The tars of a unit under temporary names, renamed when they are complete."""

    def __init__(self, folder: Path, unit: int) -> None:
        self._folder, self._unit = folder, unit
        self._done: list[dict[str, Any]] = []
        self._entries: list[Entry] = []
        self._histograms: dict[tuple[str, ...], Histograms] = {}
        self._tar: TarFile | None = None

    def add_all(self, samples: Iterator[_Sample]) -> int:
        """Add one scene's samples, or none of them when it fails on the way; return how many."""
        held = list(samples)
        for sample in held:
            self._add(sample)
        return len(held)

    def close(self) -> list[dict[str, Any]]:
        """Finish the last tar and return the records of all."""
        if self._tar is not None:
            self._finish()
        return self._done

    def __enter__(self) -> "_Tars":
        return self

    def __exit__(self, *error: object) -> None:
        if self._tar is not None:  # a crash on the way: the temporary file is swept by the next build
            self._tar.abandon()

    @property
    def _name(self) -> str:
        return f"{self._unit:05d}-{len(self._done):03d}"

    def _add(self, sample: _Sample) -> None:
        if self._tar is None:
            self._tar = TarFile(self._folder / f".{self._name}.tar.tmp")
        key = sample.entry["key"]
        places = {suffix: self._tar.add(f"{key}.{suffix}", content) for suffix, content in sample.members.items()}
        entry = Entry(**sample.entry, shard=f"{self._name}.tar", split="", members=places)
        self._entries.append(entry)
        add_sample(self._histograms.setdefault(entry.cells, {}), sample.sensor, sample.groups)
        if len(self._entries) == TAR_SAMPLES:
            self._finish()

    def _finish(self) -> None:
        name, temporary = self._name, self._folder / f".{self._name}.tar.tmp"
        if self._tar is None:
            return
        size = self._tar.close()
        self._tar = None
        write_index(self._folder / f"{name}.index.jsonl", self._entries)
        _write_histograms(self._folder / f"{name}.histograms.npz", self._histograms)
        sync(temporary)
        temporary.rename(self._folder / f"{name}.tar")
        sync(self._folder / f"{name}.index.jsonl")
        sync(self._folder / f"{name}.histograms.npz")
        self._done.append({"tar": f"{name}.tar", "bytes": size, "samples": len(self._entries),
                           "sha256": file_sha256(self._folder / f"{name}.tar")})  # fmt: skip
        self._entries, self._histograms = [], {}


def _samples(files: ExitStack, scene: Scene, source: Source, options: BuildOptions,
             label_set: LabelSet | None) -> Iterator[_Sample]:  # fmt: skip
    """Cut a scene, join its labels, leave out squares under the thresholds."""
    labels = None
    if options.labels and label_set:
        path = label_path(options.labels, source.path, scene.name)
        labels = files.enter_context(LabelRaster(path, scene, label_set))
    class_index = None
    if source.class_name is not None and label_set is not None:
        if source.class_name not in label_set.names:
            raise LabelError(f"the class {source.class_name!r} is not in label set {label_set.name!r}; add it there.")
        class_index = label_set.names.index(source.class_name)
    for cut in cut_scene(scene, options.side_px * 10):
        if cut.valid_fraction <= options.min_valid or (cut.cloud_fraction or 0.0) > options.max_cloud:
            continue
        label = labels.read(cut.window_m) if labels else None
        yield _sample(scene, source, cut, label, class_index, options)


def _sample(scene: Scene, source: Source, cut: Cut, label: np.ndarray | None, class_index: int | None,
            options: BuildOptions) -> _Sample:  # fmt: skip
    """Encode one square: band groups, mask, label, and the JSON sidecar that describes them."""
    arrays: dict[str, np.ndarray] = {f"g{gsd_m}.b2nd": pixels for gsd_m, pixels in cut.groups.items()}
    if cut.cloud is not None:
        arrays["cloud.b2nd"] = cut.cloud.astype(np.uint8)
    if label is not None:
        arrays["label.b2nd"] = label
    x_m, y_m = scene.transform.c + cut.window_m[0], scene.transform.f - cut.window_m[1]
    entry: dict[str, Any] = {
        "key": f"{source.key}_r{cut.row:04d}_c{cut.column:04d}", "sensor": scene.sensor.name,
        "epsg": scene.crs.to_epsg(), "x_m": x_m, "y_m": y_m, "side_px": options.side_px,
        "datetime": scene.datetime.isoformat() if scene.datetime else None, "valid_fraction": cut.valid_fraction,
        "cloud_fraction": cut.cloud_fraction, "class_index": class_index,
        "has_label": class_index is not None or (label is not None and bool((label != IGNORE_INDEX).any())),
        "inside_px": (_inside(scene.height_m, cut.window_m[1], options),
                      _inside(scene.width_m, cut.window_m[0], options)),
        "cells": cells_of(scene.crs.to_epsg() or 0, x_m, y_m, options.side_px * 10.0),
        "xxh3": {suffix: checksum(array) for suffix, array in arrays.items()},
    }  # fmt: skip
    bands = {group.name: [band.name for band in group.bands] for group in scene.sensor.groups}
    sidecar = {name: value for name, value in entry.items() if name != "cells"} | {"bands": bands, "source": source.key}
    members = {suffix: encode(array, options.codec) for suffix, array in arrays.items()}
    members["json"] = json.dumps(sidecar, separators=(",", ":")).encode()
    return _Sample(entry, members, cut.groups, scene.sensor)


def _inside(scene_m: float, offset_m: float, options: BuildOptions) -> int:
    """Return how far a square lies inside its scene along one axis, in pixels of 10 m, rounded up to 60 m."""
    return min(options.side_px, math.ceil((scene_m - offset_m) / ALIGN_M) * ALIGN_M // 10)


def _write_histograms(path: Path, histograms: dict[tuple[str, ...], Histograms]) -> None:
    flat = {
        f"{','.join(cells)}|{slot}": counts for cells, bands in histograms.items() for slot, counts in bands.items()
    }
    np.savez_compressed(path, **flat)  # pyright: ignore[reportArgumentType]
