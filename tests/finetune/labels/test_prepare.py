"""Each form of labels, from files to shards; and everything wrong with them at once."""

import csv
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform

from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.cli import main
from bandloom.errors import LabelError
from bandloom.finetune.data.multilabel import read_table, scene_key
from bandloom.finetune.labels.chips import Chip
from bandloom.finetune.labels.prepare import Request, _link_chips, build_command, examine, prepare
from bandloom.shards.labels.reading import Ground, LabelReading
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene


@pytest.fixture(name="taxonomy")
def the_taxonomy(scenes_folder):
    return get_taxonomy(str(scenes_folder / "label_set.yaml"))


@pytest.fixture(name="scene")
def the_scene(scenes_folder) -> Path:
    return sorted((scenes_folder / "scenes").iterdir())[0]


def shard(request: Request, out: Path, side: int = 120) -> ShardSet:
    """Run the command that `labels prepare` prints."""
    words = build_command(request, out).replace("SHARDS", f"{out}-shards").split()[1:]
    with pytest.raises(SystemExit) as end:
        main([*words, "--side", str(side)])
    assert not end.value.code
    return ShardSet(f"{out}-shards")


def class_table(chips: Path, path: Path, most: int = 8) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for folder in sorted(chips.iterdir()):
            writer.writerows(
                [os.path.relpath(chip, path.parent), folder.name] for chip in sorted(folder.iterdir())[:most]
            )
    return path


def lon_lat(ground: Ground, column: int, row: int) -> tuple[float, float]:
    (x,), (y,) = transform(ground.crs, "EPSG:4326", [ground.x_m + column * 10], [ground.y_m - row * 10])
    return x, y


def box(ground: Ground, left: int, top: int, right: int, bottom: int) -> dict:
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return {"type": "Polygon", "coordinates": [[lon_lat(ground, *corner) for corner in corners]]}


