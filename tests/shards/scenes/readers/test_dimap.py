import math
import shutil

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import SceneError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene

GAINS = {"green": 1.1, "blue": 0.9, "nir": 1.3, "red": 1.2}
SUN = {"blue": 1900.0, "green": 1800.0, "red": 1500.0, "nir": 1000.0}
ELEVATION = 55.0


def write_image(path, pixels, gsd_m):
    count, height, width = pixels.shape
    place = {"crs": "EPSG:32647", "transform": from_origin(600_000, 1_600_020, gsd_m, gsd_m)}
    with rasterio.open(path, "w", "GTiff", width, height, count, dtype=pixels.dtype, **place) as raster:
        raster.write(pixels)


@pytest.fixture
def theos1(tmp_path):
    """A THEOS-1 MS product: 8 bit, 15 m, channels green, blue, near infrared, red, as DIMAP 1.1 lays it out."""
    root = tmp_path / "THEOS1_20110512"
    root.mkdir()
    pixels = np.random.default_rng(1).integers(1, 250, (4, 41, 37), dtype=np.uint8)
    pixels[0, 0, 0], pixels[1, 2, 2] = 0, 255
    write_image(root / "IMAGERY.TIF", pixels, 15)
    bands = "".join(
        f"<Spectral_Band_Info><BAND_INDEX>{k}</BAND_INDEX><BAND_DESCRIPTION>{name.upper()}</BAND_DESCRIPTION>"
        f"<PHYSICAL_GAIN>{gain}</PHYSICAL_GAIN><PHYSICAL_BIAS>0.5</PHYSICAL_BIAS></Spectral_Band_Info>"
        for k, (name, gain) in enumerate(GAINS.items(), 1)
    )
    (root / "METADATA.DIM").write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?><Dimap_Document><Metadata_Id>'
        '<METADATA_FORMAT version="1.1">DIMAP</METADATA_FORMAT></Metadata_Id><Dataset_Sources><Source_Information>'
        "<Scene_Source><MISSION>THEOS</MISSION><MISSION_INDEX>1</MISSION_INDEX><INSTRUMENT>MS</INSTRUMENT>"
        "<IMAGING_DATE>2011-05-12</IMAGING_DATE><IMAGING_TIME>03:41:07</IMAGING_TIME>"
        f"<SUN_ELEVATION>{ELEVATION}</SUN_ELEVATION></Scene_Source></Source_Information></Dataset_Sources>"
        f"<Image_Interpretation>{bands}</Image_Interpretation>"
        '<Data_Access><Data_File><DATA_FILE_PATH href="IMAGERY.TIF"/></Data_File></Data_Access></Dimap_Document>',
        encoding="latin-1",
    )
    return root, pixels


@pytest.fixture
def theos2(tmp_path):
    """A THEOS-2 MS product: 16 bit, 2 m, DIMAP 2 with radiance gains and solar irradiances a band."""
    root = tmp_path / "THEOS2_20240110"
    root.mkdir()
    pixels = np.random.default_rng(2).integers(100, 3000, (4, 155, 150), dtype=np.uint16)
    pixels[:, :5, :5] = 0
    write_image(root / "IMG_THEOS2_MS_R1C1.TIF", pixels, 2)
    order = ("B0", "B1", "B2", "B3")
    index = "".join(
        f"<Raster_Index><BAND_ID>{b}</BAND_ID><BAND_INDEX>{k}</BAND_INDEX></Raster_Index>"
        for k, b in enumerate(order, 1)
    )
    light = "".join(
        f"<Band_Radiance><BAND_ID>{b}</BAND_ID><GAIN>9.5</GAIN><BIAS>0</BIAS></Band_Radiance>" for b in order
    )
    suns = "".join(
        f"<Band_Solar_Irradiance><BAND_ID>{b}</BAND_ID><VALUE>{SUN[c]}</VALUE></Band_Solar_Irradiance>"
        for b, c in zip(order, ("blue", "green", "red", "nir"), strict=True)
    )
    (root / "DIM_THEOS2_MS.XML").write_text(
        "<Dimap_Document><Dataset_Sources><Source_Identification><Strip_Source><MISSION>THEOS</MISSION>"
        "<MISSION_INDEX>2</MISSION_INDEX><IMAGING_DATE>2024-01-10</IMAGING_DATE><IMAGING_TIME>03:27:39Z</IMAGING_TIME>"
        f"</Strip_Source></Source_Identification></Dataset_Sources><SUN_ELEVATION>{ELEVATION}</SUN_ELEVATION>"
        f"<Raster_Index_List>{index}</Raster_Index_List><Band_Measurement_List>{light}{suns}</Band_Measurement_List>"
        '<Data_Files><Data_File tile_R="1" tile_C="1"><DATA_FILE_PATH href="IMG_THEOS2_MS_R1C1.TIF"/></Data_File>'
        "</Data_Files></Dimap_Document>"
    )
    return root, pixels


def reflectance(values, gain, bias, sun, day):
    """The textbook formula, written once more."""
    distance = 1 - 0.01672 * math.cos(math.radians(0.9856 * (day - 4)))
    return math.pi * (values / gain + bias) * distance**2 / (sun * math.sin(math.radians(ELEVATION)))


