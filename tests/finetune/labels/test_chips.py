import shutil

import numpy as np
import rasterio
from rasterio.transform import from_origin

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.finetune.labels.chips import Chip, check_chips, from_folders, from_table
from bandloom.shards.labels.problems import Problems

EUROSAT = get_taxonomy("eurosat10")
RIVER, FOREST = EUROSAT.find("River"), EUROSAT.find("Forest")


def raster(path, seed: int = 0):
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", count=1, height=6, width=6, dtype="uint16", **place) as file:
        file.write(np.random.default_rng(seed).integers(1, 9000, (1, 6, 6)).astype(np.uint16))
    return path


def test_a_folders_name_may_be_any_word_of_its_class(tmp_path):
    one, two = raster(tmp_path / "River" / "1.tif"), raster(tmp_path / "forest" / "2.tif", 1)
    (tmp_path / "forest" / "notes.txt").write_text("no chip")
    problems = Problems()
    assert from_folders(tmp_path, EUROSAT, problems) == [Chip(one, RIVER), Chip(two, FOREST)]
    assert problems.found == []


def test_folders_that_mean_nothing_or_hold_nothing_are_problems_each(tmp_path):
    raster(tmp_path / "Volcano" / "1.tif")
    (tmp_path / "River").mkdir()
    problems = Problems()
    assert from_folders(tmp_path, EUROSAT, problems) == []
    assert sorted(problem.where for problem in problems.errors) == [str(tmp_path / "River"), str(tmp_path / "Volcano")]
    none = Problems()
    from_folders(tmp_path / "absent", EUROSAT, none)
    assert "holds no class folders" in none.found[0].what


def test_paths_of_a_table_count_from_the_table(tmp_path):
    chip = raster(tmp_path / "images" / "1.tif")
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nimages/1.tif,river\n\nimages/2.tif,river\n\n\nimages/1.tif,volcano\n")
    problems = Problems()
    assert from_table(table, EUROSAT, problems) == [Chip(chip, RIVER)]
    assert [problem.where for problem in problems.errors] == ["labels.csv line 4", "labels.csv line 7"]


def test_chips_that_lie_there_twice_are_an_error_under_two_classes_and_a_warning_under_one(tmp_path):
    one = raster(tmp_path / "1.tif")
    two, three = tmp_path / "2.tif", tmp_path / "3.tif"
    shutil.copyfile(one, two)
    shutil.copyfile(one, three)
    other = raster(tmp_path / "4.tif", 1)
    same = Problems()
    check_chips([Chip(one, RIVER), Chip(two, RIVER), Chip(other, FOREST)], EUROSAT, same)
    assert not same.errors
    assert any("a split may put one on each side" in problem.what for problem in same.found)
    apart = Problems()
    check_chips([Chip(one, RIVER), Chip(three, FOREST), Chip(other, FOREST)], EUROSAT, apart)
    (error,) = apart.errors
    assert "are the same file under different classes" in error.what
    assert error.where == f"{one}, {three}"


def test_one_class_alone_cannot_be_learnt(tmp_path):
    problems = Problems()
    check_chips([Chip(tmp_path / "1.tif", RIVER)], EUROSAT, problems)
    assert [problem.what for problem in problems.errors] == ["show 1 of 10 classes; at least 2 are needed."]
