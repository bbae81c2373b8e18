"""Products that were renamed, copied or packed on their way: the same values, masks and times, or one sentence."""

import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.build.sources import find_sources
from bandloom.shards.scenes import is_scene, open_scene
from tests.shards.landsat_product import write_landsat
from tests.shards.safe_product import native_bands, write_safe

WINDOW = (0, 0, 1020, 1020)


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("safe")
    return write_safe(folder, native_bands()) or next(folder.glob("*.SAFE"))


def zipped(root, target, litter=False, inside=""):
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                name = file.relative_to(root.parent).as_posix()
                archive.write(file, inside + name)
                if litter:
                    archive.writestr(f"__MACOSX/{name.rpartition('/')[0]}/._{file.name}", b"\0\5\26\7")
    return target


def renamed(root, tmp_path, name):
    return shutil.copytree(root, tmp_path / name)


def macs(root, tmp_path):
    copy = renamed(root, tmp_path, root.name)
    for file in list(copy.rglob("*")):
        if file.is_file():
            (file.parent / f"._{file.name}").write_bytes(b"\0\5\26\7\0\2")
    (copy / ".DS_Store").write_bytes(b"x")
    return copy


SAFE_FORMS = {
    "as it was": lambda root, tmp: root,
    "no suffix": lambda root, tmp: renamed(root, tmp, root.stem),
    "a word": lambda root, tmp: renamed(root, tmp, "my scene 1"),
    "a Mac's copy": macs,
    "Finder's zip": lambda root, tmp: zipped(root, tmp / f"{root.stem}.zip", litter=True),
    "a renamed zip": lambda root, tmp: zipped(root, tmp / "my scene.zip"),
    "a zip in capitals": lambda root, tmp: zipped(root, tmp / "SCENE.ZIP"),
    "a zip one folder deeper": lambda root, tmp: zipped(root, tmp / "deep.zip", inside="downloads/"),
    "its metadata": lambda root, tmp: next(renamed(root, tmp, "x").glob("MTD_MSIL1C.xml")),
    "its manifest": lambda root, tmp: renamed(root, tmp, "y") / "manifest.safe",
    "unpacked into itself": lambda root, tmp: renamed(root, tmp, f"{root.name}/{root.name}").parent,
}


@pytest.mark.parametrize("form", SAFE_FORMS)
def test_a_sentinel_2_product_is_known_by_its_metadata(safe, tmp_path, form):
    path = SAFE_FORMS[form](safe, tmp_path)
    assert [source.path for source in find_sources([str(path)])] == [str(path)]
    with open_scene(path) as scene, open_scene(safe) as wanted:
        assert (scene.datetime, scene.sensor.name) == (wanted.datetime, "sentinel2-l1c")
        for facts in ("processing_baseline", "verified_files", "offset", "sun_degrees", "bands_with_marks"):
            assert scene.provenance[facts] == wanted.provenance[facts]
        np.testing.assert_array_equal(scene.cloud(WINDOW), wanted.cloud(WINDOW))
        for gsd_m, pixels in wanted.read(WINDOW).items():
            np.testing.assert_array_equal(scene.read(WINDOW)[gsd_m], pixels)


def landsat_tar(root, target, mode="w", inside=""):
    with tarfile.open(target, mode) as archive:
        for file in sorted(root.iterdir()):
            archive.add(file, inside + file.name)
    return target


LANDSAT_FORMS = {
    "a word": lambda root, tmp: renamed(root, tmp, "my scene 1"),
    "tar.gz": lambda root, tmp: landsat_tar(root, tmp / f"{root.name}.tar.gz", "w:gz"),
    "tgz": lambda root, tmp: landsat_tar(root, tmp / "my scene.tgz", "w:gz"),
    "a renamed tar": lambda root, tmp: landsat_tar(root, tmp / "my scene.tar"),
    "a tar of ./NAME": lambda root, tmp: landsat_tar(root, tmp / "dot.tar", inside="./x/"),
    "a zip": lambda root, tmp: zipped(root, tmp / "landsat.zip", litter=True),
    "its MTL": lambda root, tmp: next(renamed(root, tmp, "z").glob("*_MTL.json")),
    "a Mac's copy": macs,
}


@pytest.mark.parametrize("form", LANDSAT_FORMS)
@pytest.mark.parametrize("level", ["1", "2"])
def test_a_landsat_product_is_known_by_its_mtl(tmp_path, form, level):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    root, _ = write_landsat(tmp_path / "in", level)
    path = LANDSAT_FORMS[form](root, tmp_path / "out")
    assert is_scene(path)
    with open_scene(path) as scene, open_scene(root) as wanted:
        assert (scene.datetime, scene.sensor.name) == (wanted.datetime, wanted.sensor.name)
        np.testing.assert_array_equal(scene.read(WINDOW)[30], wanted.read(WINDOW)[30])
        np.testing.assert_array_equal(scene.cloud(WINDOW), wanted.cloud(WINDOW))


