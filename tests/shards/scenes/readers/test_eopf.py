"""EOPF Zarr products from replicas in ESA's layout, in a folder and a zip: pixels, quality, clouds, refusals."""

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from bandloom.errors import SceneError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from tests.shards.corpora.replica import GSD_M, L1C, L2A, native, stored

NAMES = {
    "l1c": "S2B_MSIL1C_20250113T103309_N0511_R108_T32TLQ_20250113T122458.zarr",
    "l2a": "S2B_MSIL2A_20250113T103309_N0511_R108_T32TLQ_20250113T122458.zarr",
}
SIDE, CORNER = 120, (300_000, 4_800_000)
PLACED = {  # of v3 arrays say nothing; the product's transform is that of 60 m
    "proj:code": "EPSG:32632",
    "proj:bbox": [300_000.0, 4_798_800.0, 301_200.0, 4_800_000.0],
    "proj:transform": [60.0, 0.0, 300_000.0, 0.0, -60.0, 4_800_000.0, 0.0, 0.0, 1.0],
}


V2 = numcodecs.Blosc("zstd", 3, numcodecs.Blosc.BITSHUFFLE)
V3 = ZstdCodec(level=0)  # of ESA's processor version 3.0.0


def put(root, name, values, packed=None, **attributes):
    version = root.metadata.zarr_format
    made = root.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(min(120 if version == 2 else 50, side) for side in values.shape),
        fill_value=0,
        compressors=packed or (V2 if version == 2 else V3),
    )
    made[:] = values
    gsd_m = SIDE * 10 / values.shape[-1]
    told = {
        "_ARRAY_DIMENSIONS": ["y", "x"],
        "proj:epsg": 32632,
        "proj:transform": [gsd_m, 0, CORNER[0], 0, -gsd_m, CORNER[1], 0, 0, 1],
        "proj:shape": list(values.shape),
    }
    made.attrs.update({"fill_value": 0} | (told if version == 2 else {}) | attributes)


@functools.lru_cache
def template(level, version):
    folder = Path(tempfile.mkdtemp())
    return write_once(folder, level, version)


def write_product(folder, level, version=2, **attributes):
    if attributes:
        return write_once(folder, level, version, **attributes)
    made, planes = template(level, version)
    path = folder / made.name
    shutil.copytree(made, path)
    return path, {name: plane.copy() for name, plane in planes.items()}


