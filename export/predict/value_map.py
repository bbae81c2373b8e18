"""Maps of a measured value: a cloud-optimised GeoTIFF of float32 with the unit in its tags, NaN where unmeasured."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._env import set_gdal_config
from rasterio.transform import Affine
from rasterio.windows import Window

from bandloom.command_line.console import track
from bandloom.errors import BundleError, OutputError
from bandloom.export.bundle.answers import values
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.predict.claim import claimed
from bandloom.export.predict.map_file import BLOCK_PX
from bandloom.export.predict.map_tags import tags_of
from bandloom.export.predict.options import MAP_SUFFIXES, PredictOptions
from bandloom.export.predict.origin import TAG, origin_of
from bandloom.export.predict.scene_mapper import SceneMapper, check_sensor
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.files.output import new_output
from bandloom.files.written_raster import Written, disk_errors, written_raster
from bandloom.target import Target

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

TARGET_TAG = "TARGET"  # the quantity as JSON: name, unit, and the range that colours span


def map_values(
    bundle: Bundle, runner: Runner, open_scene: Callable[[], "Scene"], out: Path, options: PredictOptions
) -> Iterator[str]:
    """Map a scene's values and yield what to tell the user.

    Raises:
        BundleError: the bundle predicts classes, or an option asks for some.
        SceneError: the scene is of another sensor, or cannot be read.
        OutputError: ``out`` exists, is no GeoTIFF, or cannot be written.
    """
    target = _checked(bundle, out, options)
    set_gdal_config("GDAL_CACHEMAX", options.cache_mb << 20)  # bytes, of the whole process
    with claimed(out), open_scene() as scene:
        check_sensor(scene.sensor, bundle.contract.get_sensor(), str(scene.name))
        mapper = SceneMapper(runner, bundle.contract.tiling, 1, open_scene, pace=options.pace)
        with new_output(out) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
            plain = Path(folder) / "plain.tif"
            with disk_errors(out):
                tags = _tags(bundle, runner, scene, target, options)
                seen, written = _write(plain, out, mapper, scene, bundle, tags)
                rasterio.shutil.copy(
                    plain,
                    temporary,
                    driver="COG",
                    compress="DEFLATE",
                    predictor="YES",
                    blocksize=BLOCK_PX,
                    bigtiff="IF_SAFER",
                    overview_resampling="AVERAGE",
                )
                written.check(temporary)
    pixels = mapper.height_px * mapper.width_px
    yield (
        f"{out}: {pixels / 1e6:.2f} megapixels of {target.title}, {seen.count / max(pixels, 1):.1%} measured,"
        f" mean {seen.mean:.4g}, {seen.low:.4g} to {seen.high:.4g}"
    )


class _Seen:
    """Count, mean and range of what was mapped."""

    def __init__(self) -> None:
        self.count, self.total, self.low, self.high = 0, 0.0, np.inf, -np.inf

    def add(self, values_px: np.ndarray) -> None:
        if values_px.size:
            self.count, self.total = self.count + values_px.size, self.total + float(values_px.sum(dtype=np.float64))
            self.low, self.high = min(self.low, float(values_px.min())), max(self.high, float(values_px.max()))

    @property
    def mean(self) -> float:
        return self.total / max(self.count, 1)


def _checked(bundle: Bundle, out: Path, options: PredictOptions) -> Target:
    target = bundle.contract.target
    if target is None or not bundle.contract.makes_map:
        raise BundleError(f"the bundle {bundle.path} maps no values; give --out the name that its task has.")
    for name in ("confidence", "probabilities", "entropy", "disagreement", "ood", "png", "shift_check", "polygons"):
        if getattr(options, name):
            raise BundleError(
                f"the bundle {bundle.path} maps values of {target.name}, for which there is no"
                f" --{name.replace('_', '-')}; leave it out."
            )
    if out.suffix.lower() not in MAP_SUFFIXES:
        raise OutputError(f"the output {out} is no GeoTIFF; give it a name that ends in .tif.")
    return target


def _write(
    path: Path, final: Path, mapper: SceneMapper, scene: "Scene", bundle: Bundle, tags: dict[str, str]
) -> tuple[_Seen, Written]:
    target, seen = bundle.contract.target, _Seen()
    finest_m = min(group.gsd_m for group in bundle.contract.groups)
    profile = {
        "driver": "GTiff",
        "height": mapper.height_px,
        "width": mapper.width_px,
        "count": 1,
        "dtype": "float32",
        "nodata": np.nan,
        "crs": scene.crs,
        "transform": scene.transform * Affine.scale(MAP_PIXEL_M / finest_m),
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "bigtiff": "IF_SAFER",
    }
    with written_raster(path, final, check=False, **profile) as written:  # its copy is
        file = written.file
        file.update_tags(**tags)
        if target is not None:
            file.set_band_description(1, target.title)
            file.units = (target.unit,)
        for rows in track(mapper.rows(), f"mapping {scene.name}", mapper.strips):
            values_px = values(bundle.contract, rows.logits)
            values_px[~rows.measured] = np.nan
            seen.add(values_px[rows.measured])
            window = Window(0, rows.top_px, values_px.shape[1], values_px.shape[0])  # pyright: ignore[reportCallIssue]
            written.write(values_px[None], window)
    return seen, written


def _tags(bundle: Bundle, runner: Runner, scene: "Scene", target: Target, options: PredictOptions) -> dict[str, str]:
    return {
        **tags_of(bundle, scene, options),
        TAG: json.dumps(origin_of(bundle, scene, options).record()),
        "RUNTIME": runner.name,
        "UNIT": target.unit,
        TARGET_TAG: target.model_dump_json(),
    }
