"""A finished output is kept only if the command at hand would make the same: bundle, scene and options."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.tiling import Tiling
from bandloom.export.predict.options import PredictOptions, scene_opener
from bandloom.export.predict.origin import TAG, origin_of, place_in_scene, read_origin
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import tiny_contract, write_tiny_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two segmenters of one contract with other weights, and two classifiers."""
    folder = tmp_path_factory.mktemp("bundles")
    classify = tiny_contract(tiling=Tiling(48), task="classify")
    for seed in (0, 1):
        write_tiny_bundle(folder / f"map{seed}", seed=seed)
        write_tiny_bundle(folder / f"class{seed}", classify, seed=seed)
    return folder


@pytest.fixture
def place(bundles, tmp_path):
    """A scene, and the folder of its map."""
    (tmp_path / "scenes").mkdir()
    write_stack(tmp_path / "scenes" / "a.tif", (60, 60))
    assert run("predict", bundles / "map0", tmp_path / "scenes", "--out", tmp_path / "maps", "--confidence") == 0
    return tmp_path


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def touch(place, bundles):
    os.utime(place / "scenes" / "a.tif", (1, 1))
    return ["predict", bundles / "map0", place / "scenes"]


def copy_elsewhere(place, bundles):
    shutil.copytree(place / "scenes", place / "moved", copy_function=shutil.copyfile)
    shutil.rmtree(place / "scenes")
    return ["predict", bundles / "map0", place / "moved"]


def look_at_it_in_a_map_program(place, bundles):
    (place / "scenes" / "a.tif.aux.xml").write_text("<PAMDataset><Histograms/></PAMDataset>")
    return ["predict", bundles / "map0", place / "scenes"]


def another_runtime_or_pace(place, bundles):
    return ["predict", bundles / "map0", place / "scenes", "--batch", 1, "--runtime", "onnxruntime-cpu"]


def relative_path(place, bundles):
    os.chdir(place)
    return ["predict", bundles / "map0", "scenes/a.tif"]


@pytest.mark.parametrize(
    "again", [touch, copy_elsewhere, look_at_it_in_a_map_program, another_runtime_or_pace, relative_path]
)
def test_the_same_work_is_left_alone(place, bundles, capsys, again):
    here, made = Path.cwd(), bytes_in(place / "maps")
    try:
        assert run(*again(place, bundles), "--out", place / "maps", "--confidence") == 0
    finally:
        os.chdir(here)
    assert "a.tif: there already, left alone" in capsys.readouterr().out
    assert bytes_in(place / "maps") == made


def other_bundle(place, bundles):
    return ["predict", bundles / "map1", place / "scenes"]


def other_scene_of_the_same_name(place, bundles):
    (place / "other").mkdir()
    write_stack(place / "other" / "a.tif", (60, 60), seed=5)
    return ["predict", bundles / "map0", place / "other"]


def edited_in_place(place, bundles):
    with rasterio.open(place / "scenes" / "a.tif", "r+") as file:
        file.write(np.full((1, 1, 1), 4000, np.uint16), [1], window=((5, 6), (5, 6)))
    return ["predict", bundles / "map0", place / "scenes"]


def older_file_moved_over_it(place, bundles):
    write_stack(place / "scenes" / "b.part", (60, 60), seed=5)
    os.utime(place / "scenes" / "b.part", (1, 1))
    os.replace(place / "scenes" / "b.part", place / "scenes" / "a.tif")
    return ["predict", bundles / "map0", place / "scenes"]


def other_offset(place, bundles):
    return ["predict", bundles / "map0", place / "scenes", "--offset", "0"]


def other_band_order(place, bundles):
    names = "B02,B01,B03,B04,B05,B06,B07,B08,B8A,B09,B10,B11,B12"
    return ["predict", bundles / "map0", place / "scenes", "--band-order", names]


def with_probabilities(place, bundles):
    return ["predict", bundles / "map0", place / "scenes", "--probabilities"]


