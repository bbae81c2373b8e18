"""Maps a whole scene with a bundle: one command on the GPU box, no torch, memory independent of the scene's height."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from rasterio.env import set_gdal_config
from rasterio.transform import Affine

from bandloom import __version__
from bandloom.config import Config
from bandloom.console import logger, track
from bandloom.errors import BundleError, OutputError
from bandloom.export.bundle.answers import probabilities
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.predict.clock import Clock
from bandloom.export.predict.map_file import (
    MapMeaning,
    class_meaning,
    percent,
    write_cog,
    write_picture,
)
from bandloom.export.predict.partial_map import PartialMap
from bandloom.export.predict.qgis_style import write_style
from bandloom.export.predict.scene_mapper import MapRows, Pace, SceneMapper, check_sensor
from bandloom.export.predict.stac_item import item_of_map, write_item
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.output import require_absent

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

MAP_SUFFIXES = (".tif", ".tiff")


class PredictOptions(Config):
    """How a scene is read and run; only the precision and what the scene is taken for change the numbers."""

    precision: str | None = Field(default=None, description="which model of the bundle; null is its first")
    runtime: str = Field(default="auto", description="auto, or the one runtime that will do")
    batch: int = Field(default=8, gt=0, description="tiles an engine call")
    strip_rows: int = Field(default=1, gt=0, description="tile rows held at a time")
    readers: int = Field(default=1, gt=0, description="threads that read, each its own columns")
    threads: int = Field(default=0, ge=0, description="threads of the engine; 0 leaves it to the runtime")
    cache_mb: int = Field(default=256, gt=0, description="raster block cache; should hold one row of a file's blocks")
    png: bool = Field(default=False, description="also write a picture of the map")
    confidence: bool = Field(default=False, description="also write the probability of the mapped class, in percent")
    probabilities: bool = Field(default=False, description="also write the probability of every class, in percent")
    embeddings: bool = Field(default=False, description="also write the encoder's features, one pixel a token")
    shift_check: bool = Field(default=False, description="map twice, tiles shifted by half, and say how much differs")
    sensor: str | None = Field(default=None, description="the scene's sensor, where the scene does not say")
    band_map: tuple[str, ...] | str | None = Field(
        default=None, description="the scene's bands in file order, or its name"
    )
    offset: int | None = Field(default=None, description="the scene's radiometric offset, where the scene does not say")

    @property
    def pace(self) -> Pace:
        """How the work is cut."""
        return Pace(self.batch, self.strip_rows, self.readers)


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
        return lines


def scene_opener(scene_path: str, options: PredictOptions) -> Callable[[], "Scene"]:
    """Return a function that opens one more handle of the scene."""
    from bandloom.shards.scenes import open_scene

    return partial(open_scene, scene_path, sensor=options.sensor, band_map=options.band_map, offset=options.offset)  # type: ignore[return-value]


def two_dates_opener(before: str, after: str, options: PredictOptions) -> Callable[[], "Scene"]:
    """Return a function that opens one more handle of two scenes as one."""
    from bandloom.export.predict.two_dates import open_two_dates

    return partial(open_two_dates, scene_opener(before, options), scene_opener(after, options))  # type: ignore[return-value]


def map_scene(
    bundle: Bundle, runner: Runner, open_scene: Callable[[], "Scene"], out: Path, options: PredictOptions
) -> Mapped:
    """Map one scene into ``out`` and the side files that the options ask for.

    A run that was killed is taken up where it stopped when the same command is given again; a run that failed leaves
    nothing.

    Args:
        bundle: a verified segmentation bundle.
        runner: what :func:`bandloom.export.bundle.bundle.verify` returned.
        open_scene: opens one more handle of the scene, or of both dates as one.
        out: the map's GeoTIFF.
        options: how.

    Raises:
        BundleError: the bundle classifies scenes, or its engine overflowed.
        SceneError: the scene is of another sensor, or cannot be read.
        OutputError: an output exists, or cannot be written.
    """
    _check_task(bundle, out)
    sides = _side_files(out, options)
    require_absent([out])
    clock = Clock()
    set_gdal_config("GDAL_CACHEMAX", options.cache_mb << 20)  # bytes, of the whole process
    with open_scene() as scene:
        check_sensor(scene.sensor, bundle.contract.get_sensor(), str(scene.name))
        labels = bundle.contract.get_label_set()
        plan = partial(
            SceneMapper,
            runner,
            bundle.contract.tiling,
            len(labels),
            open_scene,
            pace=options.pace,
            dates=bundle.contract.dates,
        )
        mapper = plan(clock=clock)
        work = PartialMap(out, _layers(mapper, len(labels), options), _fingerprint(bundle, runner.name, scene, options))
        _require_own(sides, work)
        try:
            if work.done_px:
                logger.info("going on from row %d of %d of an interrupted run", work.done_px, mapper.height_px)
            for rows in track(mapper.rows(work.done_px), f"mapping {scene.name}", mapper.strips):
                with clock.time("writing"):
                    work.append(_finish(rows, bundle, options))
            shifted = _disagreement(plan, work, bundle) if options.shift_check else None
            with clock.time("writing"):
                _publish(work, bundle, scene, out, sides, options, shifted, runner.name, clock)
            counts = _count(work, bundle)
        except Exception:
            for made in sides.values():
                made.unlink(missing_ok=True)
            work.discard()
            raise
        work.discard()
    pixels = mapper.height_px * mapper.width_px
    return Mapped(
        out, pixels, sum(counts.values()), counts, mapper.tiles, mapper.skipped, clock.total_s, clock.split(), shifted
    )


def _require_own(sides: Mapping[str, Path], work: PartialMap) -> None:
    """Refuse to replace side files, but for those that the interrupted run left, whose map is the last to appear."""
    try:
        require_absent([] if work.done_px else list(sides.values()))
    except OutputError:
        work.discard()
        raise


def _check_task(bundle: Bundle, out: Path) -> None:
    if not bundle.contract.makes_map:
        raise BundleError(
            f"the bundle {bundle.path} classifies whole chips and makes no map; give --out a name that ends in .json"
            " or .csv for its table of tiles."
        )
    if out.suffix.lower() not in MAP_SUFFIXES:
        raise OutputError(f"the output {out} is no GeoTIFF; give it a name that ends in .tif.")


def _side_files(out: Path, options: PredictOptions) -> dict[str, Path]:
    wanted = {"png": options.png, "confidence.tif": options.confidence, "probabilities.tif": options.probabilities}
    names = [*(suffix for suffix, on in wanted.items() if on), "qml", "stac.json"]
    return {suffix: out.with_name(f"{out.stem}.{suffix}") for suffix in names}


def _layers(mapper: SceneMapper, classes: int, options: PredictOptions) -> dict[str, tuple[int, int, int]]:
    size = mapper.height_px, mapper.width_px
    layers = {"class": (*size, 1)}
    if options.confidence:
        layers["confidence"] = (*size, 1)
    if options.probabilities:
        layers["probabilities"] = (*size, classes)
    return layers


def _fingerprint(bundle: Bundle, runner: str, scene: "Scene", options: PredictOptions) -> dict[str, Any]:
    """Say what work this is, so that no other work's rows are taken up."""
    return {
        "bundle": bundle.record.files,
        "precision": options.precision,
        "runtime": runner,
        "scene": [scene.name, str(scene.datetime), *scene.transform, scene.height_m, scene.width_m],
        "provenance": json.loads(json.dumps(scene.provenance, default=str)),
        "reading": [options.sensor, options.band_map, options.offset],
        "files": [_stamp(str(each.get("source", ""))) for each in _provenances(scene)],
    }


