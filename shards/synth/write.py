"""Writes synthetic scenes to disk: band rasters at native sampling, labels, a label set."""

from pathlib import Path

import numpy as np
import rasterio
import yaml
from rasterio.transform import from_origin

from bandloom.command_line.console import track
from bandloom.files.output import new_output
from bandloom.rasters.values import OFFSET
from bandloom.shards.synth import SENSOR, VERSION, GroundKind, SyntheticScene, label_set, synthesise

_ZONES = 60


def place(seed: int) -> tuple[int, float, float]:
    """Return the EPSG code and the upper-left corner (x, y in metres) of a seed's scene, 60 m aligned.

    Neighbouring seeds lie in neighbouring UTM zones, so that every scene has a one-degree cell of its own.
    """
    return 32601 + seed % _ZONES, 540_000.0, 1_140_000.0 + 600_000.0 * ((seed // _ZONES) % 11)


def write_scenes(
    out: Path,
    scenes: int,
    size_px: int,
    seed: int,
    *,
    acquisitions: int = 1,
    cloud_fraction: float = 0.02,
    ground: GroundKind = "land-cover",
) -> None:
    """Write ``scenes`` folders of thirteen rasters, ``labels/NAME.tif`` for each, and ``label_set.yaml``.

    Raises:
        OutputError: ``out`` exists.
        SceneError: the size is no multiple of 6, or the kind of ground not known.
    """
    with new_output(out, folder=True) as folder:
        (folder / "labels").mkdir()
        (folder / "label_set.yaml").write_text(yaml.safe_dump(label_set(ground).to_dict(), sort_keys=False))
        jobs = [(seed + index, day) for index in range(scenes) for day in range(acquisitions)]
        for place_seed, day in track(jobs, "synthetic scenes"):
            scene = synthesise(size_px, place_seed, acquisition=day, cloud_fraction=cloud_fraction, ground=ground)
            write_scene(
                folder, f"scene_{place_seed:05d}" + (f"_day{day}" if acquisitions > 1 else ""), scene, place_seed, day
            )


def write_scene(folder: Path, name: str, scene: SyntheticScene, seed: int, day: int) -> None:
    """Write one scene's rasters below ``FOLDER/scenes/NAME`` and its labels as ``FOLDER/labels/NAME.tif``."""
    (folder / "scenes" / name).mkdir(parents=True)
    tags = {
        "RADIO_ADD_OFFSET": str(-OFFSET),
        "ACQUISITION_TIME": f"2025-{1 + day % 12:02d}-15T10:30:00Z",
        "SOURCE": f"bandloom synthetic scene, version {VERSION}, seed {seed}, acquisition {day}",
    }
    for group in SENSOR.groups:
        for band, pixels in zip(group.bands, scene.groups[group.gsd_m], strict=True):
            _write_raster(folder / "scenes" / name / f"{band.name}.tif", pixels, group.gsd_m, seed, tags, band.name)
    _write_raster(folder / "scenes" / name / "cloud_mask.tif", scene.cloud.astype(np.uint8), 10, seed, {}, "cloud")
    _write_raster(folder / "labels" / f"{name}.tif", scene.label, 10, seed, {}, "land cover")


def _write_raster(
    path: Path, pixels: np.ndarray, gsd_m: int, seed: int, tags: dict[str, str], description: str
) -> None:
    epsg, x_m, y_m = place(seed)
    height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=pixels.dtype,
        nodata=0,
        crs=f"EPSG:{epsg}",
        transform=from_origin(x_m, y_m, gsd_m, gsd_m),
        compress="zstd",
        predictor=2,
    ) as raster:
        raster.write(pixels, 1)
        raster.update_tags(**tags)
        raster.set_band_description(1, description)
