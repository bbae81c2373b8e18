import shutil

import numpy as np
import pytest
import rasterio

from bandloom.errors import SceneError
from bandloom.sensors import get_sensor
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.jp2_tiles import distinct_tiles
from bandloom.shards.scenes.readers.outlines import outlines
from bandloom.shards.scenes.readers.product import Product
from tests.shards.safe_product import (
    GRANULE,
    NAME,
    native_bands,
    seal,
    square,
    write_gml,
    write_jp2,
    write_quality,
    write_safe,
)

SIDE_M = 1980
LOST, DEGRADED, DEFECTIVE, NO_DATA, CROSSTALK, SATURATION = 3, 4, 5, 6, 7, 8


@pytest.fixture
def write_product(tmp_path):
    """Write a product of baseline 04.00 or later with a mask a band, ``marks`` by band; its folder and bands."""

    def write(marks):
        native = native_bands(SIDE_M)
        root = write_safe(tmp_path, native)
        for band in get_sensor("sentinel2-l1c").bands:
            write_quality(root, band.name, native[band.name].shape, band.stored_gsd_m, marks.get(band.name, ()))
        seal(root)
        return root, native

    return write


def read(root):
    with open_scene(root) as scene:
        return scene.read((0, 0, SIDE_M, SIDE_M)), scene.provenance["bands_with_marks"]


def test_lost_degraded_empty_and_saturated_samples_of_a_band_are_absent_in_it_alone(write_product):
    marks = {
        "B03": [
            (LOST, 0, 0),
            (DEGRADED, 70, 130),
            (NO_DATA, 197, 197),
            (SATURATION, 5, 5),
            (LOST, 5, 6),
            (SATURATION, 5, 6),
        ],
        "B10": [(SATURATION, 32, 32)],
        "B12": [(DEFECTIVE, 3, 3), (CROSSTALK, 4, 4)],
    }
    root, native = write_product(marks)
    groups, marked = read(root)
    assert marked == ["B03", "B10"]
    green = native["B03"].copy()
    green[0, 0] = green[70, 130] = green[197, 197] = green[5, 6] = 0
    green[5, 5] = 65535
    cirrus = native["B10"].copy()
    cirrus[32, 32] = 65535
    np.testing.assert_array_equal(groups[10][1], green)
    np.testing.assert_array_equal(groups[60][2], cirrus)
    for gsd_m, row, band in ((10, 0, "B02"), (20, 5, "B12"), (60, 0, "B01")):
        np.testing.assert_array_equal(groups[gsd_m][row], native[band])


def test_a_product_without_a_mark_decodes_a_tile_of_each_kind_and_no_more(write_product, monkeypatch):
    from bandloom.shards.scenes.readers import quality

    asked = []
    real = quality.read_raster
    monkeypatch.setattr(quality, "read_raster", lambda *a, **k: asked.append(a[1]) or real(*a, **k))
    root, native = write_product({})
    groups, marked = read(root)
    assert marked == []
    assert (
        max(asked.count(path) for path in asked) == 2
    )  # of 4 (rows of tiles, as GDAL writes them): whole ones and the last
    np.testing.assert_array_equal(groups[10][1], native["B03"])


def test_a_build_marks_what_single_windows_mark(write_product, tmp_path):
    marks = {"B08": [(SATURATION, k, (37 * k) % 198) for k in range(198)]}
    root, _ = write_product(marks)
    build([str(root)], tmp_path / "out", BuildOptions(66))
    found = ShardSet(tmp_path / "out")
    with open_scene(root) as scene:
        for index, entry in enumerate(found.entries):
            row, column = (int(part[1:]) for part in entry.key.split("_")[-2:])
            window = (column * 660, row * 660, 660, 660)
            for gsd_m, pixels in scene.read(window).items():
                np.testing.assert_array_equal(found.read(index).groups[gsd_m], pixels)
    assert sum((found.read(i).groups[10][3] == 65535).sum() for i in range(len(found))) == 198


def test_a_damaged_or_strange_mask_is_refused(write_product, tmp_path):
    root, _ = write_product({})
    mask = root / GRANULE / "QI_DATA/MSK_QUALIT_B05.jp2"
    whole = mask.read_bytes()
    mask.write_bytes(whole[:-40] + bytes(40))
    with pytest.raises(SceneError, match=r"MSK_QUALIT_B05\.jp2 is damaged"):
        open_scene(root)
    write_jp2(mask, np.zeros((3, 99, 99), np.uint8), 20)
    seal(root)
    with pytest.raises(SceneError, match="3 layers where a quality mask has 8"):
        open_scene(root)


def test_a_mask_that_the_manifest_lists_may_not_be_missing(write_product):
    root, _ = write_product({"B05": [(LOST, 3, 3)]})
    (root / GRANULE / "QI_DATA/MSK_QUALIT_B05.jp2").unlink()
    with pytest.raises(SceneError, match=r"lacks .*MSK_QUALIT_B05\.jp2, which manifest\.safe lists"):
        open_scene(root)