def collection(path: Path, *features: tuple[dict | None, str]) -> Path:
    rows = [{"type": "Feature", "geometry": g, "properties": {"class": name}} for g, name in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    return path


def ground_of(scene: Path) -> Ground:
    with open_scene(scene) as opened:
        return Ground.of(opened)


def test_class_folders_become_shards(tmp_path, chips_folder, taxonomy):
    request = Request("folders", chips_folder / "chips", taxonomy)
    manifest = prepare(request, tmp_path / "out")
    shards = shard(request, tmp_path / "out", 24)
    assert len(shards) == sum(manifest["counts"].values())
    assert {entry.class_index for entry in shards.entries} == {
        taxonomy.find(folder.name) for folder in (chips_folder / "chips").iterdir()
    }


def test_a_table_of_paths_becomes_shards(tmp_path, chips_folder, taxonomy):
    table = class_table(chips_folder / "chips", tmp_path / "table.csv")
    request = Request("table", table, taxonomy)
    manifest = prepare(request, tmp_path / "out")
    assert len(shard(request, tmp_path / "out", 24)) == sum(manifest["counts"].values())


def test_bigearthnet_folders_become_shards(tmp_path, scene, taxonomy):
    source = tmp_path / "ben"
    names = taxonomy.classes[0].name, taxonomy.classes[1].name
    for number in range(6):
        patch = source / f"patch{number}"
        shutil.copytree(scene, patch)
        labels = list(names) if number == 5 else [names[number % 2]]
        (patch / "labels_metadata.json").write_text(json.dumps({"labels": labels}))
    request = Request("bigearthnet", source, taxonomy)
    manifest = prepare(request, tmp_path / "out")
    assert manifest["counts"] == {names[0]: 3, names[1]: 2}
    assert "1 of 6 patches have several classes" in json.dumps(manifest["warnings"])
    assert len(shard(request, tmp_path / "out", 240)) == 5


def test_patches_of_several_classes_become_a_table_that_training_reads(tmp_path, scene, taxonomy):
    source = tmp_path / "ben"
    names = taxonomy.classes[0].name, taxonomy.classes[1].name
    for number in range(3):
        shutil.copytree(scene, source / f"patch.{number}")
        (source / f"patch.{number}" / "l.json").write_text(json.dumps({"labels": list(names[: 1 + number % 2])}))
    request = Request("bigearthnet", source, taxonomy, several=True)
    manifest = prepare(request, tmp_path / "out")
    assert manifest["counts"] == {names[0]: 3, names[1]: 1}
    shards = shard(request, tmp_path / "out", 240)
    table = read_table(tmp_path / "out" / "chip_labels.json", taxonomy.label_set)
    found = [table[scene_key(entry.key)][:2].tolist() for entry in shards.entries]
    assert found == [[1, 0], [1, 1], [1, 0]]


def test_a_table_may_be_parquet(tmp_path, chips_folder, taxonomy):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = class_table(chips_folder / "chips", tmp_path / "table.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "table.parquet")
    one, two = (examine(Request("table", tmp_path / name, taxonomy)) for name in ("table.csv", "table.parquet"))
    assert one.chips == two.chips
    assert len(one.chips) == len(rows)


def test_polygons_of_a_geopackage_in_metres_equal_those_of_geojson(tmp_path, scene, taxonomy):
    pyogrio = pytest.importorskip("pyogrio")
    shapely = pytest.importorskip("shapely")
    ground = ground_of(scene)
    one, two = taxonomy.classes[0].name, taxonomy.classes[1].name
    shapes = [shapely.box(ground.x_m + x, ground.y_m - 800, ground.x_m + x + 500, ground.y_m - 200) for x in (100, 900)]
    pyogrio.raw.write(
        tmp_path / "p.gpkg",
        np.array(shapely.to_wkb(shapes), object),
        [np.array([one, two], object)],
        ["class"],
        geometry_type="Polygon",
        crs=ground.crs.to_string(),
    )
    collection(tmp_path / "p.geojson", (box(ground, 10, 20, 60, 80), one), (box(ground, 90, 20, 140, 80), two))
    codes = [examine(Request("polygons", scene, taxonomy, tmp_path / name)).codes for name in ("p.gpkg", "p.geojson")]
    assert (codes[0] != codes[1]).mean() < 0.003
    assert (codes[0] == taxonomy.classes[0].code).sum() == 50 * 60


def test_a_mask_on_another_grid_is_warped_onto_the_scenes(tmp_path, scenes_folder, scene, taxonomy):
    with rasterio.open(scenes_folder / "labels" / f"{scene.name}.tif") as raster:
        codes, profile = raster.read(1), raster.profile
    coarse = tmp_path / "mask.tif"
    profile.update(height=120, width=120, transform=profile["transform"] * profile["transform"].scale(2))
    with rasterio.open(coarse, "w", **profile) as raster:
        raster.write(codes[1::2, 1::2], 1)
    request = Request("mask", scene, taxonomy, coarse)
    prepare(request, tmp_path / "out")
    shards = shard(request, tmp_path / "out", 240)
    index = taxonomy.label_set.index_of(codes[1::2, 1::2]).repeat(2, 0).repeat(2, 1)
    assert (shards.read(0).label == index).mean() > 0.999


def test_polygons_label_their_ground_and_nothing_else(tmp_path, scene, taxonomy):
    ground = ground_of(scene)
    one, two = taxonomy.classes[0].name, taxonomy.classes[1].name
    labels = collection(tmp_path / "p.geojson", (box(ground, 10, 20, 60, 80), one), (box(ground, 40, 20, 90, 80), two))
    for overlap, width in (("last", 30), ("first", 50)):
        request = Request("polygons", scene, taxonomy, labels, LabelReading(overlap=overlap))
        codes = examine(request).codes
        first = codes == taxonomy.classes[0].code
        assert abs(int(first.sum()) - width * 60) <= 2 * (width + 60)
        assert (codes[100:] == 255).all()
    assert (
        "overlaps another class"
        in examine(Request("polygons", scene, taxonomy, labels, LabelReading(overlap="error"))).problems.errors[0].what
    )
    prepare(request, tmp_path / "out")
    label = shard(request, tmp_path / "out", 240).read(0).label
    assert set(np.unique(label)) == {0, 1, 255}


def write_points(path: Path, rows: list[tuple[float, float, str]]) -> Path:
    """Write longitude, latitude and class name of each point, as a table or a vector file."""
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("lon", "lat", "class"), *rows])
        return path
    points = [{"type": "Point", "coordinates": [lon, lat]} for lon, lat, _ in rows]
    if path.suffix == ".geojson":
        drawn = zip(points, rows, strict=True)
        features = [{"type": "Feature", "geometry": p, "properties": {"class": row[2]}} for p, row in drawn]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return path
    raw, shapely = pytest.importorskip("pyogrio.raw"), pytest.importorskip("shapely")
    wkb = np.array([shapely.to_wkb(shapely.geometry.shape(point)) for point in points], object)
    names = np.array([row[2] for row in rows], object)
    raw.write(path, wkb, [names], ["class"], geometry_type="Point", crs="EPSG:4326", layer="points")
    return path