@pytest.mark.parametrize("form", ["txt", "xml"])
def test_any_form_of_the_mtl_will_do(tmp_path, form):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    wanted, _ = write_landsat(tmp_path / "in", "2")
    root, _ = write_landsat(tmp_path / "out", "2", form=form)
    with open_scene(root) as scene, open_scene(wanted) as other:
        assert (scene.datetime, scene.provenance["sun_degrees"]) == (other.datetime, other.provenance["sun_degrees"])
        np.testing.assert_array_equal(scene.read(WINDOW)[30], other.read(WINDOW)[30])


def test_of_two_landsat_products_in_one_folder_the_one_that_is_named_is_read(tmp_path):
    both, wanted = tmp_path / "both", {}
    for level in ("1", "2"):
        root, _ = write_landsat(tmp_path, level)
        shutil.copytree(root, both, dirs_exist_ok=True)
        with open_scene(root) as scene:
            wanted[f"{root.name}_MTL.json"] = scene.sensor.name, scene.read(WINDOW)[30]
    for file, (sensor, pixels) in wanted.items():
        with open_scene(both / file) as scene:
            assert (scene.name, scene.sensor.name) == (file.removesuffix("_MTL.json"), sensor)
            np.testing.assert_array_equal(scene.read(WINDOW)[30], pixels)
    with pytest.raises(SceneError, match=r"holds 2 Landsat products .*; name the MTL file of one, or give"):
        open_scene(both)


def test_what_is_packed_twice_or_holds_no_product_says_how_to_go_on(safe, tmp_path):
    twice = zipfile.ZipFile(tmp_path / "twice.zip", "w")
    with twice:
        twice.write(zipped(safe, tmp_path / "once.zip"), "once.zip")
    with pytest.raises(SceneError, match=r"packed twice: it holds once\.zip; unpack it once"):
        find_sources([str(tmp_path / "twice.zip")])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("B02.tif", "x")
    with pytest.raises(SceneError, match=r"no Sentinel-2 or Landsat product .1 files.; unpack it and name the folder"):
        find_sources([str(tmp_path / "other.zip")])
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4")
    with pytest.raises(SceneError, match="unpack it"):
        find_sources([str(tmp_path / "broken.zip")])


def test_hidden_twins_in_a_folder_of_bands_are_no_bands(synthetic, tmp_path):
    folder = macs(sorted((synthetic / "scenes").iterdir())[0], tmp_path)
    with open_scene(folder) as scene:
        assert scene.sensor.name == "sentinel2-l1c"
    (tmp_path / "__MACOSX").mkdir()
    shutil.copy(folder / "B02.tif", tmp_path / "__MACOSX/._B02.tif")
    assert [source.path for source in find_sources([str(tmp_path)])] == [str(folder)]


def test_chips_whose_names_end_like_bands_are_chips_of_their_class(tmp_path, write_stack):
    for name in ("maize", "wheat"):
        (tmp_path / name).mkdir()
        for number in range(1, 4):
            write_stack(tmp_path / name / f"{name}_B{number}.tif")
    found = find_sources([str(tmp_path)], class_folders=True)
    assert [(each.key, each.class_name) for each in found] == [
        (f"{name}_B{number}", name) for name in ("maize", "wheat") for number in (1, 2, 3)
    ]


def test_two_dates_of_one_place_written_in_one_minute_are_both_kept_and_a_copy_is_named(tmp_path, write_stack, command):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for month in ("april", "august"):
        tags = {"TIFFTAG_DATETIME": "2026:11:20 10:00:00", "RADIO_ADD_OFFSET": "-1000"}
        pixels = rng.integers(1010, 1200, (13, 96, 108), dtype=np.uint16)
        write_stack(tmp_path / "in" / f"{month}.tif", pixels, tags=tags)
    _, said = command("shards", "build", tmp_path / "in", "--side", 120, "--out", tmp_path / "both")
    assert "duplicate" not in said
    assert "repeat" not in said
    shutil.copy(tmp_path / "in/april.tif", tmp_path / "in/copy.tif")
    _, said = command("shards", "build", tmp_path / "in", "--side", 120, "--out", tmp_path / "three")
    assert "WARNING 1 sample of copy repeats april" in " ".join(said.split())
