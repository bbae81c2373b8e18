"""A hundred label sets that cannot be used: each spoils one thing in a good one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from rasterio.transform import from_origin
from rasterio.warp import transform

Words = list[str]


@dataclass(frozen=True)
class Good:
    """Where good material lies, and an empty folder to spoil copies of it in."""

    scene: Path
    mask: Path
    chips: Path
    label_set: Path
    folder: Path

    def words(self, form: str, source: Path, labels: Path | None = None, label_set: Path | None = None) -> Words:
        extra = ["--labels", str(labels)] if labels else []
        return [str(source), "--form", form, *extra, "--label-set", str(label_set or self.label_set)]

    def lon_lat(self, column: float, row: float) -> tuple[float, float]:
        with rasterio.open(self.mask) as raster:
            x, y = raster.transform * (column, row)
            (lon,), (lat,) = transform(raster.crs, "EPSG:4326", [x], [y])
        return lon, lat

    def box(self, left: int = 20, top: int = 20, right: int = 60, bottom: int = 60) -> dict[str, Any]:
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        return {"type": "Polygon", "coordinates": [[list(self.lon_lat(*corner)) for corner in corners]]}


Case = Callable[[Good], Words]


# --- the label set itself


def label_set(change: Callable[[dict[str, Any]], Any]) -> Case:
    def case(good: Good) -> Words:
        record = yaml.safe_load(good.label_set.read_text())
        changed = change(record)
        return label_set_text(yaml.safe_dump(record if changed is None else changed))(good)

    return case


def label_set_text(text: str | bytes) -> Case:
    def case(good: Good) -> Words:
        path = good.folder / "set.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return good.words("mask", good.scene, good.mask, path)

    return case


def first(**changes: Any) -> Case:
    return label_set(lambda record: record["classes"][0].update(changes))


LABEL_SETS: dict[str, Case] = {
    "no_name": label_set(lambda r: {k: v for k, v in r.items() if k != "name"}),
    "no_classes": label_set(lambda r: {"name": "x"}),
    "classes_empty": label_set(lambda r: r.update(classes=[])),
    "one_class": label_set(lambda r: r.update(classes=r["classes"][:1])),
    "a_code_twice": first(code=20),
    "a_name_twice": first(name="shrubland"),
    "code_255": first(code=255),
    "code_negative": first(code=-1),
    "code_text": first(code="ten"),
    "code_true": first(code=True),
    "code_fraction": first(code=10.5),
    "colour_name": first(colour="green"),
    "colour_short": first(colour="#12"),
    "unknown_class_key": first(color="#112233"),
    "unknown_key": label_set(lambda r: r.update(legend=[])),
    "a_code_both_named_and_ignored": label_set(lambda r: r.update(ignore=[10])),
    "ignore_text": label_set(lambda r: r.update(ignore=["none"])),
    "a_class_without_name": label_set(lambda r: r["classes"][0].pop("name") and None),
    "classes_a_mapping": label_set(lambda r: r.update(classes={"10": "trees"})),
    "a_list": label_set_text("- trees\n- water\n"),
    "a_word": label_set_text("trees"),
    "empty": label_set_text(""),
    "broken_yaml": label_set_text("name: [x\nclasses: {"),
    "latin_1": label_set_text("name: forêt\n".encode("latin-1")),
    "binary": label_set_text(b"\x00\x01\x02\xff"),
    "too_many_classes": label_set(lambda r: r.update(classes=[{"code": i, "name": f"c{i}"} for i in range(1, 253)])),
}


# --- masks


def mask(change: Callable[[np.ndarray], np.ndarray] = lambda codes: codes, **profile: Any) -> Case:
    def case(good: Good) -> Words:
        with rasterio.open(good.mask) as raster:
            codes, kept = raster.read(1), raster.profile | {"nodata": None, "predictor": 1} | profile
        changed = change(codes)
        kept.update(dtype=changed.dtype, height=changed.shape[0], width=changed.shape[1])
        path = good.folder / "mask.tif"
        with rasterio.open(path, "w", **kept) as raster:
            raster.write(changed, 1)
        return good.words("mask", good.scene, path)

    return case


def mask_bytes(change: Callable[[bytes], bytes]) -> Case:
    def case(good: Good) -> Words:
        path = good.folder / "mask.tif"
        path.write_bytes(change(good.mask.read_bytes()))
        return good.words("mask", good.scene, path)

    return case


def put(value: float, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    def change(codes: np.ndarray) -> np.ndarray:
        changed = codes.astype(dtype)
        changed[3:9, 4:11] = value
        return changed

    return change


FAR = from_origin(100_000, 9_000_000, 10, 10)
MASKS: dict[str, Case] = {
    "no_crs": mask(crs=None),
    "another_zone": mask(crs="EPSG:32755"),
    "degrees_without_place": mask(crs="EPSG:4326", transform=from_origin(500, 500, 10, 10)),
    "far_away": mask(transform=FAR),
    "no_transform": mask(crs=None, transform=None),
    "a_value_of_no_class": mask(put(200, "uint8")),
    "a_large_value": mask(put(40_000, "uint16")),
    "a_negative_value": mask(put(-7, "int16")),
    "a_fraction": mask(put(10.5, "float32")),
    "not_a_number": mask(put(np.nan, "float32")),
    "infinity": mask(put(np.inf, "float32")),
    "nothing_but_ignored": mask(lambda codes: np.zeros_like(codes)),
    "nothing_but_nodata": mask(lambda codes: np.full_like(codes, 10), nodata=10),
    "one_class_alone": mask(lambda codes: np.full_like(codes, 10)),
    "cut_short": mask_bytes(lambda content: content[: len(content) // 2]),
    "empty": mask_bytes(lambda content: b""),
    "text": mask_bytes(lambda content: b"trees, water"),
    "missing": lambda good: good.words("mask", good.scene, good.folder / "none.tif"),
    "a_folder": lambda good: good.words("mask", good.scene, good.folder),
    "not_given": lambda good: good.words("mask", good.scene),
}


# --- polygons


def polygons(*features: Callable[[Good], Any], more: dict[str, Any] | None = None, words: Words | None = None) -> Case:
    def case(good: Good) -> Words:
        record = {"type": "FeatureCollection", "features": [feature(good) for feature in features]} | (more or {})
        return polygons_text(json.dumps(record), words)(good)

    return case


def polygons_text(text: str | bytes, words: Words | None = None, name: str = "p.geojson") -> Case:
    def case(good: Good) -> Words:
        path = good.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return good.words("polygons", good.scene, path) + (words or [])

    return case


def feature(geometry: Any = "box", name: Any = "trees", key: str = "class", at: int = 20) -> Callable[[Good], Any]:
    def make(good: Good) -> Any:
        shape = good.box(at, at, at + 40, at + 40) if geometry == "box" else geometry
        return {"type": "Feature", "geometry": shape, "properties": {key: name}}

    return make


def swapped(good: Good) -> Any:
    box = good.box()
    box["coordinates"] = [[pair[::-1] for pair in box["coordinates"][0]]]
    return {"type": "Feature", "geometry": box, "properties": {"class": "trees"}}


OTHER = feature(name="lake", at=120)
ring = [[0.0, 0.0], [1.0, 1.0]]
POLYGONS: dict[str, Case] = {
    "geometry_null": polygons(feature(None), OTHER),
    "geometry_empty": polygons(feature({"type": "Polygon", "coordinates": []}), OTHER),
    "geometry_of_two_points": polygons(feature({"type": "Polygon", "coordinates": [ring]}), OTHER),
    "geometry_of_text": polygons(feature({"type": "Polygon", "coordinates": [[["a", "b"]] * 4]}), OTHER),
    "geometry_not_a_number": polygons(feature({"type": "Polygon", "coordinates": [[[float("nan")] * 2] * 4]}), OTHER),
    "geometry_infinite": polygons(feature({"type": "Polygon", "coordinates": [[[float("inf")] * 2] * 4]}), OTHER),
    "geometry_nested_wrong": polygons(feature({"type": "Polygon", "coordinates": ring}), OTHER),
    "geometry_of_no_type": polygons(feature({"coordinates": ring}), OTHER),
    "geometry_of_unknown_type": polygons(feature({"type": "Polygone", "coordinates": [ring]}), OTHER),
    "geometry_a_list": polygons(feature([1, 2]), OTHER),
    "geometry_a_word": polygons(feature("here"), OTHER),
    "a_point_of_one_number": polygons(feature({"type": "Point", "coordinates": [1.0]}), OTHER),
    "attribute_missing": polygons(feature(key="kind"), OTHER),
    "class_unknown": polygons(feature(name="treeees"), OTHER),
    "class_null": polygons(feature(name=None), OTHER),
    "class_empty": polygons(feature(name=""), OTHER),
    "class_a_list": polygons(feature(name=["trees"]), OTHER),
    "one_class_alone": polygons(feature()),
    "latitude_first": polygons(swapped),
    "far_away": polygons(feature(at=9000)),
    "overlapping": polygons(feature(), feature(name="lake", at=30), words=["--overlap", "error"]),
    "crs_unknown": polygons(feature(), OTHER, more={"crs": {"type": "name", "properties": {"name": "EPSG:999999"}}}),
    "crs_of_metres": polygons(feature(), OTHER, more={"crs": {"type": "name", "properties": {"name": "EPSG:32633"}}}),
    "crs_a_word": polygons(feature(), OTHER, more={"crs": "EPSG:4326"}),
    "no_features": polygons(),
    "a_feature_of_no_keys": polygons(lambda good: {}),
    "a_feature_a_word": polygons(lambda good: "trees"),
    "features_a_number": polygons_text('{"type": "FeatureCollection", "features": 3}'),
    "a_list": polygons_text("[1, 2]"),
    "broken_json": polygons_text('{"features": ['),
    "empty": polygons_text(""),
    "latin_1": polygons_text('{"features": "forêt"}'.encode("latin-1")),
    "utf_16": polygons_text(json.dumps({"features": []}).encode("utf-16")),
    "a_geopackage_of_text": polygons_text("nothing", name="p.gpkg"),
}


# --- points and tables


def points(text: str | bytes) -> Case:
    def case(good: Good) -> Words:
        path = good.folder / "points.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return good.words("points", good.scene, path)

    return case


POINTS: dict[str, Case] = {
    "no_column_for_the_class": points("lon,lat\n1,2\n"),
    "no_column_for_the_place": points("x,y,class\n1,2,trees\n"),
    "semicolons": points("lon;lat;class\n1;2;trees\n"),
    "a_word_for_a_number": points("lon,lat,class\neast,2,trees\n"),
    "beyond_the_pole": points("lon,lat,class\n1,95,trees\n"),
    "not_a_number": points("lon,lat,class\nnan,nan,trees\n"),
    "infinite": points("lon,lat,class\ninf,1,trees\n"),
    "a_row_cut_short": points("lon,lat,class\n1\n"),
    "class_unknown": points("lon,lat,class\n1,2,treeees\n"),
    "far_away": points("lon,lat,class\n1,2,trees\n1,3,lake\n"),
    "header_alone": points("lon,lat,class\n"),
    "empty": points(""),
    "latin_1": points("lon,lat,class\n1,2,forêt\n".encode("latin-1")),
    "binary": points(b"lon,lat,class\n\x00\xff\xfe,2,trees\n"),
}


def table(rows: Callable[[Good], str | bytes], name: str = "table.csv") -> Case:
    def case(good: Good) -> Words:
        text = rows(good)
        (good.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return good.words("table", good.folder / name)

    return case


def listed(good: Good) -> list[tuple[Path, str]]:
    return [(chip, folder.name) for folder in sorted(good.chips.iterdir())[:2] for chip in sorted(folder.iterdir())[:3]]


def lines(good: Good, **changes: str) -> str:
    rows = [f"{changes.get('path', chip)},{changes.get('label', name)}" for chip, name in listed(good)]
    return "\n".join([changes.get("header", "path,label"), *rows])


TABLES: dict[str, Case] = {
    "no_label_column": table(lambda good: lines(good, header="path,kind")),
    "no_path_column": table(lambda good: lines(good, header="file,label")),
    "files_missing": table(lambda good: lines(good, path="nowhere.tif")),
    "files_of_no_kind": table(lambda good: lines(good, path="notes.txt")),
    "paths_empty": table(lambda good: lines(good, path="")),
    "class_unknown": table(lambda good: lines(good, label="treeees")),
    "class_empty": table(lambda good: lines(good, label="")),
    "one_class_alone": table(lambda good: lines(good, label="trees")),
    "one_chip_under_two_classes": table(
        lambda good: "\n".join(["path,label", f"{listed(good)[0][0]},trees", f"{listed(good)[0][0]},lake"])
    ),
    "header_alone": table(lambda good: "path,label\n"),
    "empty": table(lambda good: ""),
    "latin_1": table(lambda good: "path,label\nforêt.tif,trees\n".encode("latin-1")),
    "parquet_of_text": table(lambda good: "nothing", "table.parquet"),
}


# --- chips in folders


def chips(change: Callable[[Path, Good], Any], words: Words | None = None) -> Case:
    def case(good: Good) -> Words:
        source = good.folder / "chips"
        for chip, name in listed(good):
            (source / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(chip, source / name / chip.name)
        change(source, good)
        return good.words("folders", source) + (words or [])

    return case


def each_chip(change: Callable[[np.ndarray, dict[str, Any]], np.ndarray], *, named: bool = True) -> Case:
    def spoil(source: Path, good: Good) -> None:
        for path in sorted(source.rglob("*.tif")):
            with rasterio.open(path) as raster:
                pixels, profile, names, tags = raster.read(), raster.profile, raster.descriptions, raster.tags()
            changed = change(pixels, profile)
            profile.update(count=len(changed), dtype=changed.dtype)
            with rasterio.open(path, "w", **profile) as raster:
                raster.write(changed)
                raster.update_tags(**tags)
                for index, name in enumerate(names[: len(changed)] if named else (), 1):
                    raster.set_band_description(index, name)

    return chips(spoil)


def one(source: Path) -> Path:
    return sorted(source.rglob("*.tif"))[0]


def copied_to_another_class(source: Path, good: Good) -> None:
    folders = sorted(source.iterdir())
    shutil.copy(sorted(folders[0].iterdir())[0], folders[1] / "again.tif")


CHIPS: dict[str, Case] = {
    "an_empty_folder": lambda good: good.words("folders", good.folder),
    "a_file_for_a_folder": lambda good: good.words("folders", good.label_set),
    "a_class_unknown": chips(lambda source, good: sorted(source.iterdir())[0].rename(source / "treeees")),
    "a_class_without_chips": chips(
        lambda source, good: (
            (source / "lake").mkdir(exist_ok=True) or shutil.rmtree(source / "lake") or (source / "lake").mkdir()
        )
    ),
    "one_class_alone": chips(lambda source, good: shutil.rmtree(sorted(source.iterdir())[0])),
    "one_chip_under_two_classes": chips(copied_to_another_class),
    "a_chip_of_text": chips(lambda source, good: one(source).write_text("trees")),
    "a_chip_cut_short": chips(lambda source, good: one(source).write_bytes(one(source).read_bytes()[:200])),
    "an_empty_chip": chips(lambda source, good: one(source).write_bytes(b"")),
    "bands_without_names": each_chip(lambda pixels, profile: pixels[:9], named=False),
    "another_band_order": each_chip(lambda pixels, profile: pixels[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 11]]),
    "all_nodata": each_chip(lambda pixels, profile: np.zeros_like(pixels)),
    "fractions_of_one": each_chip(lambda pixels, profile: (pixels / 65535).astype("float32")),
}


# --- patches with JSON


def patches(change: Callable[[Path, Good], Any]) -> Case:
    def case(good: Good) -> Words:
        source = good.folder / "patches"
        for number, name in enumerate(("trees", "lake")):
            shutil.copytree(good.scene, source / f"patch{number}")
            (source / f"patch{number}" / "labels.json").write_text(json.dumps({"labels": [name]}))
        change(source, good)
        return good.words("bigearthnet", source)

    return case


def json_text(text: str | bytes) -> Case:
    content = text.encode() if isinstance(text, str) else text
    return patches(lambda source, good: (source / "patch0" / "labels.json").write_bytes(content))


PATCHES: dict[str, Case] = {
    "no_json": patches(lambda source, good: (source / "patch0" / "labels.json").unlink()),
    "broken_json": json_text('{"labels": ['),
    "json_empty": json_text(""),
    "json_a_list": json_text('["trees"]'),
    "json_without_labels": json_text('{"classes": ["trees"]}'),
    "labels_a_word": json_text('{"labels": "trees"}'),
    "labels_empty": json_text('{"labels": []}'),
    "labels_unknown": json_text('{"labels": ["treeees"]}'),
    "labels_numbers": json_text('{"labels": [123456]}'),
    "latin_1": json_text('{"labels": ["forêt"]}'.encode("latin-1")),
    "no_patches": lambda good: good.words("bigearthnet", good.folder),
    "one_class_alone": json_text('{"labels": ["lake"]}'),
}

CASES: dict[str, Case] = {
    f"{form}-{name}": case
    for form, cases in (
        ("label_set", LABEL_SETS),
        ("mask", MASKS),
        ("polygons", POLYGONS),
        ("points", POINTS),
        ("table", TABLES),
        ("folders", CHIPS),
        ("bigearthnet", PATCHES),
    )
    for name, case in cases.items()
}
SAMPLE = (
    "label_set-a_code_twice",
    "label_set-latin_1",
    "mask-no_crs",
    "mask-another_zone",
    "mask-not_a_number",
    "mask-cut_short",
    "polygons-geometry_not_a_number",
    "polygons-crs_unknown",
    "polygons-class_null",
    "polygons-utf_16",
    "points-binary",
    "table-files_missing",
    "folders-a_class_without_chips",
    "folders-all_nodata",
    "bigearthnet-labels_numbers",
)