def test_theos_1_channels_are_put_in_order_by_the_metadata_and_scaled_to_reflectance(theos1):
    root, pixels = theos1
    with open_scene(root) as scene:
        groups, time = scene.read((0, 0, 600, 660)), scene.datetime
        assert (scene.sensor.name, scene.width_m, scene.height_m) == ("theos1", 555, 615)
        assert scene.provenance["channels"] == ["green", "blue", "nir", "red"]
    assert time.isoformat() == "2011-05-12T03:41:07+00:00"
    assert scene.provenance["solar_irradiance"] == "Landsat 5 TM's, for the product states none"
    landsat_tm = {"blue": 1958, "green": 1827, "red": 1551, "nir": 1036}
    for slot, name in enumerate(("blue", "green", "red", "nir")):  # the order of slots B02, B03, B04, B08
        stored = pixels[list(GAINS).index(name)].astype(float)
        wanted = np.rint(reflectance(stored, GAINS[name], 0.5, landsat_tm[name], 132) * 1e4) + 1000
        wanted[stored == 0], wanted[stored == 255] = 0, 65535
        np.testing.assert_array_equal(groups[15][slot, :41, :37], wanted)
    assert not groups[15][:, 41:].any()


def test_a_solar_irradiance_that_the_product_states_is_the_one_in_use(theos1):
    root, pixels = theos1
    suns = "".join(
        f"<Band_Solar_Irradiance><BAND_INDEX>{k}</BAND_INDEX>"
        f"<SOLAR_IRRADIANCE_VALUE>{SUN[name]}</SOLAR_IRRADIANCE_VALUE></Band_Solar_Irradiance>"
        for k, name in enumerate(GAINS, 1)
    )
    file = root / "METADATA.DIM"
    strip = (
        f"<Data_Strip><Sensor_Calibration><Solar_Irradiance>{suns}</Solar_Irradiance></Sensor_Calibration></Data_Strip>"
    )
    file.write_text(file.read_text().replace("<Data_Access>", f"{strip}<Data_Access>"))
    with open_scene(root) as scene:
        nir = scene.read((0, 0, 600, 660))[15][3]
    assert scene.provenance["solar_irradiance"] == "the product's"
    stored = pixels[2].astype(float)
    seen = (stored > 0) & (stored < 255)
    wanted = np.rint(reflectance(stored, GAINS["nir"], 0.5, SUN["nir"], 132) * 1e4) + 1000
    np.testing.assert_array_equal(nir[:41, :37][seen], wanted[seen])


def test_theos_2_is_averaged_to_ten_metres(theos2):
    root, pixels = theos2
    with open_scene(root / "DIM_THEOS2_MS.XML") as scene:
        groups = scene.read((0, 0, 300, 360))
        assert scene.sensor.name == "theos2"
    fine = np.clip(np.rint(reflectance(pixels[3].astype(float), 9.5, 0.0, SUN["nir"], 10) * 1e4) + 1000, 1, 65534)
    blocks = fine.reshape(31, 5, 30, 5).mean((1, 3))
    got = groups[10][3]
    assert got[0, 0] == 0
    np.testing.assert_allclose(got[1:31], blocks[1:], atol=0.51)
    assert not got[31:].any()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("<BAND_DESCRIPTION>GREEN", "<BAND_DESCRIPTION>XS1", "'XS1', which is no known colour"),
        ("THEOS</MISSION>", "SPOT</MISSION>", "mission SPOT1; expected THEOS"),
        ("55.0</SUN", "-3</SUN", "a sun -3 degrees high"),
        ("<PHYSICAL_GAIN>1.1", "<PHYSICAL_GAIN>0", "gain of every channel"),
        ("<IMAGING_DATE>2011", "<IMAGING_DATE>none", "when it was taken"),
        ('href="IMAGERY.TIF"', 'href="../../x.tif"', "outside its folder"),
        ("<BAND_INDEX>1", "<BAND_INDEX>7", "which channel is which"),
        ("<Dimap_Document>", "<!DOCTYPE x><Dimap_Document>", "declares a document type"),
    ],
)
def test_what_the_metadata_does_not_say_is_never_guessed(theos1, old, new, sentence):
    file = theos1[0] / "METADATA.DIM"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(SceneError, match=sentence):
        open_scene(theos1[0])


def test_channels_may_be_named_by_the_user(theos1):
    file = theos1[0] / "METADATA.DIM"
    with open_scene(theos1[0]) as scene:
        wanted = scene.read((0, 0, 600, 660))[15]
    for k, name in enumerate(GAINS, 1):
        file.write_text(file.read_text().replace(f"DESCRIPTION>{name.upper()}<", f"DESCRIPTION>XS{k}<"))
    with open_scene(theos1[0], band_map="green,blue,nir,red") as scene:
        np.testing.assert_array_equal(scene.read((0, 0, 600, 660))[15], wanted)


def test_theos_products_build_beside_each_other(theos1, theos2, tmp_path):
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for root, _ in (theos1, theos2):
        shutil.move(root, scenes / root.name)
    build([str(scenes)], tmp_path / "out", BuildOptions(60))
    assert set(ShardSet(tmp_path / "out").sensors) == {"theos1", "theos2"}