def test_before_baseline_04_outlines_tell_the_same(tmp_path):
    native = native_bands(SIDE_M)
    root = write_safe(tmp_path, native, offset=0, baseline="02.07", clouds="polygons")
    write_gml(root, "MSK_TECQUA_B04", [("MSI_LOST", [square(200, 400, 100)]), ("ANC_DEG", [square(0, 0, 900)])])
    write_gml(root, "MSK_NODATA_B04", [("QT_PARTIALLY_CORRECTED_PIXELS", [square(0, 0, 900)])])
    write_gml(root, "MSK_SATURA_B04", [("QT_SATURATED_PIXELS_L1A", [square(1000, 1000, 300), square(1100, 1100, 100)])])
    write_gml(root, "MSK_DEFECT_B10", [("QT_DEFECTIVE_PIXELS", [square(0, 0, 900)])])
    seal(root)
    groups, marked = read(root)
    assert marked == ["B04"]
    red, wanted = groups[10][2], native["B04"]
    assert (red[41:49, 21:29] == 0).all()
    assert (red[101:109, 101:129] == 65535).all()
    np.testing.assert_array_equal(red[111:119, 111:119], wanted[111:119, 111:119])  # the hole
    far = np.ones(red.shape, bool)
    far[39:51, 19:31] = far[99:131, 99:131] = False
    np.testing.assert_array_equal(red[far], wanted[far])
    np.testing.assert_array_equal(groups[60][2], native["B10"])


def as_aws(root, folder, baseline):
    """Lay a product out as its tile lies on AWS: bands in one folder, masks in ``qi``, the product's name in JSON."""
    shutil.copytree(root / GRANULE / "QI_DATA", folder / "qi")
    for image in (root / GRANULE / "IMG_DATA").iterdir():
        shutil.copy(image, folder / image.name.rpartition("_")[2])
    name = NAME.replace("_N0509_", f"_N{baseline}_")
    (folder / "productInfo.json").write_text(f'{{"name": "{name}"}}')
    return folder


@pytest.mark.parametrize("baseline", ["0509", "0207"])
def test_a_tile_of_aws_is_marked_and_clouded_as_its_product(write_product, tmp_path, baseline):
    if baseline == "0509":
        root, _ = write_product({"B03": [(LOST, 0, 0), (SATURATION, 5, 5)], "B10": [(NO_DATA, 32, 32)]})
    else:
        root = write_safe(tmp_path, native_bands(SIDE_M), offset=0, baseline="02.07", clouds="polygons")
        write_gml(root, "MSK_TECQUA_B04", [("MSI_LOST", [square(200, 400, 100)])])
        write_gml(root, "MSK_SATURA_B11", [("QT_SATURATED_PIXELS_L1A", [square(1000, 1000, 300)])])
        seal(root)
    tile = as_aws(root, tmp_path / "tile", baseline)
    (groups, marked), (own, own_marked) = read(tile), read(root)
    assert marked == own_marked
    assert len(marked) == 2
    for gsd_m, group in own.items():
        np.testing.assert_array_equal(groups[gsd_m], group)
    with open_scene(tile) as one, open_scene(root) as other:
        clouds = one.cloud((0, 0, SIDE_M, SIDE_M))
        np.testing.assert_array_equal(clouds, other.cloud((0, 0, SIDE_M, SIDE_M)))
        assert clouds.any()
    damaged = next(path for path in (tile / "qi").iterdir() if path.name[4:10] in ("QUALIT", "TECQUA"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(SceneError):
        open_scene(tile)


def test_clouds_in_outlines_have_holes(tmp_path):
    root = write_safe(tmp_path, native_bands(), offset=0, baseline="02.04", clouds="polygons")
    write_gml(
        root,
        "MSK_CLOUDS_B00",
        [("OPAQUE", [square(0, 0, 600), square(120, 120, 120)]), ("CIRRUS", [square(900, 900, 60)])],
    )
    seal(root)
    with open_scene(root) as scene:
        cloud = scene.cloud((0, 0, 1020, 1020))
    wanted = np.zeros((102, 102), bool)
    wanted[:60, :60] = wanted[90:96, 90:96] = True
    wanted[12:24, 12:24] = False
    np.testing.assert_array_equal(cloud, wanted)


def test_the_real_masks_of_an_old_product_are_understood(real):
    product = Product(next((real / "safe_metadata_only").glob("*.SAFE")))
    found = {}
    for name in product.names:
        if "/QI_DATA/MSK_" in name and name.endswith(".gml"):
            found[name.rsplit("/MSK_", 1)[1][:10]] = outlines(product.xml(name))
    assert len(found["DEFECT_B10"]) == 1  # its points have heights
    np.testing.assert_allclose(found["DEFECT_B10"][0][0][0], (499980.0, 4625328.374), atol=1e-3)
    assert len(found["NODATA_B11"]) == 1
    assert not outlines(product.xml(product.find("MSK_NODATA_B11.gml")), ("MSI_LOST", "QT_NODATA_PIXELS"))
    assert len(found["CLOUDS_B00"]) == 5
    assert all(len(rings[0]) > 3 for name in found for rings in found[name])


def test_tiles_are_told_apart_by_their_bytes(tmp_path):
    chance = np.random.default_rng(3)
    for trial in range(20):
        pixels = np.zeros((8, 150, 170), np.uint8)
        marks = chance.integers(0, (8, 150, 170), (trial % 4, 3))
        pixels[tuple(marks.T)] = 1
        path = tmp_path / f"{trial}.jp2"
        write_jp2(path, pixels, 10, block_px=32)
        kinds = distinct_tiles(path.read_bytes())
        assert kinds is not None
        one_a_kind = {pixels[:, k.top : k.top + k.height, k.left : k.left + k.width].tobytes() for k in kinds}
        with rasterio.open(path) as raster:
            tiles = [window.toslices() for _, window in raster.block_windows(1)]
        assert {pixels[:, rows, columns].tobytes() for rows, columns in tiles} == one_a_kind
    assert distinct_tiles(path.read_bytes()[:60]) is None
    assert distinct_tiles(b"no picture") is None
