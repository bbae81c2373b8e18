"""Products as ESA, AWS and USGS delivered them; skipped where ../shared/data is absent."""

import numpy as np
import pytest
import rasterio

from bandloom.errors import BandloomError, SceneError
from bandloom.rasters.values import dn_to_reflectance
from bandloom.sensors import get_sensor
from bandloom.shards.scenes import open_scene

L1C = get_sensor("sentinel2-l1c").slots


@pytest.fixture
def delivered(real):
    if not (real / "products_real").is_dir():
        pytest.skip("../shared/data/products_real is not beside this checkout")
    return real / "products_real"


@pytest.mark.parametrize("stem", ["S2B_MSIL1C_20200406T101559_N0209", "S2B_MSIL1C_20220615T101559_N0400"])
def test_dn_of_either_baseline_become_the_reflectance_that_others_made_of_them(delivered, stem):
    pairs = delivered / "dn_toa_pairs"
    path = next(path for path in sorted(pairs.glob(f"{stem}*.tif")) if not path.name.endswith("_toa.tif"))
    toa = path.with_name(f"{path.stem}_toa.tif")
    with rasterio.open(path) as raster, rasterio.open(toa) as wanted:
        stored, reflectance, pixel_m = raster.read().astype(float), wanted.read().astype(float), raster.res[0]
    offset = -1000 if "N0400" in stem else 0
    made = np.where(stored > 0, (stored + offset) / 1e4, np.nan)
    np.testing.assert_allclose(made[stored > 0], reflectance[stored > 0], atol=1e-3)
    if pixel_m > 10:  # thinned: no sampling of the sensor's
        with pytest.raises(SceneError, match="has pixels of 60 m where its band needs 10 m"):
            open_scene(path, offset=offset, band_map="l1c")
        return
    with open_scene(path, offset=offset, band_map="l1c") as scene:
        seen = dn_to_reflectance(scene.read((0, 0, 120, 120))[10])
    height, width = stored.shape[1:]
    np.testing.assert_allclose(seen[:, :height, :width], reflectance[[1, 2, 3, 7]], atol=1e-3)


def said_of(path):
    """What opening a path says: nothing, or one sentence."""
    try:
        with open_scene(path) as scene:
            assert scene.sensor.name == "sentinel2-l1c"
            return None if scene.datetime else "has no time"
    except BandloomError as refused:
        return str(refused)


def test_every_delivered_zip_and_folder_is_read_or_refused_in_a_sentence(delivered):
    found = [*delivered.rglob("*.zip"), *(path.parent for path in delivered.rglob("tileInfo.json"))]
    found += [path.parent for path in delivered.rglob("MTD_MSIL1C.xml")]
    assert len(found) >= 8
    said = {path.name: said_of(path) for path in found}
    assert all(each is None or (each.endswith(".") and "\n" not in each) for each in said.values()), said
    # the pixels were thinned after delivery: what vouches for them says so, and what is no archive is named
    damaged = [name for name, each in said.items() if each and "is damaged (its " in each]
    assert len(damaged) == 4
    assert "unpack it and name the folder" in str(
        said["S2B_OPER_MSI_L1C_TL_EPAE_20180617T013729_A006677_T55JGF_N02.06.AWSPDS.zip"]
    )


def test_an_mtl_of_another_landsat_is_named(delivered, tmp_path):
    for mtl in sorted((delivered / "landsat_c2_mtl").iterdir()):
        folder = tmp_path / mtl.name
        folder.mkdir()
        (folder / mtl.name).write_bytes(mtl.read_bytes())
        with pytest.raises(SceneError) as refused:  # without its rasters
            open_scene(folder)
        said = str(refused.value)
        if mtl.name.startswith("LC0") and "_02_T" in mtl.name and mtl.suffix != ".xml":
            assert "lacks" in said or "expected L1TP or L2SP" in said


def test_a_scene_whose_grids_do_not_meet_says_by_how_much(real, caplog):
    folder = real / "unlabelled/s2_l1c_virginia"
    if not folder.is_dir():
        pytest.skip("../shared/data/unlabelled/s2_l1c_virginia is absent")
    with caplog.at_level("WARNING", "bandloom"), open_scene(folder) as scene:
        groups = scene.read((6000, 6000, 600, 600))
    assert "B05.jp2 lies 10.0 m off its scene's corner" in caplog.text
    with rasterio.open(folder / "s2_B05.jp2") as raster:
        np.testing.assert_array_equal(groups[20][0] - 1000, raster.read(1)[300:330, 300:330])


def test_patches_without_band_names_or_offsets_are_asked_for_them(real):
    patches = sorted((real / "unlabelled/s2_l2a_satclip").glob("*.tif"))
    if not patches:
        pytest.skip("../shared/data/unlabelled/s2_l2a_satclip is absent")
    for path in patches:
        with pytest.raises(BandloomError) as refused:
            open_scene(path)
        assert str(refused.value).endswith(".")
        with pytest.raises(BandloomError, match="pass --offset -1000 when they do"):
            open_scene(path, band_map="l2a")