def write_once(folder, level, version=2, packed=None, **attributes):
    """Write a product whose north-west corner is absent, with one lost packet and one saturated sample of B02."""
    bands = native(7 if level == "l1c" else 8, SIDE, L1C if level == "l1c" else L2A)
    planes = {name: stored(plane, -1000) for name, plane in bands.items()}
    for name, plane in planes.items():
        edge = 60 // GSD_M[name] * 2
        plane[:edge, :edge] = 0
    scale = {"scale_factor": 0.0001, "add_offset": -0.1} | attributes
    path = folder / NAMES[level]
    root = zarr.open_group(path, mode="w", zarr_format=version)
    root.attrs.update(
        {
            "stac_discovery": {
                "properties": {
                    "start_datetime": "2025-01-13T10:33:09.024Z",
                    "datetime": "null",
                    "product:type": f"S02MSI{level.upper()}",
                    "eopf:baseline": "05.11",
                }
                | (PLACED if version == 3 else {})
            },
            "other_metadata": {},
        }
    )
    for name, plane in planes.items():
        put(root, f"measurements/reflectance/r{GSD_M[name]}m/{name.lower()}", plane, packed, **scale)
        flags = np.zeros(plane.shape, np.uint8)
        if name == "B02":
            flags[50, 17], flags[51, 18], flags[52, 19] = 4, 128, 64
        put(root, f"quality/mask/r{GSD_M[name]}m/{name.lower()}", flags)
    if level == "l2a":
        for name in ("B02", "B03", "B04"):
            put(root, f"measurements/reflectance/r20m/{name.lower()}", planes[name][::2, ::2] + 7, **scale)
        scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
        scl[30:] = 9
        put(root, "conditions/mask/l2a_classification/r20m/scl", scl)
    else:
        b00 = np.zeros((SIDE // 6, SIDE // 6), np.uint8)
        b00[10:] = 2
        put(root, "conditions/mask/l1c_classification/r60m/b00", b00)
    planes["B02"][50, 17], planes["B02"][51, 18] = 0, 65535
    return path, planes


def packed(product):
    """Zip a product as its folder lies."""
    path = product.with_name(f"{product.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(product.rglob("*")):
            if file.is_file():
                archive.write(file, f"{product.name}/{file.relative_to(product)}")
    return path


def check(scene, planes):
    for gsd_m, pixels in scene.read((0, 0, SIDE * 10, SIDE * 10)).items():
        own = [name for name in L1C if name in planes and GSD_M[name] == gsd_m]
        np.testing.assert_array_equal(pixels, np.stack([planes[name] for name in own]))
    cloud = scene.cloud((0, 0, SIDE * 10, SIDE * 10))
    assert not cloud[:60].any()
    assert cloud[60:].all()


@pytest.mark.parametrize("level", ["l1c", "l2a"])
@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("version", [2, 3])
def test_bands_come_from_their_native_groups_with_the_offset_applied_once(tmp_path, level, form, version):
    product, planes = write_product(tmp_path, level, version)
    path = product if form == "folder" else packed(product)
    with open_scene(path) as scene:
        check(scene, planes)
        assert (scene.crs.to_epsg(), scene.transform.c, scene.transform.f) == (32632, *CORNER)
        assert scene.datetime.isoformat() == "2025-01-13T10:33:09.024000+00:00"
        assert (scene.provenance["offset"], scene.provenance["offset_from"]) == (-1000, "the arrays' add_offset")
        assert scene.name == NAMES[level].partition(".")[0]
        assert scene.provenance["container"] == f"EOPF Zarr v{version}"


def test_a_product_without_offset_has_none_added_twice(tmp_path):
    product, planes = write_product(tmp_path, "l2a", add_offset=0.0)
    with open_scene(product) as scene:
        pixels = scene.read((0, 0, SIDE * 10, SIDE * 10))[20][0].astype(np.int64)
    assert scene.provenance["offset"] == 0
    np.testing.assert_array_equal(pixels, np.where(planes["B05"] == 0, 0, planes["B05"].astype(np.int64) + 1000))


def test_a_folder_of_products_becomes_shards(tmp_path):
    for version, level in enumerate(NAMES, 2):
        write_product(tmp_path / "products", level, version)
    build([str(tmp_path / "products")], tmp_path / "out", BuildOptions(60))
    found = ShardSet(tmp_path / "out")
    assert len(found) == 8
    assert set(found.manifest["sensors"]) == {"sentinel2-l1c", "sentinel2-l2a"}


def test_copies_in_zarr_v3_are_refused_with_the_edition_to_take(tmp_path):
    path = tmp_path / "S2B_MSIL2A_20250113T103309_N0511_R108_T32TLQ_20250113T122458.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.create_array("measurements/reflectance/r10m/b02", shape=(60, 60), dtype="f4", fill_value=np.nan)
    with pytest.raises(SceneError, match=r"is Zarr v3 with values of float32.*take ESA's own product"):
        open_scene(path)


@pytest.mark.parametrize("packed", [BloscCodec(cname="lz4", shuffle="bitshuffle", typesize=2), GzipCodec(), None])
def test_v3_is_read_however_its_chunks_are_packed(tmp_path, packed):
    product, planes = write_once(tmp_path, "l1c", 3, packed)
    with open_scene(product) as scene:
        check(scene, planes)
        rows = scene.read((250, 310, 430, 370))[10]  # across the edges of chunks
        np.testing.assert_array_equal(rows[0], planes["B02"][31:68, 25:68])


@pytest.mark.parametrize(
    ("where", "change", "sentence"),
    [
        ("r20m/b8a", {"codecs": [{"name": "sharding_indexed"}]}, "Zarr v3 with the codecs sharding_indexed"),
        ("r20m/b8a", {"codecs": [{"name": "bytes"}, {"name": "lzma"}]}, "packed by lzma"),
        ("r20m/b8a", {"data_type": "uint8"}, "holds uint8"),
        ("r20m/b8a", {"fill_value": 7}, "fill 0, 7"),
        ("r20m/b8a", {"chunk_key_encoding": {"name": "v2"}}, "v2 names"),
        ("r20m/b8a", {"shape": [60, 54]}, "has 54 x 60 pixels of 20 m in a product of 1200 x 1200 m"),
        ("", {"proj:code": None}, "says where it lies"),
        ("", {"proj:bbox": [300_000.0, 4_798_800.0, 301_260.0, 4_800_000.0]}, "in a product of 1260 x 1200 m"),
    ],
)
def test_a_v3_product_that_says_otherwise_is_refused(tmp_path, where, change, sentence):
    product, _ = write_product(tmp_path, "l1c", 3)
    file = product / (f"measurements/reflectance/{where}/zarr.json" if where else "zarr.json")
    told = json.loads(file.read_text())
    if where:
        told |= change
    else:
        told["attributes"]["stac_discovery"]["properties"] |= change
    file.write_text(json.dumps(told))
    with pytest.raises(SceneError, match=sentence), open_scene(product) as scene:
        scene.read((0, 0, SIDE * 10, SIDE * 10))


@pytest.mark.parametrize("kept", [0, 9, -7])
def test_a_damaged_chunk_of_v3_is_refused(tmp_path, kept):
    product, _ = write_product(tmp_path, "l1c", 3)
    chunk = product / "measurements/reflectance/r20m/b8a/c/1/0"
    chunk.write_bytes(chunk.read_bytes()[:kept])
    with pytest.raises(SceneError, match="truncated or damaged"), open_scene(product) as scene:
        scene.read((0, 0, SIDE * 10, SIDE * 10))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("band", "lacks measurements/reflectance/r20m/b8a"),
        ("scale", "states scale 0.002"),
        ("no scale", "does not state its scale_factor"),
        ("epsg", "states no place and size"),
        ("mixed", "another offset for some bands"),
        ("floats", "expected <u2, no decoded values"),
        ("fill", "fill 0, 5000; expected 0.0001"),
        ("small mask", r"has \(30, 60\) pixels and its band \(60, 60\)"),
        ("chunk", "cannot be"),
        ("text", "is no JSON"),
    ],
)
def test_a_product_that_is_damaged_is_refused(tmp_path, damage, sentence):
    product, _ = write_product(tmp_path, "l1c")
    array = product / "measurements/reflectance/r20m/b8a"
    attributes = array / ".zattrs"
    told = json.loads(attributes.read_text())
    if damage == "band":
        shutil.rmtree(array)
    elif damage == "chunk":
        chunk = array / "0.0"
        chunk.write_bytes(chunk.read_bytes()[:-20])
    elif damage == "text":
        attributes.write_text('{"scale_factor": ')
    elif damage == "floats":
        described = json.loads((array / ".zarray").read_text()) | {"dtype": "<f4"}
        (array / ".zarray").write_text(json.dumps(described))
    elif damage == "fill":
        described = json.loads((array / ".zarray").read_text()) | {"fill_value": 5000}
        (array / ".zarray").write_text(json.dumps(described))
    elif damage == "small mask":
        file = product / "quality/mask/r20m/b8a/.zarray"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"shape": [30, 60]}))
    else:
        changed = {"scale": {"scale_factor": 0.002}, "mixed": {"add_offset": 0.0}}.get(damage, {})
        for name in {"no scale": ("scale_factor",), "epsg": ("proj:epsg",)}.get(damage, ()):
            del told[name]
        attributes.write_text(json.dumps(told | changed))
    with pytest.raises(SceneError, match=sentence), open_scene(product) as scene:
        scene.read((0, 0, SIDE * 10, SIDE * 10))


