import functools
import re
import shutil
import zipfile

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from tests.shards.safe_product import NAME, native_bands, seal, zipped
from tests.shards.safe_product import write_safe as write_product


@pytest.fixture(scope="session")
def native():
    return native_bands()


@pytest.fixture
def write_safe(tmp_path, native):
    return functools.partial(write_product, tmp_path, native)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_product_is_read_band_by_band_on_its_own_grids(write_safe, native, form):
    root = write_safe()
    with open_scene(zipped(root) if form == "zip" else root) as scene:
        groups = scene.read((0, 0, 1020, 1020))
        cloud = scene.cloud((0, 0, 1020, 1020))
        assert (scene.name, scene.sensor.name, scene.width_m) == (NAME, "sentinel2-l1c", 1020)
        assert scene.datetime.isoformat() == "2023-06-05T10:30:21.024000+00:00"
        assert scene.provenance["processing_baseline"] == "05.09"
        assert scene.provenance["verified_files"] == 13
        assert scene.provenance["wavelengths_nm"] == {"B8A": 864.8}
        assert scene.provenance["sun_degrees"]["zenith"] == 30.5
    for group in scene.sensor.groups:
        for band, pixels in zip(group.bands, groups[group.gsd_m], strict=True):
            np.testing.assert_array_equal(pixels, native[band.name])
    assert cloud.sum() == 144  # opaque cloud, two 60 m pixels each way; snow is no cloud


def test_an_old_baseline_without_an_offset_list_gets_the_offset_and_its_polygons(write_safe, native):
    with open_scene(write_safe(offset=0, baseline="02.04", clouds="gml")) as scene:
        np.testing.assert_array_equal(scene.read((0, 0, 1020, 1020))[10][0], native["B02"])
        assert scene.provenance["offset"] == 0
        assert scene.cloud((0, 0, 1020, 1020)).sum() == 144


def test_a_new_product_of_an_old_date_goes_by_its_metadata(write_safe, native):
    name = NAME.replace("20230605", "20170605")
    with open_scene(write_safe(name=name)) as scene:
        np.testing.assert_array_equal(scene.read((0, 0, 1020, 1020))[10][0], native["B02"])


def test_an_offset_that_the_metadata_states_and_the_pixels_lack_is_refused(write_safe):
    root = write_safe(offset=0)
    text = (root / "MTD_MSIL1C.xml").read_text()
    (root / "MTD_MSIL1C.xml").write_text(text.replace("</P>", "<RADIO_ADD_OFFSET>-1000</RADIO_ADD_OFFSET></P>"))
    seal(root)
    with pytest.raises(SceneError, match="metadata -1000, but B10 starts at"):
        open_scene(root)