def somebodys_own_raster(place, bundles):
    shutil.copy(place / "scenes" / "a.tif", place / "maps" / "a.tif")
    return ["predict", bundles / "map0", place / "scenes"]


def an_empty_file(place, bundles):
    (place / "maps" / "a.tif").write_bytes(b"")
    return ["predict", bundles / "map0", place / "scenes"]


def one_that_is_cut_off(place, bundles):
    whole = (place / "maps" / "a.tif").read_bytes()
    (place / "maps" / "a.tif").write_bytes(whole[: len(whole) - 100])
    return ["predict", bundles / "map0", place / "scenes"]


def a_folder(place, bundles):
    (place / "maps" / "a.tif").unlink()
    (place / "maps" / "a.tif").mkdir()
    return ["predict", bundles / "map0", place / "scenes"]


def a_map_of_before_origins_were_written(place, bundles):
    with rasterio.open(place / "maps" / "a.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.update_tags(**{TAG: ""})
    return ["predict", bundles / "map0", place / "scenes"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("again", "why"),
    [
        (other_bundle, "made by another model, tiny ("),
        (other_scene_of_the_same_name, "made of another scene, "),
        (edited_in_place, "a.tif was changed"),
        (older_file_moved_over_it, "a.tif was changed"),
        (other_offset, "made with other options for reading the scene, none"),
        (other_band_order, "made with other options for reading the scene"),
        (with_probabilities, "but a.probabilities.tif is not"),
        (somebodys_own_raster, "does not say what it was made from"),
        (an_empty_file, "does not say what it was made from"),
        (one_that_is_cut_off, "or is damaged"),
        (a_folder, "or is damaged"),
        (a_map_of_before_origins_were_written, "does not say what it was made from"),
    ],
)
def test_other_work_is_refused_before_anything_is_mapped(place, bundles, capsys, again, why):
    words = again(place, bundles)
    write_stack(Path(words[2]) / "b.tif", (60, 60))  # a scene that is not yet mapped
    made = bytes_in(place / "maps")
    assert run(*words, "--out", place / "maps", "--confidence") == 2
    said = capsys.readouterr().err
    assert f"{place / 'maps' / 'a.tif'} is there already" in said
    assert why in said
    assert said.count("\n") == 1
    assert bytes_in(place / "maps") == made


def test_a_list_names_its_scenes_maps_by_origin_too(place, bundles, capsys):
    (place / "one.txt").write_text(f"{place / 'scenes' / 'a.tif'}\n")
    assert run("predict", bundles / "map0", place / "one.txt", "--out", place / "maps") == 0
    assert run("predict", bundles / "map1", place / "one.txt", "--out", place / "maps") == 2
    assert "by another model" in capsys.readouterr().err


def test_parts_of_one_list_see_each_others_names(place, bundles, capsys):
    (place / "other").mkdir()
    write_stack(place / "other" / "a.tif", (60, 60), seed=5)
    (place / "two.txt").write_text(f"{place / 'scenes' / 'a.tif'}\n{place / 'other' / 'a.tif'}\n")
    assert run("predict", bundles / "map0", place / "two.txt", "--out", place / "new", "--part", "2/2") == 2
    assert "two scenes are called 'a'" in capsys.readouterr().err


def test_a_table_of_another_classifier_is_refused(place, bundles, capsys):
    words = (place / "scenes", "--out", place / "tables")
    assert run("predict", bundles / "class0", *words) == 0
    made = bytes_in(place / "tables")
    assert run("predict", bundles / "class0", *words) == 0
    assert "left alone" in capsys.readouterr().out
    assert run("predict", bundles / "class1", *words) == 2
    assert "a.json is there already, made by another model" in capsys.readouterr().err
    assert bytes_in(place / "tables") == made
    (place / "tables" / "a.json").write_text("[]")
    assert run("predict", bundles / "class0", *words) == 2
    assert "does not say" in capsys.readouterr().err


def test_what_a_map_says_it_was_made_from_is_true(place, bundles):
    import hashlib

    said = read_origin(place / "maps" / "a.tif")
    assert said is not None
    assert said["model"]["sha256"] == read_bundle(bundles / "map0").record.files["model.onnx"]
    content = (place / "scenes" / "a.tif").read_bytes()
    [scene] = said["scenes"]
    assert scene["files"]["a.tif"][0] == len(content)
    assert scene["files"]["a.tif"][2] == hashlib.sha256(content).hexdigest()
    assert scene["source"] == str(place / "scenes" / "a.tif")


def test_a_scene_of_several_files_is_known_by_each_of_them(bundles, tmp_path):
    """A folder of bands, one of which is another day's."""
    folder = tmp_path / "scene"
    folder.mkdir()
    with rasterio.open(write_stack(tmp_path / "stack.tif", (60, 60))) as stack:
        for index, name in enumerate(stack.descriptions, 1):
            profile = stack.profile | {"count": 1, "driver": "GTiff"}
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as band:
                band.write(stack.read(index), 1)
    options, bundle = PredictOptions(offset=-1000), read_bundle(bundles / "map0")

    def origin():
        with scene_opener(str(folder), options)() as scene:
            return origin_of(bundle, scene, options)

    made = json.loads(json.dumps(origin().record()))
    assert sorted(made["scenes"][0]["files"]) == sorted(path.name for path in folder.iterdir())
    assert origin().difference(made) is None
    with rasterio.open(folder / "B8A.tif", "r+") as band:
        band.write(band.read() + 1)
    assert "B8A.tif was changed" in str(origin().difference(made))


def test_the_sources_of_a_virtual_raster_and_a_mask_beside_it_count(bundles, tmp_path):
    import rasterio.shutil

    write_stack(tmp_path / "far.tif", (60, 60))
    rasterio.shutil.copy(tmp_path / "far.tif", tmp_path / "scene.vrt", driver="VRT")
    options, bundle = PredictOptions(offset=-1000), read_bundle(bundles / "map0")
    with scene_opener(str(tmp_path / "scene.vrt"), options)() as scene:
        made = json.loads(json.dumps(origin_of(bundle, scene, options).record()))
    assert set(made["scenes"][0]["files"]) == {"scene.vrt", "far.tif"}
    with rasterio.open(tmp_path / "far.tif", "r+") as file:
        file.write(file.read() + 1)
    with scene_opener(str(tmp_path / "scene.vrt"), options)() as scene:
        assert "far.tif was changed" in str(origin_of(bundle, scene, options).difference(made))


def test_rows_of_a_band_folder_that_was_changed_are_not_gone_on_with(bundles, tmp_path):
    """The hidden folder of an interrupted run belongs to the same files, not to the same name."""
    options, bundle = PredictOptions(), read_bundle(bundles / "map0")
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    works = []
    for _ in range(2):
        with scene_opener(str(scene), options)() as opened:
            works.append(json.dumps(origin_of(bundle, opened, options).work()))
        os.utime(scene, (1, 1))
    assert works[0] != works[1]


def test_a_map_names_its_scenes_files_without_this_machines_paths(tmp_path, monkeypatch):
    product = tmp_path / "product"
    (product / "IMG").mkdir(parents=True)
    (product / "item.json").touch()
    band = str(product / "IMG" / "B02.jp2")
    assert place_in_scene("scene.tif", "scene.tif") == ""
    assert place_in_scene(band, str(product)) == "IMG/B02.jp2"
    assert place_in_scene(band, str(product / "item.json")) == "IMG/B02.jp2"
    assert place_in_scene("/vsizip/{/home/me/S2.zip}/IMG/B02.jp2", "S2.zip") == "IMG/B02.jp2"
    assert (
        place_in_scene("/vsicurl/https://example.org/B02.tif", str(product)) == "/vsicurl/https://example.org/B02.tif"
    )
    assert place_in_scene("/elsewhere/B02.tif", str(product)) is None
    monkeypatch.chdir("/")  # a service's folder: what was uploaded lies below it, and is nobody's business
    assert place_in_scene(band, "an upload") is None