def test_a_zip_whose_bytes_changed_is_refused(tmp_path):
    product, _ = write_product(tmp_path, "l1c")
    path = packed(product)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{product.name}/measurements/reflectance/r10m/b02/0.0")
    content[info.header_offset + 200 + len(info.filename)] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SceneError, match="is damaged"):
        open_scene(path)


@pytest.mark.parametrize(("form", "version"), [("folder", 2), ("zip", 2), ("folder", 3), ("zip", 3)])
def test_pixels_whose_chunks_are_not_stored_are_said(tmp_path, caplog, form, version):
    """Zarr's readers give the fill value there: right for ground without data, and all that a lost file leaves."""
    product, planes = write_product(tmp_path, "l1c", version)
    with open_scene(product) as scene:
        assert "lacking_chunks" not in scene.provenance
    array = "measurements/reflectance/r20m/b8a"
    (product / array / ("0.0" if version == 2 else "c/0/0")).unlink()
    caplog.set_level("WARNING", logger="bandloom")
    with open_scene(product if form == "folder" else packed(product)) as scene:
        assert scene.provenance["lacking_chunks"] == {array: (1, 1 if version == 2 else 4)}
        planes["B8A"][: 60 if version == 2 else 50, : 60 if version == 2 else 50] = 0
        check(scene, planes)
    assert f"stores {0 if version == 2 else 3} of {1 if version == 2 else 4} chunks of {array}" in caplog.text


