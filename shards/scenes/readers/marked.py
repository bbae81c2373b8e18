"""Quality masks of scenes: which samples of a band its product calls lost or saturated, and where it says so."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from bandloom.shards.scenes.checksums import glancing
from bandloom.shards.scenes.cloud import CloudLayer, OutlineCloud, RasterCloud
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.jp2_tiles import distinct_tiles
from bandloom.shards.scenes.raster import RasterScene
from bandloom.shards.scenes.readers.outlines import outlines
from bandloom.shards.scenes.readers.product import Product
from bandloom.shards.scenes.readers.quality import Quality, RasterQuality, outline_quality
from bandloom.shards.scenes.scaled import ScaledScene
from bandloom.shards.scenes.scene import WindowM

_MASKS = (("QUALIT", "jp2"), ("TECQUA", "gml"), ("NODATA", "gml"), ("SATURA", "gml"))


class Marked(RasterScene):
    """A scene of which some bands are marked, band by band; what it is otherwise, the next base class says."""

    _quality: Mapping[str, Quality] = {}

    def mark_by(self, quality: Mapping[str, Quality]) -> None:
        """Take what marks some of the bands, before the first window is read."""
        self._quality = quality
        self.provenance["bands_with_marks"] = sorted(quality)
        for mask in quality.values():
            mask.place(self._frame, self._warp)

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return ``{gsd_m: (C, H, W)}`` uint16 DN of a window; what lies outside the scene is 0."""
        groups = super().read(window_m)
        for group in self.sensor.groups:
            for band, pixels in zip(group.bands, groups[group.gsd_m], strict=True):
                if band.name in self._quality:
                    self._quality[band.name].mark(pixels, window_m)
        return groups

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom: every block of the files is then decoded once."""
        super().walk_down()
        for mask in self._quality.values():
            mask.walk_down()


class MarkedScaled(Marked, ScaledScene):
    """A marked scene with a stated scale a band."""


def quality_files(product: Product, band: str) -> list[str]:
    """Return the masks that tell a band's quality: a raster since baseline 04.00, outlines before it."""
    named = [product.find(f"MSK_{kind}_{band}.{ending}") for kind, ending in _MASKS]
    return [name for name in named if name]


def quality_of(product: Product, bands: Iterable[str], stack: ExitStack) -> dict[str, Quality]:
    """Return what marks each band of which anything is marked, which is not the rule."""
    masks = {band: _quality(product, quality_files(product, band), stack) for band in bands}
    return {band: mask for band, mask in masks.items() if mask is not None}


def _quality(product: Product, names: list[str], stack: ExitStack) -> Quality | None:
    if glancing():
        return None
    raster = next((name for name in names if name.lower().endswith(".jp2")), None)
    if raster is None:
        return outline_quality(product.xml(name) for name in names)
    path = product.gdal_path(raster)
    with ExitStack() as until_known:
        mask = RasterQuality(until_known.enter_context(open_raster(path)), path)
        if mask.is_clean(distinct_tiles(product.read(raster))):
            return None
        stack.enter_context(until_known.pop_all())
    return mask


def l1c_cloud_file(product: Product) -> str | None:
    """Return the cloud mask of Level-1C: the raster of baseline 04.00, or the polygons before it."""
    return product.find("MSK_CLASSI_B00.jp2") or product.find("MSK_CLOUDS_B00.gml")


def l1c_cloud(product: Product, stack: ExitStack) -> CloudLayer | None:
    """Return the clouds of Level-1C, where the product tells them."""
    name = l1c_cloud_file(product)
    if name is None:
        return None
    if not name.lower().endswith(".jp2"):
        return OutlineCloud(outlines(product.xml(name)))
    path = product.gdal_path(name)
    return RasterCloud(stack.enter_context(open_raster(path)), path, _opaque_or_cirrus)


def _opaque_or_cirrus(layers: np.ndarray) -> Any:
    return (layers[:2] == 1).any(0)
