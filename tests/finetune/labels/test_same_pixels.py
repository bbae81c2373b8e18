"""One file, three commands: check, prepare and shards build see the same pixels in it, or refuse it alike."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio import features
from rasterio.warp import Resampling, calculate_default_transform, reproject, transform, transform_geom

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.cli import main
from bandloom.shards.read.shard_set import ShardSet

SIDE_PX = 240


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(name="scene")
def the_scene(scenes_folder) -> Path:
    return sorted((scenes_folder / "scenes").iterdir())[0]


@pytest.fixture(name="mask")
def the_mask(scenes_folder, scene) -> Path:
    return scenes_folder / "labels" / f"{scene.name}.tif"


def classes(mask: Path) -> tuple[np.ndarray, dict]:
    """Return four classes, 0 to 3, in blocks of twelve pixels, and the mask's profile."""
    with rasterio.open(mask) as raster:
        return np.kron(raster.read(1)[::12, ::12] // 10 % 4, np.ones((12, 12), np.uint8)), raster.profile


def write_mask(path: Path, values: np.ndarray, profile: dict, **more: object) -> Path:
    height, width = values.shape
    options = profile | {"dtype": values.dtype, "nodata": None, "predictor": 1, "height": height, "width": width} | more
    with rasterio.open(path, "w", **options) as raster:
        raster.write(values, 1)
    return path


def of_codes(folder, mask, label_set="worldcover11", dtype="float32"):
    values, profile = classes(mask)
    codes = np.array(get_taxonomy(label_set).label_set.codes)
    return "mask", write_mask(folder / "m.tif", codes[values].astype(dtype), profile), label_set, []


def of_ids(folder, mask):
    values, profile = classes(mask)
    ids = np.array([int(land_class.id) for land_class in get_taxonomy("corine44").classes], np.uint16)
    return "mask", write_mask(folder / "m.tif", ids[values], profile), "corine44", []


def with_nodata(folder, mask):
    values, profile = classes(mask)
    path = write_mask(folder / "m.tif", values.astype(np.int16), profile, nodata=0)
    return "mask", path, "dynamicworld9", ["--label-nodata", "none"]


def in_degrees(folder, mask):
    _, path, name, _ = of_codes(folder, mask)
    with rasterio.open(path) as raster:
        place, width, height = calculate_default_transform(
            raster.crs, "EPSG:4326", raster.width, raster.height, *raster.bounds
        )
        there = np.zeros((height, width), np.float32)
        band, grid = rasterio.band(raster, 1), {"dst_transform": place, "dst_crs": "EPSG:4326"}
        reproject(band, there, resampling=Resampling.nearest, **grid)
        profile = raster.profile
    return "mask", write_mask(folder / "d.tif", there, profile, crs="EPSG:4326", transform=place), name, []


def shapes(mask: Path, crs: str | None = None) -> list[tuple[dict, int]]:
    values, profile = classes(mask)
    found = [(shape, int(k)) for shape, k in features.shapes(values.astype(np.uint8), transform=profile["transform"])]
    return [(transform_geom(profile["crs"], crs, shape) if crs else shape, k) for shape, k in found]


def of_polygons(folder, mask):
    named = [{"code": k + 3, "name": name} for k, name in enumerate(("C+", "C-", "é", "2018"))]
    own = {"name": "own", "ignore": [], "classes": named}
    (folder / "own.yaml").write_text(yaml.safe_dump(own, allow_unicode=True), "utf-8")
    spelled = (3.0, "c-", "e\u0301", "2018")
    drawn = [(shape, {"kind": spelled[k]}) for shape, k in shapes(mask, "EPSG:4326")]
    rows = [{"type": "Feature", "geometry": shape, "properties": named} for shape, named in drawn]
    path = folder / "p.geojson"
    path.write_text("\ufeff" + json.dumps({"type": "FeatureCollection", "features": rows}), "utf-8")
    return "polygons", path, folder / "own.yaml", ["--label-field", "kind", "--overlap", "first"]


def of_a_package(folder, mask):
    raw, shapely = pytest.importorskip("pyogrio.raw"), pytest.importorskip("shapely")
    rows = shapes(mask)
    wkb = np.array([shapely.to_wkb(shapely.geometry.shape(shape)) for shape, _ in rows], object)
    ids = np.array([float(get_taxonomy("corine44").classes[k].id) for _, k in rows])
    with rasterio.open(mask) as raster:
        crs = raster.crs.to_string()
    for layer in ("old", "new"):
        options = {"geometry_type": "Polygon", "crs": crs, "layer": layer, "append": layer == "new"}
        raw.write(folder / "p.gpkg", wkb, [ids if layer == "new" else ids[::-1]], ["Code_18"], **options)
    return "polygons", folder / "p.gpkg", "corine44", ["--label-field", "Code_18", "--label-layer", "new"]


def of_points(folder, mask):
    values, profile = classes(mask)
    rows, columns = np.random.default_rng(0).integers(0, SIDE_PX, (2, 300))
    xs, ys = profile["transform"] * (columns + 0.5, rows + 0.5)
    lon, lat = transform(profile["crs"], "EPSG:4326", xs.tolist(), ys.tolist())
    names = [land_class.name for land_class in get_taxonomy("eurosat10").classes]
    found = values[rows, columns]
    lines = [f"{x:.9f},{y:.9f},{names[k]}" for x, y, k in zip(lon, lat, found, strict=True)]
    (folder / "p.csv").write_text("\n".join(["lon,lat,class", *lines]))
    return "points", folder / "p.csv", "eurosat10", []


@pytest.mark.parametrize("form", [of_codes, of_ids, with_nodata, in_degrees, of_polygons, of_a_package, of_points])
def test_the_same_file_gives_the_same_pixels_through_all_three_commands(tmp_path, scene, mask, form, capsys):
    kind, labels, label_set, options = form(tmp_path, mask)
    words = [scene, "--form", kind, "--labels", labels, "--label-set", label_set, *options]
    assert run("labels", "check", *words) == 0, capsys.readouterr()
    assert run("labels", "prepare", *words, "--out", tmp_path / "ready") == 0
    prepared = ["--labels", tmp_path / "ready/labels", "--label-set", tmp_path / "ready/label_set.yaml"]
    found = []
    for name, given in (("one", ["--labels", labels, "--label-set", label_set, *options]), ("two", prepared)):
        assert run("shards", "build", scene, *given, "--side", SIDE_PX, "--out", tmp_path / name) == 0
        shards = ShardSet(tmp_path / name)
        found.append(shards.read(0).label)
    assert ShardSet(tmp_path / "one").manifest["label_set"] == shards.manifest["label_set"]
    np.testing.assert_array_equal(found[0], found[1])
    seen = classes(mask)[0]
    there = found[0] != 255
    assert there.mean() > (0.8 if kind != "points" else 0.004)
    assert (found[0] == seen)[there].mean() > (0.98 if form is in_degrees else 0.999)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda record: record["features"][1]["properties"].update(kind=-3), "-3 is no class of label set 'own'"),
        (lambda record: record["features"][1]["properties"].update(kind="C++"), "'C++' is no class"),
        (lambda record: record["features"][1]["properties"].update(kind=None), "the value is empty"),
        (lambda record: record.update(crs="EPSG:4326"), "no wait"),
    ],
)
def test_what_one_command_refuses_all_refuse_and_the_labels_file_is_accused(tmp_path, scene, mask, spoil, said, capsys):
    kind, labels, label_set, options = of_polygons(tmp_path, mask)
    record = json.loads(labels.read_text("utf-8-sig"))
    if said == "no wait":
        record["crs"], said = {"type": "link"}, "names a coordinate system that is not understood"
    else:
        spoil(record)
    labels.write_text(json.dumps(record))
    words = ["--labels", labels, "--label-set", label_set, *options]
    for command in (
        ["labels", "prepare", scene, "--form", kind, *words],
        ["shards", "build", scene, *words, "--side", SIDE_PX],
    ):
        assert run(*command, "--out", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert said in error
        assert f"{labels}" in error
        assert f"{scene}:" not in error
        assert not (tmp_path / "out").exists()


def test_a_form_that_the_file_has_not_is_named(tmp_path, scene, mask, capsys):
    assert run("labels", "check", scene, "--form", "points", "--labels", mask, "--label-set", "worldcover11") == 2
    assert "holds no points: use --form mask" in capsys.readouterr().out
    (tmp_path / "p.geojson").write_text("{}")
    words = ["--labels", tmp_path / "p.geojson", "--label-set", "worldcover11"]
    assert run("labels", "check", scene, "--form", "mask", *words) == 2
    assert "holds no mask: use --form polygons or points" in capsys.readouterr().out


def test_a_build_says_what_has_no_label_and_that_255_is_none(tmp_path, scene, mask, capsys):
    values, profile = classes(mask)
    path = write_mask(tmp_path / "m.tif", np.where(values == 1, 255, 0).astype(np.uint8), profile)
    (tmp_path / "set.yaml").write_text("name: b\nignore: []\nclasses: [{code: 0, name: no}, {code: 1, name: yes}]\n")
    words = [scene, "--labels", path, "--label-set", tmp_path / "set.yaml", "--side", SIDE_PX]
    assert run("shards", "build", *words, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f"{(values == 1).sum()} pixels hold 255, which means no label" in said
    assert f"pixels without a label: {(values == 1).sum():,} (the value 255)" in said


def test_a_build_whose_labels_lie_elsewhere_says_that_nothing_is_labelled(tmp_path, scene, mask, capsys):
    _, labels, label_set, options = of_polygons(tmp_path, mask)
    record = json.loads(labels.read_text("utf-8-sig"))
    for feature in record["features"]:
        feature["geometry"] = {"type": "Point", "coordinates": [3.0, 3.0]}
    labels.write_text(json.dumps(record))
    words = [scene, "--labels", labels, "--label-set", label_set, *options, "--side", SIDE_PX]
    assert run("shards", "build", *words, "--out", tmp_path / "out") == 0
    assert "no sample is labelled" in capsys.readouterr().out


def test_chips_in_class_folders_find_a_shipped_label_set_by_any_word(tmp_path, chips_folder):
    folders = sorted((chips_folder / "chips").iterdir())
    (tmp_path / "chips").mkdir()
    for folder, name in zip(folders, ("annual-crop", "Forest"), strict=False):
        (tmp_path / "chips" / name).symlink_to(folder)
    words = [tmp_path / "chips", "--class-folders", "--label-set", "eurosat10", "--side", 24]
    assert run("shards", "build", *words, "--out", tmp_path / "out") == 0
    assert {entry.class_index for entry in ShardSet(tmp_path / "out").entries} == {0, 1}
