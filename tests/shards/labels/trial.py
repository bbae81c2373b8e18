"""A trial of label files: any draw is read as plain arithmetic reads what was written, or refused in one sentence."""

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.warp import transform

from bandloom.classes.taxonomy import Taxonomy, TaxonomyClass, get_taxonomy
from bandloom.errors import BandloomError
from bandloom.shards.labels.open_labels import open_labels
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, LabelReading

GROUND = Ground(CRS.from_epsg(32633), 500_040.0, 5_300_040.0, 40, 36, "scene")
REFUSED, TIE = -1, -2  # what a pixel may be expected to be, beside a class index and 255


def own_sets() -> dict[str, Taxonomy]:
    """Label sets that are easy to misread: signs, accents, numbers as names, ids like codes, a 255."""
    c = TaxonomyClass
    signs = (c(1, "C+"), c(2, "C-"), c(3, "C"), c(10, "Süßwasser"), c(20, "forêt"), c(30, "水体", synonyms=("water",)))
    ids = (c(0, "background", id="0"), c(1, "foreground", id="255"), c(2, "far", id="1000"), c(3, "low", id="-5"))
    years = (c(7, "2018"), c(8, "2021"), c(9, "no"), c(11, "Yes"))
    return {
        "signs": Taxonomy("signs", "signs", signs, (0, -1)),
        "ids": Taxonomy("ids", "ids", ids, ()),
        "years": Taxonomy("years", "years", years, (0,)),
        **{name: get_taxonomy(name) for name in ("worldcover11", "corine44", "dynamicworld9", "eurosat10")},
    }


SETS = own_sets()


def index_of_number(taxonomy: Taxonomy, number: float) -> int:
    """Return what a number means by the page on label sets: a code, an id or numeric name, "no label", or nothing."""
    for k, land_class in enumerate(taxonomy.classes):
        words = [land_class.id, land_class.name, *land_class.synonyms]
        if number == land_class.code or number in [int(word) for word in words if word.lstrip("-").isdecimal()]:
            return k
    return 255 if number in (*taxonomy.ignore, 255) else REFUSED


@dataclass(frozen=True)
class Mask:
    """A drawn raster of codes."""

    taxonomy: Taxonomy
    values: np.ndarray
    epsg: int | None = 32633
    pixel_m: float = 10.0
    shift_m: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    nodata: float | None = None
    hidden: np.ndarray | None = None
    hidden_by: str = "internal"  # msk, alpha
    bands: int = 1
    scale: float = 1.0
    told_nodata: str | None = None

    @property
    def reading(self) -> LabelReading:
        return LabelReading(nodata=self.told_nodata)

    @property
    def transform(self) -> Affine:
        crs = CRS.from_epsg(self.epsg or 32633)
        x, y = GROUND.x_m + self.shift_m[0], GROUND.y_m + self.shift_m[1]
        pixel = self.pixel_m
        if crs != GROUND.crs:
            (x,), (y,) = transform(GROUND.crs, crs, [x], [y])
            pixel = self.pixel_m / (111_320 if crs.is_geographic else 1)
        return Affine.translation(x, y) * Affine.rotation(self.turn) * Affine.scale(pixel, -pixel)

    def write(self, folder: Path) -> Path:
        """Write what was drawn with rasterio alone."""
        path = folder / "mask.tif"
        alpha = self.hidden is not None and self.hidden_by == "alpha"
        values = np.repeat(self.values[None], self.bands, 0)
        profile = {
            "driver": "GTiff",
            "height": values.shape[1],
            "width": values.shape[2],
            "count": self.bands + alpha,
            "dtype": values.dtype,
            "transform": self.transform,
            "crs": None if self.epsg is None else CRS.from_epsg(self.epsg),
            "nodata": self.nodata,
        }
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=self.hidden_by == "internal"),
            rasterio.open(path, "w", **profile) as raster,
        ):
            raster.write(values, list(range(1, self.bands + 1)))
            if alpha:
                raster.write(np.where(self.hidden, 0, 1).astype(values.dtype), self.bands + 1)
                kinds = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined][: self.bands]
                raster.colorinterp = [*kinds, ColorInterp.alpha]
            elif self.hidden is not None:
                raster.write_mask(~self.hidden)
            if self.scale != 1:
                raster.scales = (self.scale,) * raster.count
        return path

    def expected(self) -> np.ndarray:
        """Return what each pixel of the ground is: the value that its centre lies in, by the meaning of the value."""
        rows, columns = np.mgrid[: GROUND.height, : GROUND.width] + 0.5
        xs, ys = GROUND.transform * (columns.ravel(), rows.ravel())
        crs = CRS.from_epsg(self.epsg or 32633)
        if crs != GROUND.crs:
            xs, ys = (np.array(each) for each in transform(GROUND.crs, crs, xs.tolist(), ys.tolist()))
        u, v = ~self.transform * (xs, ys)
        meanings = self.meanings()
        height, width = self.values.shape
        i, j = np.floor(v).astype(int), np.floor(u).astype(int)
        on = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        out = np.full(u.shape, 255)
        out[on] = meanings[i[on], j[on]]
        near = 1e-6 if crs == GROUND.crs else 1e-3 / self.pixel_m  # in another system a reader is true to a millimetre
        out[(abs(u - np.round(u)) < near) | (abs(v - np.round(v)) < near)] = TIE
        return out.reshape(GROUND.height, GROUND.width)

    def meanings(self) -> np.ndarray:
        """Return what each pixel of the raster is, a value at a time."""
        nodata = self.nodata
        if self.told_nodata is not None:
            nodata = None if self.told_nodata == "none" else float(self.told_nodata)
        out = np.full(self.values.shape, 255)
        for value in {repr(each): each for each in self.values.ravel().tolist()}.values():
            same = np.isnan(self.values) if value != value else self.values == value
            absent = nodata is not None and (value == nodata or (value != value and nodata != nodata))
            out[same] = 255 if absent else index_of_number(self.taxonomy, value)
        if self.hidden is not None:
            out[self.hidden] = 255
        return out