def _provenances(scene: "Scene") -> list[Mapping[str, Any]]:
    """Return where a scene comes from, or each of the two that it was put together from."""
    return (
        [each for each in scene.provenance.values() if isinstance(each, dict)]
        if "source" not in scene.provenance
        else [scene.provenance]
    )


def _stamp(source: str) -> list[int]:
    """Return the size and time of a local file; a folder or remote path is known by its name alone."""
    path = Path(source)
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else []


def _finish(rows: MapRows, bundle: Bundle, options: PredictOptions) -> dict[str, np.ndarray]:
    """Turn logits into what is written: codes, and probabilities in percent."""
    codes = np.array(bundle.contract.get_label_set().codes, np.uint8)
    nodata = bundle.contract.map_nodata
    layers = {"class": np.where(rows.measured, codes[rows.logits.argmax(axis=0)], nodata)}
    if options.confidence or options.probabilities:
        shares = probabilities(bundle.contract, rows.logits)
        if options.confidence:
            layers["confidence"] = percent(shares.max(axis=0), rows.measured, nodata)
        if options.probabilities:
            layers["probabilities"] = np.moveaxis(percent(shares, rows.measured, nodata), 0, 2)
    return layers


def _disagreement(plan: Callable[..., SceneMapper], work: PartialMap, bundle: Bundle) -> float:
    """Map again with every tile shifted by half a stride; return the share of measured pixels whose class differs."""
    codes = np.array(bundle.contract.get_label_set().codes, np.uint8)
    first = work.layer("class")
    differ = measured = 0
    mapper = plan(shift_px=bundle.contract.tiling.half_stride_px)
    for rows in track(mapper.rows(), "mapping, tiles shifted", mapper.strips):
        before = first[rows.top_px : rows.top_px + rows.measured.shape[0]][..., 0]
        differ += int(((codes[rows.logits.argmax(axis=0)] != before) & rows.measured).sum())
        measured += int(rows.measured.sum())
    return differ / max(measured, 1)


