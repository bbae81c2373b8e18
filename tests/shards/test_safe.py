import hashlib
import shutil
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import SceneError
from bandloom.sensors import get_sensor
from shards.build import build
from shards.plan import BuildOptions
from shards.scenes import open_scene
from shards.shard_set import ShardSet

NAME = "S2A_MSIL1C_20230605T103021_N0509_R108_T32UPU_20230605T140000"
GRANULE = "GRANULE/L1C_T32UPU_A041530_20230605T103021"
CORNER = (600_000.0, 5_400_000.0)


def write_jp2(path, pixels, gsd_m):
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = layers.shape
    with rasterio.open(path, "w", driver="JP2OpenJPEG", height=height, width=width, count=count, dtype=layers.dtype,
                       crs="EPSG:32632", transform=from_origin(*CORNER, gsd_m, gsd_m), QUALITY="100", REVERSIBLE="YES",
                       BLOCKXSIZE="64", BLOCKYSIZE="64") as raster:  # fmt: skip
        raster.write(layers)


@pytest.fixture(scope="session")
def native():
    rng = np.random.default_rng(5)
    return {
        band.name: rng.integers(1010, 4000, (1020 // band.stored_gsd_m,) * 2, dtype=np.uint16)
        for band in get_sensor("sentinel2-l1c").bands
    }


@pytest.fixture
def write_safe(tmp_path, native):
    """Write an L1C product in the real layout; baseline 05.09 with offsets, or an old one with neither."""

    def write(offset=-1000, baseline="05.09", clouds="raster", name=NAME):
        root = tmp_path / f"{name}.SAFE"
        for band, pixels in native.items():
            values = pixels if offset else pixels - 1000
            write_jp2(root / GRANULE / f"IMG_DATA/T32UPU_20230605T103021_{band}.jp2", values,
                      1020 // pixels.shape[0])  # fmt: skip
        if clouds == "raster":
            layers = np.zeros((3, 17, 17), np.uint8)
            layers[0, :2, :2] = layers[2, 5:, 5:] = 1
            write_jp2(root / GRANULE / "QI_DATA/MSK_CLASSI_B00.jp2", layers, 60)
        else:
            x, y = CORNER
            ring = f"{x} {y} {x + 120} {y} {x + 120} {y - 120} {x} {y - 120} {x} {y}"
            (root / GRANULE / "QI_DATA").mkdir(parents=True)
            (root / GRANULE / "QI_DATA/MSK_CLOUDS_B00.gml").write_text(
                f'<m xmlns:gml="http://www.opengis.net/gml/3.2"><gml:posList>{ring}</gml:posList></m>'
            )
        offsets = "".join(f'<RADIO_ADD_OFFSET band_id="{k}">{offset}</RADIO_ADD_OFFSET>' for k in range(13))
        listed = f"<Radiometric_Offset_List>{offsets}</Radiometric_Offset_List>" if offset else ""
        (root / "MTD_MSIL1C.xml").write_text(
            f"<P><PRODUCT_URI>{name}.SAFE</PRODUCT_URI><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
            "<DATATAKE_SENSING_START>2023-06-05T10:30:21.024Z</DATATAKE_SENSING_START>"
            f'<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>{listed}'
            '<Spectral_Information bandId="8" physicalBand="B8A"><Wavelength><CENTRAL unit="nm">864.8</CENTRAL>'
            "</Wavelength></Spectral_Information></P>"
        )
        (root / GRANULE / "MTD_TL.xml").write_text(
            "<T><Mean_Sun_Angle><ZENITH_ANGLE>30.5</ZENITH_ANGLE><AZIMUTH_ANGLE>150</AZIMUTH_ANGLE></Mean_Sun_Angle></T>"
        )
        rows = "".join(
            f'<byteStream><fileLocation href="./{p.relative_to(root).as_posix()}"/>'
            f'<checksum checksumName="MD5">{hashlib.md5(p.read_bytes()).hexdigest()}</checksum></byteStream>'
            for p in sorted(root.rglob("*.jp2"))
        )
        (root / "manifest.safe").write_text(f"<x>{rows}</x>")
        return root

    return write


def zipped(root):
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
    return path


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
    lol = '<!DOCTYPE l [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><P>&c;</P>'
    (root / "MTD_MSIL1C.xml").write_text(lol)
    with pytest.raises(SceneError, match="declares a document type"):
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
    from shards.scenes.product import Product
    from shards.scenes.safe import _cloud, _offset, _sun, _wavelengths

    product = Product(safe)
    root = product.xml("MTD_MSIL1C.xml")
    assert _offset(root, safe) == 0
    assert len(_wavelengths(root)) == 13
    assert _sun(product)["zenith"] == pytest.approx(52.67, abs=0.01)
    assert _cloud(product, "l1c", None) is not None
