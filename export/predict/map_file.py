"""Map files: a cloud-optimised GeoTIFF with classes, colours and provenance in its tags, and a picture of it."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.windows import Window

from bandloom.classes.label_set import LabelSet
from bandloom.errors import OutputError
from bandloom.export.predict.partial_map import DiskRows
from bandloom.files.output import sync_entry
from bandloom.files.written_raster import disk_errors
from bandloom.rasters.png import png

BLOCK_PX = 512
PICTURE_PX = 2048  # longest side of the picture
Rgba = tuple[int, int, int, int]


@dataclass(frozen=True)
class MapMeaning:
    """What a GeoTIFF says beside its pixels."""

    crs: CRS
    transform: Affine
    nodata: int
    band_names: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    band_tags: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[int, Rgba] | None = None
    overviews: str = "AVERAGE"


def class_meaning(labels: LabelSet, crs: CRS, transform: Affine, nodata: int, tags: Mapping[str, str]) -> MapMeaning:
    """Describe a map of class codes: names as tags, colours as a colour table, overviews by majority."""
    colours: dict[int, Rgba] = {c: (*map(int, rgb), 255) for c, rgb in zip(labels.codes, labels.rgb, strict=True)}  # type: ignore[misc]
    names = {f"CLASS_{land_class.code}": land_class.name for land_class in labels.classes}
    everything = {**colours, nodata: (0, 0, 0, 0)}
    return MapMeaning(
        crs, transform, nodata, (labels.name,), {**tags, "CLASSES": listed(labels)}, names, everything, overviews="MODE"
    )


def listed(labels: LabelSet) -> str:
    """Return the classes as a map's tag ``CLASSES`` holds them."""
    return json.dumps(
        [
            {"value": land_class.code, "name": land_class.name, "colour": land_class.colour}
            for land_class in labels.classes
        ]
    )


def make_cog(path: Path, pixels: np.ndarray | DiskRows, meaning: MapMeaning, workspace: Path) -> Path:
    """Write ``(H, W, bands)`` uint8 as a COG with overviews into a workspace, and read it back.

    Args:
        path: the final name, which it does not get yet.
        pixels: may be on disk; one row of blocks is held at a time.
        meaning: georeference, names, colours and tags.
        workspace: a folder on the same disk for what is not yet whole.

    Returns:
        Where the finished file lies.

    Raises:
        OutputError: the disk is full, the place cannot be written, or what was read back differs.
    """
    plain, cog = workspace / "plain.tif", workspace / "cog.tif"
    with disk_errors(path):
        _write_plain(plain, pixels, meaning)
        rasterio.shutil.copy(
            plain,
            cog,
            driver="COG",
            compress="DEFLATE",
            level=6,
            blocksize=BLOCK_PX,
            bigtiff="IF_SAFER",
            overview_resampling=meaning.overviews,
            num_threads=1,
        )
        plain.unlink()
        _check_readback(cog, pixels, path)
        return cog.rename(_ready(path, workspace))


def _ready(path: Path, workspace: Path) -> Path:
    return workspace / f"ready.{path.name}"


def write_cog(path: Path, pixels: np.ndarray | DiskRows, meaning: MapMeaning, workspace: Path) -> None:
    """Write a COG as :func:`make_cog` does, and give it its final name.

    Raises:
        OutputError: the disk is full, the place cannot be written, or what was read back differs.
    """
    made = make_cog(path, pixels, meaning, workspace)
    with disk_errors(path):
        sync_entry(made)
        os.replace(made, path)


def _write_plain(path: Path, pixels: np.ndarray | DiskRows, meaning: MapMeaning) -> None:
    height, width, bands = pixels.shape
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": "uint8",
        "nodata": meaning.nodata,
        "crs": meaning.crs,
        "transform": meaning.transform,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "bigtiff": "IF_SAFER",
        "interleave": "band",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(**meaning.tags)
        for number, name in enumerate(meaning.band_names, 1):
            file.set_band_description(number, name)
            file.update_tags(number, **meaning.band_tags)
        if meaning.colours:
            file.write_colormap(1, dict(meaning.colours))
        for window, rows in _row_blocks(pixels):
            file.write(np.moveaxis(rows, 2, 0), window=window)


def _check_readback(path: Path, pixels: np.ndarray | DiskRows, final: Path) -> None:
    """GDAL reports a failed flush on closing only as a log line, so what is on disk is compared with what was meant."""
    with rasterio.open(path) as file:
        for window, rows in _row_blocks(pixels):
            if not np.array_equal(file.read(window=window), np.moveaxis(rows, 2, 0)):
                raise OutputError(f"{final} could not be read back as written; check the disk and run it again.")


def _row_blocks(pixels: np.ndarray | DiskRows) -> Iterator[tuple[Window, np.ndarray]]:
    height, width, _ = pixels.shape
    for top in range(0, height, BLOCK_PX):
        rows = pixels[top : top + BLOCK_PX]
        yield Window(0, top, width, rows.shape[0]), rows  # type: ignore[call-arg]


def make_picture(path: Path, map_path: Path, colours: Mapping[int, Rgba], workspace: Path) -> Path:
    """Write the map as a PNG in the colours of its classes, transparent where there is none, from its overviews.

    Returns:
        Where the finished picture lies in the workspace; ``path`` is its final name.
    """
    with rasterio.open(map_path) as file:
        shrink = max(1.0, max(file.height, file.width) / PICTURE_PX)
        shape = max(1, round(file.height / shrink)), max(1, round(file.width / shrink))
        codes = file.read(1, out_shape=shape, resampling=Resampling.nearest)
    table = np.zeros((256, 4), np.uint8)
    for code, colour in colours.items():
        table[code] = colour
    return make_text(path, png(table[codes]), workspace)


def make_text(path: Path, content: str | bytes, workspace: Path) -> Path:
    """Write a small side file into a workspace; return where it lies. ``path`` is its final name."""
    ready = _ready(path, workspace)
    with disk_errors(path):
        ready.write_bytes(content.encode() if isinstance(content, str) else content)
    return ready


def percent(share: np.ndarray, measured: np.ndarray, nodata: int) -> np.ndarray:
    """Return shares 0..1 as whole percents, uint8, ``nodata`` where nothing was measured."""
    return np.where(measured, np.rint(share * 100), nodata).astype(np.uint8)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities ``(K, H, W)`` of logits ``(K, H, W)``."""
    raised = np.exp(logits - logits.max(axis=0))
    return raised / raised.sum(axis=0)