@pytest.fixture(name="served")
def a_file_server(tmp_path):
    """Return a folder, and the address behind which its files lie."""
    server = Path(__file__).parents[2] / "range_server.py"
    with subprocess.Popen([sys.executable, server, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        yield tmp_path, f"127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


@pytest.mark.parametrize("version", [2, 3])
def test_a_remote_zip_is_read_by_any_name_and_a_remote_folder_is_refused(served, version):
    folder, host = served
    product, planes = write_product(folder, "l1c", version)
    archive = packed(product)
    address = f"http://{host}/{archive.name}"
    zipped = f"/vsizip//vsicurl/{address}"
    for name in (address, f"/vsicurl/{address}", zipped, f"{zipped}/{product.name}", f"/vsizip/{archive}"):
        with open_scene(name) as scene:
            check(scene, planes)
            assert scene.name == product.name.partition(".")[0]
    for name in (f"http://{host}/{product.name}", f"/vsicurl/http://{host}/{product.name}/"):
        with pytest.raises(SceneError, match=r"cannot be told from ground without data; .*\.zarr\.zip"):
            open_scene(name)


@pytest.fixture(name="bucket")
def an_s3_server(monkeypatch):
    """Start a local S3 server in a process of its own; return its bucket's filesystem."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'bandloom[s3]'")
    pytest.importorskip("moto", reason="needs moto and flask, the local S3 server")
    fsspec = pytest.importorskip("fsspec")
    code = (
        "from moto.server import ThreadedMotoServer as S; import time; s = S('127.0.0.1', 0, verbose=False); s.start();"
        " print(s.get_host_and_port()[1], flush=True); time.sleep(999)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            host = f"127.0.0.1:{server.stdout.readline().strip()}"
            settings = {  # fsspec's, then GDAL's names for the same
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://{host}",
                "AWS_S3_ENDPOINT": host,
                "AWS_HTTPS": "NO",
                "AWS_VIRTUAL_HOSTING": "FALSE",
            }
            for name, value in settings.items():
                monkeypatch.setenv(name, value)
            files = fsspec.filesystem("s3")
            files.mkdir("bucket")
            yield files
        finally:
            server.kill()
            fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_a_zip_in_a_bucket_is_read_in_place(tmp_path, bucket, version):
    product, planes = write_product(tmp_path, "l1c", version)
    archive = packed(product)
    bucket.put(str(archive), f"bucket/{archive.name}")
    for name in (f"s3://bucket/{archive.name}", f"/vsis3/bucket/{archive.name}"):
        with open_scene(name) as scene:
            check(scene, planes)
    with pytest.raises(SceneError, match=r"cannot be read .*check the address"):
        open_scene("s3://bucket/absent.zarr.zip")