@pytest.mark.parametrize("form", ["csv", "geojson", "gpkg"])
def test_points_label_the_pixel_they_lie_in(tmp_path, scene, taxonomy, form):
    ground = ground_of(scene)
    rows = [(20, 30, 0), (100, 50, 1), (200, 210, 1)]
    placed = [(*lon_lat(ground, column + 0.5, row + 0.5), taxonomy.classes[index].name) for column, row, index in rows]
    request = Request("points", scene, taxonomy, write_points(tmp_path / f"points.{form}", placed))
    prepare(request, tmp_path / "out")
    label = shard(request, tmp_path / "out", 240).read(0).label
    assert int((label != 255).sum()) == 3
    assert all(label[row, column] == index for column, row, index in rows)


def test_eurosats_band_order_is_caught(tmp_path, scene, taxonomy):
    """Bands written with B8A last, as EuroSAT's files are, and read as L1C."""
    order = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
    with open_scene(scene) as opened:
        groups = opened.read((0, 0, 600, 600))
        slots = {
            slot: np.kron(groups[g.gsd_m][i], np.ones((g.gsd_m // 10, g.gsd_m // 10), np.uint16))
            for g in opened.sensor.groups
            for i, slot in enumerate(g.slots)
        }
        crs, corner = opened.crs, (opened.transform.c, opened.transform.f)
    for name in ("one", "two"):
        chip = tmp_path / "chips" / taxonomy.classes[name == "two"].name / f"{name}.tif"
        chip.parent.mkdir(parents=True)
        with rasterio.open(
            chip,
            "w",
            driver="GTiff",
            height=60,
            width=60,
            count=13,
            dtype="uint16",
            crs=crs,
            transform=from_origin(*corner, 10, 10),
        ) as raster:
            raster.write(np.stack([slots[slot] + (name == "two") for slot in order]).astype(np.uint16))
    right = examine(Request("folders", tmp_path / "chips", taxonomy, band_order="eurosat", offset=-1000))
    wrong = examine(Request("folders", tmp_path / "chips", taxonomy, band_order="l1c", offset=-1000))
    assert not right.problems.errors
    assert "pass --band-order eurosat" in wrong.problems.errors[0].what


def test_every_problem_is_named_at_once_and_nothing_is_written(tmp_path, chips_folder, taxonomy, capsys):
    source = tmp_path / "chips"
    shutil.copytree(chips_folder / "chips", source)
    folders = sorted(source.iterdir())
    chip = next(iter(sorted(folders[0].iterdir())))
    shutil.copy(chip, folders[1] / "again.tif")
    (folders[0] / "broken.tif").write_bytes(b"II*\0nonsense")
    (source / "unheard of").mkdir()
    (source / "unheard of" / "a.tif").write_bytes(chip.read_bytes())
    (source / "empty").mkdir()
    label_set = chips_folder / "label_set.yaml"
    arguments = [str(source), "--form", "folders", "--label-set", str(label_set)]
    with pytest.raises(SystemExit) as end:
        main(["labels", "check", *arguments, "--report", "json"])
    assert end.value.code == 2
    found = json.loads(capsys.readouterr().out)
    said = " ".join(problem["what"] for problem in found["problems"] if problem["severity"] == "error")
    for text in ("under different classes", "is no class of label set", "without chips"):
        assert text in said
    with pytest.raises(SystemExit) as end:
        main(["labels", "prepare", *arguments, "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert "more; `bandloom labels check` lists them all" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"chips"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda g: ({"type": "Polygon", "coordinates": [[1, 2]]}, "trees"), "no valid geometry"),
        (lambda g: ({"type": "Point", "coordinates": [46.0, 250.0]}, "trees"), "longitude comes first"),
        (lambda g: (None, "trees"), "no geometry in any of them"),
        (lambda g: (box(g, 0, 0, 50, 50), "treeees"), "is no class"),
        (lambda g: (box(g, 5000, 5000, 5050, 5050), "trees"), "lies nowhere on the scene"),
        (lambda g: (box(g, 0, 0, 50, 50), "trees"), "alone"),
    ],
)
def test_a_polygon_that_cannot_be_used_is_named(tmp_path, scene, taxonomy, make, said):
    labels = collection(tmp_path / "p.geojson", make(ground_of(scene)))
    problems = examine(Request("polygons", scene, taxonomy, labels)).problems.errors
    assert any(said in problem.what for problem in problems), problems


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"features": 3}', '{"features": []}', '{"features": [{}]}', "\xff"])
def test_a_file_that_is_no_geojson_is_named(tmp_path, scene, taxonomy, text):
    path = tmp_path / "p.geojson"
    path.write_text(text, encoding="latin-1")
    assert examine(Request("polygons", scene, taxonomy, path)).problems.errors


def test_a_mask_with_unknown_values_or_no_place_is_named(tmp_path, scenes_folder, scene, taxonomy):
    with rasterio.open(scenes_folder / "labels" / f"{scene.name}.tif") as raster:
        codes, profile = raster.read(1), raster.profile
    codes[3, 4] = 200
    for change, said in (
        ({}, "holds 200"),
        ({"crs": None}, "no coordinate system"),
        ({"crs": "EPSG:32755"}, "does not lie on scene"),
    ):
        with rasterio.open(tmp_path / "m.tif", "w", **(profile | change)) as raster:
            raster.write(codes, 1)
        found = examine(Request("mask", scene, taxonomy, tmp_path / "m.tif")).problems.errors
        assert any(said in problem.what for problem in found)


def test_a_checkpoint_that_lacks_a_band_is_named(scene, taxonomy, scenes_folder):
    request = Request("mask", scene, taxonomy, scenes_folder / "labels" / f"{scene.name}.tif")
    assert not examine(request).problems.errors
    problems = examine(request, frozenset({"B02", "B03"})).problems
    assert "which the checkpoint was not trained on" in problems.errors[0].what


def test_labels_are_needed_for_a_scene(scene, taxonomy, tmp_path):
    with pytest.raises(LabelError, match="needs --labels"):
        prepare(Request("points", scene, taxonomy), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("side_px", "said"), [(36, " --side 36 "), (240, ""), (600, ""), (None, "")])
def test_samples_are_no_larger_than_the_chips_they_hold(taxonomy, tmp_path: Path, side_px: int | None, said: str):
    command = build_command(Request("folders", tmp_path, taxonomy), tmp_path / "out", side_px)
    assert said in command if said else "--side" not in command


def test_the_side_that_holds_a_chip_is_written_down(scenes_folder, taxonomy, tmp_path: Path):
    chips = tmp_path / "chips" / taxonomy.classes[0].name
    chips.mkdir(parents=True)
    scene = sorted((scenes_folder / "scenes").iterdir())[0]
    for number in range(2):
        (chips / f"chip_{number}").symlink_to(scene)
    found = examine(Request("folders", tmp_path / "chips", taxonomy))
    with open_scene(scene) as opened:
        assert found.side_px == -(-max(opened.width_m, opened.height_m) // 60) * 6


def linked(folder: Path, names: list[str], *chips: tuple[str, int]) -> dict[str, list[str]]:
    """Link empty chips of classes, and return where each class's links lead."""
    made = []
    for number, (name, index) in enumerate(chips):
        (folder / f"{number}").mkdir(parents=True)
        (folder / f"{number}" / name).touch()
        made.append(Chip(folder / f"{number}" / name, index))
    classes = tuple(SimpleNamespace(name=name) for name in names)
    _link_chips(folder / "out", tuple(made), cast(Taxonomy, SimpleNamespace(classes=classes)))
    homes = sorted((folder / "out" / "chips").iterdir())
    there = folder.resolve()
    return {home.name: sorted(str(link.resolve().relative_to(there)) for link in home.iterdir()) for home in homes}


def test_chips_whose_names_clash_are_all_linked(tmp_path):
    """A chip that is called as another's numbered link would be."""
    chips = [("a.tif", 0), ("1-a.tif", 0), ("a.tif", 0), ("a.tif", 1), ("1-a.tif", 0)]
    assert linked(tmp_path, ["forest", "C/D"], *chips) == {
        "forest": ["0/a.tif", "1/1-a.tif", "2/a.tif", "4/1-a.tif"],
        "C-D": ["3/a.tif"],
    }


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/b", "a-b"], "classes 'a/b' and 'a-b' would share the folder 'a-b'"),
        (["Forêt", "fore\u0302t"], "would share the folder"),
        (["..", "x"], r"the class '\.\.' can be no folder"),
        ([".hidden", "x"], r"the class '\.hidden' can be no folder"),
        (["x" * 240, "y"], "can be no folder"),
    ],
)
def test_classes_never_share_a_folder_or_leave_theirs(tmp_path, names, said):
    with pytest.raises(LabelError, match=said):
        linked(tmp_path, names, ("a.tif", 0))