@dataclass(frozen=True)
class Drawn:
    """A geometry of a drawn file: a box of whole pixels and a bit, or a point; its value and what that means."""

    box: tuple[int, int, int, int]  # left, top, right, bottom in metres from the scene's corner
    point: bool
    value: Any
    index: int
    missing: bool = False


@dataclass(frozen=True)
class Vector:
    """A drawn vector file."""

    taxonomy: Taxonomy
    features: tuple[Drawn, ...]
    form: str = "geojson"  # gpkg, shp, csv
    epsg: int = 4326
    crs_name: str = "EPSG:{}"
    bom: bool = False
    encoding: str = "utf-8"
    cpg: bool = True
    told_encoding: bool = False
    layers: int = 1
    told_layer: bool = False
    overlap: str = "last"
    multi: bool = False

    @property
    def reading(self) -> LabelReading:
        return LabelReading(
            layer="labels" if self.told_layer else None,
            encoding=self.encoding if self.told_encoding else None,
            overlap=self.overlap,  # pyright: ignore
        )

    def geometry(self, drawn: Drawn) -> Any:
        left, top, right, bottom = drawn.box
        corners = (
            [(left, top)] if drawn.point else [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        )
        xs, ys = zip(*[(GROUND.x_m + x, GROUND.y_m - y) for x, y in corners], strict=True)
        if (crs := CRS.from_epsg(self.epsg)) != GROUND.crs:
            xs, ys = transform(GROUND.crs, crs, list(xs), list(ys))
        ring = [[x, y] for x, y in zip(xs, ys, strict=True)]
        if drawn.point:
            return {"type": "Point", "coordinates": ring[0]}
        kind = "MultiPolygon" if self.multi else "Polygon"
        return {"type": kind, "coordinates": [[ring]] if self.multi else [ring]}

    def write(self, folder: Path) -> Path:
        """Write what was drawn with json, csv text or pyogrio alone."""
        path = folder / f"labels.{self.form}"
        if self.form == "geojson":
            record = {"type": "FeatureCollection", "features": [self._feature(feature) for feature in self.features]}
            if self.epsg != 4326 or self.crs_name != "EPSG:{}":
                record["crs"] = {"type": "name", "properties": {"name": self.crs_name.format(self.epsg)}}
            text = json.dumps(record, ensure_ascii=False)
            path.write_bytes(("\ufeff" * self.bom + text).encode(self.encoding))
        elif self.form == "csv":
            rows = [(*self.geometry(feature)["coordinates"], feature.value) for feature in self.features]
            lines = [f'{x:.9f},{y:.9f},"{"" if value is None else value}"' for x, y, value in rows]
            path.write_bytes(("\ufeff" * self.bom + "\n".join(["lon,lat,class", *lines])).encode(self.encoding))
        else:
            self._write_ogr(path)
        return path

    def _feature(self, each: Drawn) -> dict[str, Any]:
        geometry = None if each.missing else self.geometry(each)
        return {"type": "Feature", "geometry": geometry, "properties": {"class": each.value}}

    def _write_ogr(self, path: Path) -> None:
        import pyogrio
        import shapely

        shapes = [None if d.missing else shapely.geometry.shape(self.geometry(d)) for d in self.features]
        values = [feature.value for feature in self.features]
        empty = np.array([value is None for value in values])
        kind = {int: np.int64, float: np.float64}.get(type(next((v for v in values if v is not None), "")), object)
        column = np.array([(0 if kind is not object else None) if v is None else v for v in values], kind)
        wkb = np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], object)
        names = ["other", "labels"][-self.layers :] if self.form == "gpkg" else [None]
        for name in names:
            pyogrio.raw.write(
                path,
                wkb,
                [column],
                ["class"],
                field_mask=[empty],
                geometry_type="Point" if self.features[0].point else "MultiPolygon" if self.multi else "Polygon",
                crs=f"EPSG:{self.epsg}",
                layer=name,
                append=name is not None and path.exists(),
                encoding=self.encoding if self.form == "shp" else None,
            )
        if not self.cpg:
            path.with_suffix(".cpg").unlink(missing_ok=True)

    def expected(self) -> np.ndarray:
        """Paint the boxes one after the other; the centre of a pixel tells."""
        y, x = np.mgrid[: GROUND.height, : GROUND.width] * 10 + 5
        out = np.full((GROUND.height, GROUND.width), 255)
        placed = [feature for feature in self.features if not feature.missing]
        for each in placed[:: -1 if self.overlap == "first" else 1]:
            left, top, right, bottom = each.box
            if each.point:
                inside = (x // 10 == left // 10) & (y // 10 == top // 10)
            else:
                inside = (x > left) & (x < right) & (y > top) & (y < bottom)
            out[inside] = each.index
        if any(feature.index == REFUSED for feature in self.features):
            out[:] = REFUSED
        return out


def read(case: Mask | Vector, path: Path, step: int) -> np.ndarray:
    """Read a file by windows of ``step`` pixels, as a build does."""
    problems = Problems()
    labels = open_labels(path, GROUND, case.taxonomy, case.reading, problems)
    try:
        problems.raise_first()
        out = np.full((GROUND.height, GROUND.width), 255, np.uint8)
        for y in range(0, GROUND.height, step):
            for x in range(0, GROUND.width, step):
                part = labels.read((x * 10, y * 10, step * 10, step * 10))
                rows, columns = min(step, GROUND.height - y), min(step, GROUND.width - x)
                out[y : y + rows, x : x + columns] = part[:rows, :columns]
        return out
    finally:
        labels.close()


def trial(case: Mask | Vector, folder: Path) -> str:
    """Try one draw; return ``""`` where it was read as it should be, else the sentence that refused it.

    Raises:
        AssertionError: a silent difference, or a refusal that is no sentence.
    """
    path = case.write(folder)
    wanted = case.expected()
    try:
        whole, parts = read(case, path, 40), read(case, path, 12)
    except BandloomError as error:
        said = str(error)
        assert said.strip(), case
        assert "\n" not in said, said
        assert said.rstrip().endswith((".", "?", "lists them all)", "cp1252.")), said
        return said
    known = wanted != TIE
    assert not (wanted[known] == REFUSED).any(), f"read without a word: {case}"
    np.testing.assert_array_equal(whole[known], wanted[known], err_msg=str(case))
    np.testing.assert_array_equal(parts, whole, err_msg=f"windows differ: {case}")
    return ""


def spellings(taxonomy: Taxonomy, index: int, kind: str) -> list[Any]:
    """Return ways to write a class in a column of ``kind``: int, float or text."""
    each = taxonomy.classes[index]
    numbers = [each.code, *([int(each.id)] if each.id.lstrip("-").isdecimal() else [])]
    if kind == "int":
        return numbers
    if kind == "float":
        return [float(number) for number in numbers]
    texts = [text for n in numbers for text in (str(n), f"{n}.0", f" {n} ", *([f"0{n}"] if n >= 0 else []))]
    name = each.name
    return [*texts, name, name.upper(), name.lower(), f" {name} ", unicodedata.normalize("NFD", name), *each.synonyms]


def wrong(taxonomy: Taxonomy, kind: str) -> list[Any]:
    """Return values that mean no class, and must never be taken for one."""
    known = {land_class.code for land_class in taxonomy.classes} | set(taxonomy.ignore) | {255}
    known |= {int(land_class.id) for land_class in taxonomy.classes if land_class.id.lstrip("-").isdecimal()}
    numbers = [
        n
        for n in (-1, -2, -20, 254, 253, 1001, *(land_class.code * 10 + 1 for land_class in taxonomy.classes))
        if n not in known
    ]
    numbers = [n for n in numbers if index_of_number(taxonomy, n) == REFUSED]
    if kind == "int":
        return [*numbers, None]
    if kind == "float":
        return [*map(float, numbers), taxonomy.classes[0].code + 0.5, None]
    name = taxonomy.classes[0].name
    return [*map(str, numbers), f"{name}++", f"not {name}", f"{name}?", "", "1e1", "1,0", "0x1", None]