def _publish(
    work: PartialMap,
    bundle: Bundle,
    scene: "Scene",
    out: Path,
    sides: Mapping[str, Path],
    options: PredictOptions,
    shifted: float | None,
    runtime: str,
    clock: Clock,
) -> None:
    """Write the side files, and the map itself last."""
    contract = bundle.contract
    labels = contract.get_label_set()
    finest_m = min(group.gsd_m for group in contract.groups)
    transform = scene.transform * Affine.scale(MAP_PIXEL_M / finest_m)
    tags = {**_tags(bundle, scene, options, shifted), "RUNTIME": runtime}
    meaning = class_meaning(labels, scene.crs, transform, contract.map_nodata, tags)
    plain = partial(MapMeaning, scene.crs, transform, contract.map_nodata, tags=tags)
    if "confidence.tif" in sides:
        write_cog(sides["confidence.tif"], work.layer("confidence"), plain(("confidence_percent",)), work.folder)
    if "probabilities.tif" in sides:
        write_cog(sides["probabilities.tif"], work.layer("probabilities"), plain(labels.names), work.folder)
    ready = work.folder / "map.tif"
    write_cog(ready, work.layer("class"), meaning, work.folder)
    if "png" in sides and meaning.colours:
        write_picture(sides["png"], ready, meaning.colours, work.folder)
    write_style(sides["qml"], labels)
    grid = scene.crs, transform, work.layer("class").shape[:2]
    item = item_of_map(out, scene, bundle, {k: v for k, v in sides.items() if k != "stac.json"}, grid, shifted)
    item["properties"]["bandloom:seconds"] = clock.record()
    write_item(sides["stac.json"], item)
    ready.replace(out)


def _tags(bundle: Bundle, scene: "Scene", options: PredictOptions, shifted: float | None) -> dict[str, str]:
    tags = {
        "TIFFTAG_SOFTWARE": f"bandloom {__version__}",
        "BUNDLE": bundle.record.name,
        "CONTRACT": bundle.contract.digest(),
        "MODEL_SHA256": bundle.record.files[bundle.model(options.precision).file],
        "SCENE": str(scene.name),
        "SCENE_PROVENANCE": json.dumps(scene.provenance, default=str),
        "SENSOR": scene.sensor.name,
        "SCENE_BANDS": json.dumps(_bands(scene)),
    }
    if scene.datetime is not None:
        tags["TIFFTAG_DATETIME"] = scene.datetime.strftime("%Y:%m:%d %H:%M:%S")
    if shifted is not None:
        tags["HALF_TILE_SHIFT_DISAGREEMENT"] = f"{shifted:.6f}"
    return tags


def _bands(scene: "Scene") -> list[dict[str, Any]]:
    """Say which band is which and where in the scene it lies, so that what shows it need not understand products."""
    shown: Any = getattr(scene, "later", scene)  # of two dates the one that the map is of
    files, source = getattr(shown, "files", {}), str(shown.provenance.get("source", ""))
    told = []
    for band in shown.sensor.bands:
        file, index = files.get(band.name, ("", 0))
        if band.slot and index:
            inside = _inside(file, source)
            place = {} if inside is None else {"file": inside, "index": index}
            told.append({"name": band.name, "slot": band.slot, "centre_nm": band.centre_nm, **place})
    return told


def _inside(file: str, source: str) -> str | None:
    """Return where a scene's file lies in the scene: empty when it is the scene, an address elsewhere, else unknown."""
    if file == source:
        return ""
    if packed := re.match(r"/vsi(?:zip|tar)/\{.*\}/(.*)", file):
        return packed[1]
    if file.startswith("/vsi") or "://" in file:
        return file
    if not Path(source).exists():
        return None
    folder = (Path(source) if Path(source).is_dir() else Path(source).parent).resolve()
    here = Path(file).resolve()
    return here.relative_to(folder).as_posix() if here.is_relative_to(folder) else None


def _count(work: PartialMap, bundle: Bundle) -> dict[str, int]:
    codes = work.layer("class")
    found = np.zeros(256, np.int64)
    for top in range(0, codes.shape[0], 512):
        found += np.bincount(codes[top : top + 512].ravel(), minlength=256)
    return {each.name: int(found[each.code]) for each in bundle.contract.get_label_set().classes}
