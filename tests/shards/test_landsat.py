import json
import math
import tarfile

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import SceneError
from shards.build import build
from shards.plan import BuildOptions
from shards.scenes import open_scene
from shards.shard_set import ShardSet

NAME = {"1": "LC08_L1TP_129050_20240110_20240122_02_T1", "2": "LC08_L2SP_129050_20240110_20240122_02_T1"}
ELEVATION = 48.5


@pytest.fixture
def write_landsat(tmp_path):
    """Write a product of 41 x 37 pixels in the layout of USGS: band rasters, quality rasters, MTL."""

    def write(level="1", collection="02", form="json"):
        root, rng = tmp_path / NAME[level], np.random.default_rng(7)
        root.mkdir()
        bands = range(1, 10) if level == "1" else range(1, 8)
        gain, offset = (2e-5, -0.1) if level == "1" else (2.75e-5, -0.2)
        contents = {"LANDSAT_PRODUCT_ID": NAME[level], "COLLECTION_NUMBER": collection,
                    "PROCESSING_LEVEL": f"L{level}{'TP' if level == '1' else 'SP'}"}  # fmt: skip
        scale, stored = {}, {}
        for band in bands:
            file = f"{NAME[level]}_{'SR_' if level == '2' else ''}B{band}.TIF"
            stored[band] = rng.integers(7300, 30000, (37, 41), dtype=np.uint16)
            raster(root / file, stored[band])
            contents[f"FILE_NAME_BAND_{band}"] = file
            scale |= {f"REFLECTANCE_MULT_BAND_{band}": str(gain), f"REFLECTANCE_ADD_BAND_{band}": str(offset)}
        quality = np.full((37, 41), 0b1000000, np.uint16)
        quality[0, 0], quality[1, 1], quality[2, 2] = 1, 0b1000, 0b10000  # fill, cloud, shadow
        radsat = np.zeros((37, 41), np.uint16)
        radsat[3, 3] = 1 << 3  # B4
        for key, kind, pixels in (("FILE_NAME_QUALITY_L1_PIXEL", "QA_PIXEL", quality),
                                  ("FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION", "QA_RADSAT", radsat)):  # fmt: skip
            contents[key] = f"{NAME[level]}_{kind}.TIF"
            raster(root / contents[key], pixels)
        image = {
            "DATE_ACQUIRED": "2024-01-10",
            "SCENE_CENTER_TIME": "03:27:39.1234560Z",
            "SUN_ELEVATION": str(ELEVATION),
        }
        sections = {"PRODUCT_CONTENTS": contents, "IMAGE_ATTRIBUTES": image, "LEVEL_SURFACE": scale}
        sections["LEVEL1_RECORD"] = {"REFLECTANCE_MULT_BAND_4": "9", "PROCESSING_LEVEL": "L1TP"}
        if form == "json":
            (root / f"{NAME[level]}_MTL.json").write_text(json.dumps({"LANDSAT_METADATA_FILE": sections}))
        else:
            lines = [f'    {k} = "{v}"' for section in sections.values() for k, v in section.items()]
            (root / f"{NAME[level]}_MTL.txt").write_text("GROUP = X\n" + "\n".join(lines) + "\nEND_GROUP = X\nEND\n")
        return root, stored

    return write


def raster(path, pixels):
    with rasterio.open(path, "w", driver="GTiff", height=37, width=41, count=1, dtype="uint16", crs="EPSG:32647",
                       transform=from_origin(500_085, 1_800_015, 30, 30)) as file:  # fmt: skip
        file.write(pixels, 1)


@pytest.mark.parametrize("form", ["json", "txt"])
def test_level_1_is_divided_by_the_sine_of_the_suns_elevation(write_landsat, form):
    root, stored = write_landsat(form=form)
    with open_scene(root) as scene:
        (red, pixels), time = (3, scene.read((0, 0, 1260, 1140))[30]), scene.datetime
        assert (scene.sensor.name, scene.width_m, scene.height_m) == ("landsat89-l1", 1230, 1110)
    assert pixels.shape == (8, 38, 42)
    wanted = np.rint((2e-5 * stored[4] - 0.1) / math.sin(math.radians(ELEVATION)) * 1e4) + 1000
    got = pixels[red, :37, :41]
    assert (got[0, 0], got[3, 3], pixels[0, 3, 3] < 65535) == (0, 65535, True)
    wanted[0, 0], wanted[3, 3] = 0, 65535
    np.testing.assert_array_equal(got, wanted)
    assert pixels[:, 37:].max() == 0
    assert time.isoformat().startswith("2024-01-10T03:27:39.123")


def test_level_2_in_a_tar_is_scaled_as_it_says_and_its_clouds_are_known(write_landsat):
    root, stored = write_landsat("2")
    with tarfile.open(root.with_suffix(".tar"), "w") as archive:
        for file in sorted(root.iterdir()):
            archive.add(file, file.name)
    with open_scene(root.with_suffix(".tar")) as scene:
        pixels, cloud = scene.read((0, 0, 1260, 1140))[30], scene.cloud((0, 0, 1260, 1140))
    assert scene.sensor.name == "landsat89-l2"
    wanted = np.rint((2.75e-5 * stored[5] - 0.2) * 1e4) + 1000
    np.testing.assert_array_equal(pixels[4, 5:37, 5:41], wanted[5:, 5:])
    assert cloud.shape == (114, 126)
    assert cloud.sum() == 9
    assert cloud[3:6, 3:6].all()


def test_other_collections_and_missing_files_are_refused(write_landsat, tmp_path):
    root, _ = write_landsat(collection="01")
    with pytest.raises(SceneError, match="of collection 01; expected Collection 2"):
        open_scene(root)
    text = next(root.glob("*_MTL.json"))
    text.write_text(text.read_text().replace('"COLLECTION_NUMBER": "01"', '"COLLECTION_NUMBER": "02"'))
    next(root.glob("*_B6.TIF")).unlink()
    with pytest.raises(SceneError, match=r"lacks .*_B6\.TIF"):
        open_scene(root)
    text.unlink()
    with pytest.raises(SceneError, match="no MTL metadata"):
        open_scene(root)


def test_landsat_and_sentinel_2_share_a_shard_folder(write_landsat, write_stack, tmp_path):
    root, _ = write_landsat()
    stack = write_stack(tmp_path / "s2.tif")
    build([str(root), str(stack)], tmp_path / "out", BuildOptions(120))
    found = ShardSet(tmp_path / "out")
    assert set(found.sensors) == {"landsat89-l1", "sentinel2-l1c"}
    assert found.read(0).groups[30].shape == (8, 40, 40)
    assert "B8A" in found.statistics["mean"]