def test_flipped_bytes_in_a_jp2_are_found_by_the_manifest(write_safe):
    root = write_safe()
    band = next(root.rglob("*_B04.jp2"))
    content = bytearray(band.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    band.write_bytes(content)
    with pytest.raises(SceneError, match=r"_B04\.jp2 is damaged \(its MD5"):
        open_scene(root)


@pytest.mark.parametrize("name", ["MTD_MSIL1C.xml", "MTD_TL.xml", "MSK_CLASSI_B00.jp2"])
def test_changed_metadata_and_masks_are_found_by_the_manifest(write_safe, name):
    root = write_safe()
    file = next(root.rglob(name))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(SceneError, match=rf"{name} is damaged \(its MD5"):
        open_scene(root)


def test_an_image_that_the_manifest_forgets_is_refused_and_a_product_without_manifest_says_so(write_safe):
    root = write_safe()
    manifest = root / "manifest.safe"
    manifest.write_text(manifest.read_text().replace("_B04.jp2", "_B44.jp2"))
    with pytest.raises(SceneError, match=r"does not list .*_B04\.jp2"):
        open_scene(root)
    manifest.unlink()
    with open_scene(root) as scene:
        assert scene.provenance["verified_files"] == 0


@pytest.mark.parametrize(("what", "sentence"), [("missing", "lacks the image of B11"), ("empty", "0 bytes")])
def test_a_product_without_one_of_its_bands_is_refused(write_safe, what, sentence):
    root = write_safe()
    band = next(root.rglob("*_B11.jp2"))
    band.unlink()
    if what == "empty":
        band.touch()
    with pytest.raises(SceneError, match=sentence):
        open_scene(root)


def test_hostile_archives_and_metadata_are_not_opened(write_safe, tmp_path):
    root = write_safe()
    whole = zipped(root)
    for entry, sentence in (("../evil.txt", "points outside"), ("/etc/x", "points outside")):
        path = tmp_path / "S2A_MSIL1C_evil.zip"
        shutil.copy(whole, path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(entry, "x")
        with pytest.raises(SceneError, match=sentence):
            open_scene(path)
    bomb = tmp_path / "S2A_MSIL1C_bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.SAFE/MTD_MSIL1C.xml", bytes(8 * 2**20))
    with pytest.raises(SceneError, match="unpacks to"):
        open_scene(bomb)
    (tmp_path / "S2A_MSIL1C_cut.zip").write_bytes(whole.read_bytes()[:-3000])
    with pytest.raises(SceneError, match="truncated"):
        open_scene(tmp_path / "S2A_MSIL1C_cut.zip")
    shutil.copy(whole, tmp_path / "S2A_MSIL1C_twice.zip")
    with (
        zipfile.ZipFile(tmp_path / "S2A_MSIL1C_twice.zip", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr(f"{NAME}.SAFE/manifest.safe", "<x/>")
    with pytest.raises(SceneError, match="holds two entries"):
        open_scene(tmp_path / "S2A_MSIL1C_twice.zip")
    lol = '<!DOCTYPE l [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><P>&c;</P>'
    for encoding, sentence in (("utf-8", "declares a document type"), ("utf-16", "not text in UTF-8")):
        (root / "MTD_MSIL1C.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{lol}'.encode(encoding))
        seal(root)
        with pytest.raises(SceneError, match=sentence):
            open_scene(root)


def test_a_product_builds_into_shards_with_clouds_and_time(write_safe, tmp_path):
    root = write_safe()
    build([str(root)], tmp_path / "out", BuildOptions(60))
    found = ShardSet(tmp_path / "out")
    assert len(found) == 4
    assert found.entries[0].cloud_fraction == pytest.approx(144 / 3600)
    assert found.entries[0].datetime.startswith("2023-06-05T10:30:21")


def test_the_real_l2a_product_equals_the_rasters_it_was_made_of(real):
    safe = next((real / "safe_reconstructed").glob("*.SAFE"))
    folder = next((real / "unlabelled/majortom_s2l2a/199U_1099R").iterdir())
    with open_scene(safe) as product, open_scene(folder, offset=0) as rasters:
        one, two = product.read((4800, 4800, 600, 600)), rasters.read((4800, 4800, 600, 600))
    assert all(np.array_equal(one[gsd], two[gsd]) for gsd in two)


def test_the_real_l1c_metadata_is_understood_up_to_its_empty_images(real):
    safe = next((real / "safe_metadata_only").glob("*.SAFE"))
    with pytest.raises(SceneError, match="with 0 bytes; fetch the product again"):
        open_scene(safe)
    from bandloom.shards.scenes.readers.product import Product
    from bandloom.shards.scenes.readers.safe import _cloud, _offset, _sun, _wavelengths

    product = Product(safe)
    root = product.xml("MTD_MSIL1C.xml")
    assert _offset(root, safe) == 0
    assert len(_wavelengths(root)) == 13
    assert _sun(product)["zenith"] == pytest.approx(52.67, abs=0.01)
    assert _cloud(product, "l1c", None) is not None


@pytest.mark.parametrize("stated", ["0", "0.0", None])
def test_a_product_of_a_baseline_that_adds_1000_is_refused_when_it_states_none(tmp_path, stated):
    root = write_product(tmp_path, native_bands())  # noise, whose B10 proves nothing
    path = root / "MTD_MSIL1C.xml"
    new = "" if stated is None else f"<RADIO_ADD_OFFSET>{stated}</RADIO_ADD_OFFSET>"
    path.write_text(re.sub(r"<RADIO_ADD_OFFSET.*?</RADIO_ADD_OFFSET>", new, path.read_text()))
    seal(root)
    with pytest.raises(SceneError, match=r"products of its baseline 05\.09 carry \+1000: its metadata was changed"):
        open_scene(root)


def test_baselines_before_0400_and_a_users_own_processing_may_state_none(tmp_path):
    for number, baseline in enumerate(("02.09", "03.01", "99.99")):
        root = write_product(tmp_path / str(number), native_bands(), offset=0, baseline=baseline, clouds="vector")
        with open_scene(root) as scene:
            assert scene.provenance["offset"] == 0, baseline


@pytest.mark.parametrize("stated", ["nan", "", "-1000.5", "minus"])
def test_a_products_offset_that_is_no_whole_number_is_refused(tmp_path, stated):
    root = write_product(tmp_path, native_bands())
    path = root / "MTD_MSIL1C.xml"
    path.write_text(path.read_text().replace(">-1000<", f">{stated}<"))
    seal(root)
    with pytest.raises(SceneError, match=f"states an offset of '{stated}'; expected a whole number"):
        open_scene(root)
