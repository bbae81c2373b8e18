import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.cli import main


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_the_shipped_label_sets_and_mappings_are_listed(capsys):
    assert run("labels", "list") == 0
    said = capsys.readouterr().out
    assert "worldcover11" in said
    assert "bigearthnet19" in said


def test_a_raster_is_mapped_and_what_is_lost_is_said(tmp_path, capsys):
    source, out = tmp_path / "wc.tif", tmp_path / "dw.tif"
    with rasterio.open(
        source,
        "w",
        driver="GTiff",
        height=2,
        width=2,
        count=1,
        dtype="uint8",
        crs="EPSG:32633",
        transform=from_origin(0, 0, 10, 10),
    ) as raster:
        raster.write(np.array([[10, 30], [100, 0]], np.uint8), 1)
    assert run("labels", "map", source, "--from", "worldcover11", "--to", "dynamicworld9", "--out", out) == 0
    with rasterio.open(out) as raster:
        assert raster.read(1).tolist() == [[1, 2], [255, 255]]
        assert raster.colormap(1)[1][:3] == (57, 125, 73)
    said = capsys.readouterr().out
    assert "1 pixels of 'Moss and lichen' have no class" in said
    assert "loses something for Grassland" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--form", "folder", "--label-set", "eurosat10"], "Did you mean 'folders'"),
        (["--form", "folders", "--label-set", "eurosat"], "Did you mean 'eurosat10'"),
        (["--form", "folders", "--label-set", "eurosat10", "--several"], "--several is for --form bigearthnet"),
    ],
)
def test_a_wrong_word_names_the_right_one(tmp_path, capsys, words, said):
    assert run("labels", "check", tmp_path, *words) == 2
    assert said in capsys.readouterr().err


def test_a_source_that_does_not_exist_is_a_sentence(tmp_path, capsys):
    assert run("labels", "check", tmp_path / "no", "--form", "folders", "--label-set", "eurosat10") == 2
    assert "does not exist" in capsys.readouterr().err


def write_raster(path, values, **more):
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1} | more
    profile |= {"crs": "EPSG:32633", "transform": from_origin(0, 0, 10, 10), "dtype": values.dtype}
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(values, 1)
    return path


def test_a_raster_of_three_digit_corine_codes_is_mapped(tmp_path):
    source = write_raster(tmp_path / "clc.tif", np.array([[111, 312], [523, 335]], np.uint16))
    out = tmp_path / "ben.tif"
    assert run("labels", "map", source, "--from", "corine44", "--to", "bigearthnet19", "--out", out) == 0
    with rasterio.open(out) as raster:
        assert raster.read(1).tolist() == [[1, 10], [19, 255]]


@pytest.mark.parametrize(("told", "wanted"), [("none", [[0, 1], [2, 8]]), ("0", [[255, 1], [2, 8]])])
def test_nodata_that_is_a_class_is_asked_about_before_it_is_mapped(tmp_path, capsys, told, wanted):
    source = write_raster(tmp_path / "dw.tif", np.array([[0, 1], [2, 8]], np.uint8), nodata=0)
    same = tmp_path / "same.csv"
    same.write_text("from,to,lossy\nWater,Water,no\nTrees,Trees,no\nGrass,Grass,no\nSnow & ice,Snow & ice,no\n")
    words = [
        "labels",
        "map",
        source,
        "--from",
        "dynamicworld9",
        "--to",
        "dynamicworld9",
        "--mapping",
        same,
        "--out",
        tmp_path / "out.tif",
    ]
    assert run(*words) == 2
    assert "which is the code of class 'Water'" in capsys.readouterr().err
    assert run(*words, "--nodata", told) == 0
    with rasterio.open(tmp_path / "out.tif") as raster:
        assert raster.read(1).tolist() == wanted


def test_a_form_that_brings_its_own_classes_takes_no_labels(tmp_path, capsys):
    (tmp_path / "a.tif").write_text("")
    words = ["--form", "folders", "--label-set", "eurosat10", "--labels", tmp_path / "a.tif"]
    assert run("labels", "check", tmp_path, *words) == 2
    assert "takes its classes from" in capsys.readouterr().out
