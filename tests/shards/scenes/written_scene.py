"""Scenes as people write them, drawn by hypothesis, beside what arithmetic says that they hold."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin

from bandloom.sensors import get_sensor

SIDE_PX = 66
TYPES = {"uint8": 0.01, "uint16": 1e-4, "int16": 1e-4, "int32": 1e-4, "float32": 1.0, "float64": 1.0}
SCALES = [(1e-4, 0.0), (1e-4, -0.1), (5e-5, 0.0), (2.75e-5, -0.2), (1e-3, 0.0), (1e-2, 0.0), (1.0, 0.0)]
PLACES = {
    "utm": ("EPSG:32633", from_origin(500_040, 5_300_040, 10, 10)),
    "utm south": ("EPSG:32733", from_origin(300_000, 7_900_020, 10, 10)),
    "utm off its grid": ("EPSG:32633", from_origin(500_043.5, 5_300_041.2, 10, 10)),
    "utm by the antimeridian": ("EPSG:32601", from_origin(399_960, 8_000_040, 10, 10)),
    "degrees": ("EPSG:4326", from_origin(15.0, 47.8, 0.000134, 0.00009)),
    "degrees over the antimeridian": ("EPSG:4326", from_origin(179.996, -17.0, 0.000094, 0.00009)),
    "degrees east of 180": ("EPSG:4326", from_origin(190.0, -17.0, 0.000094, 0.00009)),
    "degrees, south up": ("EPSG:4326", Affine(0.000134, 0, 15.0, 0, 0.00009, 47.8)),
    "web mercator": ("EPSG:3857", from_origin(1_670_000, 6_060_000, 15, 15)),
    "laea, northing first": ("EPSG:3035", from_origin(4_700_000, 2_800_000, 10, 10)),
    "polar": ("EPSG:3413", from_origin(-200_000, -1_500_000, 10, 10)),
    "turned": ("EPSG:32633", Affine.translation(500_040, 5_300_040) @ Affine.rotation(20) @ Affine.scale(10, -10)),
    "upside down": ("EPSG:32633", Affine(10, 0, 500_040, 0, 10, 5_299_380)),
    "nowhere": (None, from_origin(500_040, 5_300_040, 10, 10)),
}
NAMES = {
    "B02": lambda b: b,
    "B2": lambda b: b if b == "B8A" else f"B{int(b[1:])}",
    "b02": str.lower,
    "scene_B02": lambda b: f"scene_{b}",
    "B02_10m": lambda b: f"{b}_{int(get_sensor('sentinel2-l1c').band(b).gsd_m)}m",
}


@dataclass
class Written:
    """A file or folder, the options that go with it, and what it holds."""

    path: Path
    reflectance: np.ndarray  # (C, H, W) in slot order, as stored values say
    known: np.ndarray  # (C, H, W) bool
    slots: tuple[str, ...]
    crs: str | None
    transform: Affine
    options: dict[str, Any] = field(default_factory=dict)
    written_as: str = ""


@dataclass(frozen=True)
class Recipe:
    """One draw."""

    level: str
    dtype: str
    scale: tuple[float, float]
    stated: str
    absent: str
    place: str
    names: str
    layout: str
    beside: tuple[str, ...]
    shuffled: bool
    seed: int


recipes = st.builds(
    Recipe,
    level=st.sampled_from(["l1c", "l2a"]),
    dtype=st.sampled_from(list(TYPES)),
    scale=st.sampled_from(SCALES),
    stated=st.sampled_from(["tags", "RADIO_ADD_OFFSET", "nothing", "--scale", "--offset"]),
    absent=st.sampled_from(["nothing", "nodata", "internal", "sidecar", "alpha", "lost", "nan", "--nodata", "zero"]),
    place=st.sampled_from(list(PLACES)),
    names=st.sampled_from(list(NAMES)),
    layout=st.sampled_from(["stack", "folder", "native folder", "vrt"]),
    beside=st.sampled_from([(), ("QA60",), ("SCL", "AOT", "WVP"), ("TCI_R", "TCI_G", "TCI_B"), ("ndvi",)]),
    shuffled=st.booleans(),
    seed=st.integers(0, 2**31),
)


def write_scene(recipe: Recipe, folder: Path) -> Written:
    """Write what a recipe says; where its parts do not go together, the nearest that do."""
    rng = np.random.default_rng(recipe.seed)
    slots = get_sensor(f"sentinel2-{recipe.level}").slots
    dtype, (gain, offset) = np.dtype(recipe.dtype), recipe.scale
    if dtype == np.uint8:
        gain, offset = 4e-3, 0.0
    elif dtype.kind in "iu" and gain > 1e-3 and recipe.stated in ("tags", "--scale"):
        gain = 1e-3
    elif recipe.stated not in ("tags", "--scale") or (dtype == np.int16 and gain < 1e-4):
        gain, offset = 1e-4, offset if offset in (0.0, -0.1) else 0.0
    reflectance = rng.uniform(0.02, 0.55, (len(slots), SIDE_PX, SIDE_PX))
    if "B10" in slots:
        reflectance[slots.index("B10")] = rng.uniform(0.001, 0.004, (SIDE_PX, SIDE_PX))
    stored = (reflectance - offset) / gain
    stored = (np.maximum(np.rint(stored), 1) if dtype.kind in "iu" else stored).astype(dtype)
    known = np.ones(stored.shape, bool)
    hole = np.s_[:, 12:36, 6:30] if recipe.absent != "lost" else np.s_[:, :, 48:]
    profile: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if recipe.absent != "nothing":
        known[hole] = False
    fill = _fill(recipe, stored)
    stored[~known] = fill
    if recipe.absent in ("nodata", "nan"):
        profile["nodata"] = fill
    if recipe.absent == "--nodata":
        options["nodata"] = str(fill)
    tags = {"TIFFTAG_DATETIME": "2026:11:20 10:00:00"}
    if recipe.stated == "RADIO_ADD_OFFSET":
        tags["RADIO_ADD_OFFSET"] = str(round(offset * 1e4))
    if recipe.stated == "--offset":
        options["offset"] = round(offset * 1e4)
    if recipe.stated == "--scale":
        options["scale"] = f"{gain},{offset}"
    crs, transform = PLACES[recipe.place]
    profile |= {"crs": crs, "transform": transform}
    held = stored.astype(np.float64) * gain + offset
    scaled = (gain, offset) if recipe.stated == "tags" else None
    order = list(rng.permutation(len(slots))) if recipe.shuffled else list(range(len(slots)))
    files = _Files(folder, recipe, profile, tags, scaled, known)
    path = files.folder_of_bands(slots, stored) if "folder" in recipe.layout else files.stack(slots, stored, order, rng)
    words = f"{recipe} as {dtype}, gain {gain:g}, offset {offset:g}"
    return Written(path, held, known, slots, crs, transform, options, words)


def _fill(recipe: Recipe, stored: np.ndarray) -> float:
    """Return what stands where nothing was measured."""
    if recipe.absent == "nan" and stored.dtype.kind == "f":
        return float("nan")
    if recipe.absent in ("internal", "sidecar", "alpha"):
        return float(stored.max())  # a value like any other: the mask alone tells
    if recipe.absent == "zero" or (stored.dtype.kind == "u" and recipe.absent == "nan"):
        return 0.0
    return {"uint8": 255.0, "uint16": 65535.0 if recipe.absent != "lost" else 60000.0}.get(str(stored.dtype), -9999.0)


@dataclass
class _Files:
    folder: Path
    recipe: Recipe
    profile: dict[str, Any]
    tags: dict[str, str]
    scaled: tuple[float, float] | None
    known: np.ndarray

    def stack(self, slots: tuple[str, ...], stored: np.ndarray, order: list[int], rng: np.random.Generator) -> Path:
        beside = self.recipe.beside
        extra = rng.integers(1, 7, (len(beside), SIDE_PX, SIDE_PX)).astype(stored.dtype)
        alpha = self.recipe.absent == "alpha"
        layers = [*stored[order], *extra]
        names = [*(NAMES[self.recipe.names](slots[i]) for i in order), *beside]
        path = self.folder / "stack.tif"
        self._write(path, layers, names, alpha)
        if self.recipe.layout != "vrt":
            return path
        from rasterio.shutil import copy

        copy(path, self.folder / "stack.vrt", driver="VRT")
        return self.folder / "stack.vrt"

    def folder_of_bands(self, slots: tuple[str, ...], stored: np.ndarray) -> Path:
        place = self.folder / "bands"
        place.mkdir()
        for slot, pixels in zip(slots, stored, strict=True):
            name = NAMES[self.recipe.names](slot)
            self._write(place / f"{name}.tif", [pixels], [name], self.recipe.absent == "alpha")
        return place

    def _write(self, path: Path, layers: list[np.ndarray], names: list[str], alpha: bool) -> None:
        count = len(layers) + alpha
        dtype = layers[0].dtype
        shape = (SIDE_PX, SIDE_PX)
        with rasterio.open(path, "w", "GTiff", *shape[::-1], count, dtype=dtype, **self.profile) as raster:
            for index, (name, pixels) in enumerate(zip(names, layers, strict=True), 1):
                raster.write(pixels, index)
                raster.set_band_description(index, name)
            if self.scaled:
                raster.scales = [self.scaled[0]] * len(layers) + [1.0] * alpha
                raster.offsets = [self.scaled[1]] * len(layers) + [0.0] * alpha
            raster.colorinterp = [ColorInterp.undefined] * len(layers) + [ColorInterp.alpha] * alpha
            if alpha:
                full = np.iinfo(dtype).max if dtype.kind in "iu" else 1
                raster.write(np.where(self.known[0], full, 0).astype(dtype), count)
            raster.update_tags(**self.tags)
        if self.recipe.absent in ("internal", "sidecar"):
            inside = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=self.recipe.absent == "internal")
            with inside, rasterio.open(path, "r+") as raster:
                raster.write_mask(self.known[0])
