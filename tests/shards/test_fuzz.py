"""Hundreds of damaged inputs: each is refused with a sentence, quarantined with a reason, or gives the right samples.

What can be known is claimed without exception: shard folders carry checksums of everything, SAFE products carry
manifest.safe, and rasters may have SHA256SUMS beside them. A bare GeoTIFF carries none, whatever its compression: there
the claim is that what comes out is what the file itself now says, and how often that differs is counted and printed.
"""

import hashlib
import json
import math
import random
import re
import shutil
import stat
import sys
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import BandloomError
from bandloom.shards.build.build import build, workplace
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.read.verify import verify
from bandloom.shards.scenes import open_scene
from tests.shards.landsat_product import tarred, write_landsat
from tests.shards.safe_product import native_bands, seal, write_safe, zipped

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]
TRIALS = 300


def say(text):
    sys.stdout.write(f"\n{text}\n")


def damage(path, chance):
    """Damage a file's bytes in one of the ways that files get damaged; say which. The bytes do change."""
    before = path.read_bytes()
    while True:
        content = bytearray(before)
        kind = chance.choice(["cut", "bit", "zero", "garbage", "swap", "repeat"])
        at = chance.randrange(len(content))
        size = min(len(content) - at, chance.choice([1, 64, 4096]))
        if kind == "cut":
            content = content[:at]
        elif kind == "bit":
            content[at] ^= 1 << chance.randrange(8)
        elif kind == "zero":
            content[at : at + size] = bytes(size)
        elif kind == "garbage":
            content[at : at + size] = chance.randbytes(size)
        elif kind == "swap":
            b = chance.randrange(len(content) - size + 1)
            content[at : at + size], content[b : b + size] = content[b : b + size], content[at : at + size]
        else:
            content[at:at] = content[at : at + size]
        if bytes(content) != before:
            path.write_bytes(content)
            return kind


def check_sentence(error, what=""):
    """Fail unless an error is one sentence that a user can act on."""
    assert is_a_sentence(str(error)), f"{what}: {error}"


def is_a_sentence(text):
    return "\n" not in text and len(text) > 20 and text.rstrip()[-1] in ".!"


def facts(found, index):
    """All that a sample tells: where, when, what split, pixels, masks, class, and how its channels are named."""
    entry, sample = found.entries[index], found.read(index)
    arrays = [*sample.groups.values(), sample.label, found.mask(index, "cloud")]
    digest = hashlib.sha256(b"".join(b"-" if a is None else a.tobytes() for a in arrays)).hexdigest()
    place = (entry.sensor, entry.epsg, entry.x_m, entry.y_m, entry.side_px, entry.datetime, entry.class_index)
    return (*place, entry.split, json.dumps(sample.sensor.to_dict()), digest)


def but_split(told):
    """Leave out the split, which depends on what else is in the folder."""
    return told[:7] + told[8:]


# --- shard folders ---------------------------------------------------------------------------------------------------


def test_three_hundred_damaged_shard_folders_never_give_a_wrong_sample_and_verify_sees_every_one(shards, tmp_path):
    chance = random.Random(1)
    right = ShardSet(shards)
    wanted = {entry.key: facts(right, i) for i, entry in enumerate(right.entries)}
    count = {"refused": 0, "some refused": 0, "all right": 0}
    for trial in range(TRIALS):
        copy = tmp_path / "copy"
        shutil.copytree(shards, copy)
        target = chance.choice(sorted(copy.iterdir()))
        kind = "missing" if chance.random() < 0.05 else damage(target, chance)
        if kind == "missing":
            target.unlink()
        what = f"trial {trial}: {kind} {target.name}"
        try:
            found = ShardSet(copy)
        except BandloomError as refusal:
            check_sentence(refusal, what)
            count["refused"] += 1
        else:
            assert {e.key for e in found.entries} == set(wanted), what
            assert found.statistics == right.statistics, what
            refused = 0
            for index, entry in enumerate(found.entries):
                try:
                    assert facts(found, index) == wanted[entry.key], what
                except BandloomError as refusal:
                    check_sentence(refusal, what)
                    refused += 1
            count["some refused" if refused else "all right"] += 1
            same = kind != "missing" and target.name == "manifest.json"  # white space alone changed
            assert same or verify(copy), what
        shutil.rmtree(copy)
    say(f"{TRIALS} damaged shard folders: {count}")


# --- inputs with checksums, and hostile ones -------------------------------------------------------------------------

BANDS = ("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A", "B11", "B12"), ("B01", "B09", "B10")
HOSTILE_XML = {
    "billion laughs": '<!DOCTYPE l [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10))
    + "]><P>&a9;</P>",
    "quadratic blow-up": f'<!DOCTYPE l [<!ENTITY a "{"x" * 50000}">]><P>{"&a;" * 50000}</P>',
    "external entity": '<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><P>&x;</P>',
    "external document type": '<!DOCTYPE l SYSTEM "http://127.0.0.1:1/l.dtd"><P/>',
    "parameter entity": '<!DOCTYPE l [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><P/>',
    "unknown entity": "<P>&x;</P>",
    "depth": "<P>" * 100_000 + "</P>" * 100_000,
    "no end": "<P><QUANTIFICATION_VALUE>10000",
    "other numbers": "<P><QUANTIFICATION_VALUE>1e999</QUANTIFICATION_VALUE></P>",
    "empty": "",
}


def hostile_xml(root, chance):
    name = chance.choice(sorted(HOSTILE_XML))
    encoding = chance.choice(["utf-8", "utf-16", "utf-8-sig", "utf-32"])
    target = chance.choice([*root.rglob("MTD_*.xml"), root / "manifest.safe"])
    target.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{HOSTILE_XML[name]}'.encode(encoding))
    if target.name != "manifest.safe":
        seal(root)  # whoever writes such a file writes its checksum too
    return f"{name} in {encoding} in {target.name}"


def bytes_of_a_file(root, chance):
    target = chance.choice(sorted(p for p in root.rglob("*") if p.is_file()))
    return f"{damage(target, chance)} {target.name}"


def missing_file(root, chance):
    target = chance.choice(sorted(p for p in root.rglob("*") if p.is_file()))
    target.unlink()
    return f"missing {target.name}"


def empty_file(root, chance):
    target = chance.choice(sorted(p for p in root.rglob("*") if p.is_file()))
    target.write_bytes(b"")
    return f"empty {target.name}"


def swapped_bands(root, chance):
    one, two = chance.sample(chance.choice(BANDS), 2)
    first, second = (next(root.rglob(f"*_{band}.jp2")) for band in (one, two))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    return f"{one} for {two}"


def wrong_offset(root, chance):
    path = root / "MTD_MSIL1C.xml"
    value = chance.choice(["0", "-100", "-2000", "1000", "", "nan", "-1000.5"])
    path.write_text(re.sub(r">-1000</RADIO", f">{value}</RADIO", path.read_text()))
    if chance.random() < 0.5:
        seal(root)  # then only the pixels can tell
    return f"offset {value!r}"


def hostile_zip(root, chance):
    path = zipped(root)
    kind = chance.choice(["..", "absolute", "backslash", "twice", "bomb", "many bombs", "link", "lying size"])
    shutil.rmtree(root)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        inside = archive.namelist()[0].split("/")[0]
        if kind == "link":
            info = zipfile.ZipInfo(f"{inside}/MTD_MSIL2A.xml")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        elif kind == "many bombs":
            for k in range(20):
                archive.writestr(f"{inside}/b{k}", bytes(4 * 2**20))
        else:
            name = {
                "..": "../../evil",
                "absolute": "/etc/evil",
                "backslash": "..\\evil",
                "bomb": f"{inside}/bomb",
                "twice": f"{inside}/MTD_MSIL1C.xml",
                "lying size": f"{inside}/x",
            }[kind]
            archive.writestr(name, bytes(8 * 2**20) if kind == "bomb" else b"x" * 100)
    if kind == "lying size":
        content = bytearray(path.read_bytes())
        at = content.rfind(b"PK\x01\x02")
        content[at + 24 : at + 28] = (2**32 - 2).to_bytes(4, "little")
        path.write_bytes(content)
    return f"zip with {kind}"


def bytes_of_a_zip(root, chance):
    path = zipped(root)
    shutil.rmtree(root)
    return f"zip: {damage(path, chance)}"


def summed_stack(root, chance):
    """Damage a GeoTIFF that has SHA256SUMS beside it."""
    path = root.with_name("stack.tif")
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint16",
        count=13,
        height=60,
        width=60,
        crs="EPSG:32633",
        transform=from_origin(5e5, 5e6, 10, 10),
        compress="zstd",
    ) as raster:
        raster.write(np.random.default_rng(0).integers(1010, 3000, (13, 60, 60), dtype=np.uint16))
        raster.update_tags(RADIO_ADD_OFFSET="-1000")
        for index, name in enumerate(sorted(sum(BANDS, ())), 1):
            raster.set_band_description(index, name)
    (root.parent / "SHA256SUMS").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  stack.tif\n")
    shutil.rmtree(root)
    return f"GeoTIFF with sums: {damage(path, chance)}"


ATTACKS = (
    bytes_of_a_file,
    bytes_of_a_file,
    bytes_of_a_zip,
    bytes_of_a_zip,
    swapped_bands,
    wrong_offset,
    missing_file,
    empty_file,
    hostile_xml,
    hostile_xml,
    hostile_zip,
    summed_stack,
)


def test_three_hundred_damaged_or_hostile_inputs_are_quarantined_with_a_reason_or_give_the_right_samples(
    tmp_path, write_stack
):
    chance = random.Random(2)
    (tmp_path / "whole").mkdir()
    product = write_safe(tmp_path / "whole", native_bands())
    good = write_stack(tmp_path / "good.tif")
    build([str(good), str(product)], tmp_path / "right", BuildOptions(60))
    right = ShardSet(tmp_path / "right")
    wanted = {entry.key: but_split(facts(right, i)) for i, entry in enumerate(right.entries)}
    assert len(wanted) == 8
    count = {"quarantined": 0, "right": 0}
    for trial in range(TRIALS):
        place = tmp_path / "trial"
        shutil.copytree(tmp_path / "whole", place)
        attack = ATTACKS[trial % len(ATTACKS)]
        what = f"trial {trial}: {attack.__name__}, {attack(place / product.name, chance)}"
        damaged = next((p for p in sorted(place.iterdir()) if p.name != "SHA256SUMS"), None)
        build([str(good), str(damaged)], tmp_path / "out", BuildOptions(60))
        assert not workplace(tmp_path / "out").exists(), what
        found = ShardSet(tmp_path / "out")
        got = {entry.key: but_split(facts(found, i)) for i, entry in enumerate(found.entries)}
        if found.manifest["quarantined"]:
            (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
            assert bad["source"] == str(damaged), what
            assert is_a_sentence(bad["reason"]), f"{what}: {bad['reason']}"
            assert got == {key: value for key, value in wanted.items() if key.startswith("good")}, what
            count["quarantined"] += 1
        else:
            changed = [key for key in wanted if wanted[key][:-1] != got.get(key, ())[:-1]]
            pixels = [key for key in wanted if wanted[key][-1] != got.get(key, ("",))[-1]]
            assert not changed, what
            assert not pixels, what
            count["right"] += 1
        shutil.rmtree(place)
        shutil.rmtree(tmp_path / "out")
    assert not (tmp_path.parent / "evil").exists()
    say(f"{TRIALS} damaged or hostile inputs: {count}")
    assert count["quarantined"] > 0.8 * TRIALS


# --- inputs without checksums ----------------------------------------------------------------------------------------


def as_the_stack_says(path):
    """Read a 13-band 10 m stack with rasterio alone, block means in plain NumPy."""
    with rasterio.open(path) as raster:
        pixels = dict(zip(raster.descriptions, raster.read().astype(np.int64), strict=True))
    groups = {}
    for gsd, bands in zip((10, 20, 60), BANDS, strict=True):
        factor = gsd // 10
        layers = []
        for band in bands:
            blocks = pixels[band].reshape(96 // factor, factor, 108 // factor, factor)
            seen = (blocks > 0) & (blocks < 65535)
            number = seen.sum((1, 3))
            total = (blocks * seen).sum((1, 3))
            mean = (total + number // 2) // np.maximum(number, 1)
            layers.append(pixels[band] if factor == 1 else np.where(number, mean, 0))
        groups[gsd] = np.stack(layers)
    return groups


def as_the_landsat_says(root):
    """Read a Landsat folder with rasterio and json alone."""
    facts = {
        k: v
        for part in json.loads(next(root.glob("*_MTL.json")).read_text())["LANDSAT_METADATA_FILE"].values()
        for k, v in part.items()
        if k != "PROCESSING_LEVEL"
    }
    sine = math.sin(math.radians(float(facts["SUN_ELEVATION"])))

    def plain(kind):
        with rasterio.open(next(root.glob(f"*_{kind}.TIF"))) as raster:
            return raster.read(1)

    quality, radsat, layers = plain("QA_PIXEL"), plain("QA_RADSAT"), []
    for number in (1, 2, 3, 4, 5, 9, 6, 7):
        stored = plain(f"B{number}")
        dn = np.clip(np.rint(((2e-5 / sine) * stored.astype(float) - 0.1 / sine) * 1e4) + 1000, 1, 65534)
        dn[(radsat >> (number - 1)) & 1 == 1] = 65535
        dn[(stored == 0) | (quality & 1 == 1)] = 0
        layers.append(dn)
    return {30: np.stack(layers)}


def tiles_with(mask, side=16):
    """Return ``(C, rows, columns)`` bool: which 16-pixel tiles of ``(C, H, W)`` hold a True."""
    bands, height, width = mask.shape
    whole = np.zeros((bands, -(-height // side) * side, -(-width // side) * side), bool)
    whole[:, :height, :width] = mask
    return whole.reshape(bands, whole.shape[1] // side, side, whole.shape[2] // side, side).any((2, 4))


def read_or_refuse(path, window):
    try:
        with open_scene(path) as scene:
            return scene.read(window)
    except BandloomError as refusal:
        check_sentence(refusal)
        return None


@pytest.mark.parametrize("compress", ["deflate", "zstd", "none"])
def test_a_hundred_damaged_geotiffs_without_checksums_give_what_they_themselves_say(tmp_path, write_stack, compress):
    chance, window = random.Random(3), (0, 0, 1080, 960)
    options = {} if compress == "none" else {"compress": compress, "predictor": 2}
    whole = write_stack(tmp_path / "right.tif", **options)
    right = as_the_stack_says(whole)
    count = {"refused": 0, "right": 0, "not knowable": 0}
    for trial in range(TRIALS // 3):
        path = tmp_path / "scene.tif"
        shutil.copy(whole, path)
        kind = damage(path, chance)
        got = read_or_refuse(path, window)
        if got is None:
            count["refused"] += 1
            continue
        if all(np.array_equal(got[gsd], right[gsd]) for gsd in right):
            count["right"] += 1
            continue
        says = as_the_stack_says(path)
        for gsd in says:
            np.testing.assert_array_equal(got[gsd], says[gsd], err_msg=f"trial {trial}: {kind}")
        count["not knowable"] += 1
    say(f"{TRIALS // 3} damaged GeoTIFFs ({compress}) without checksums: {count}")


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_hundred_and_fifty_damaged_landsat_products_give_what_they_themselves_say(tmp_path, form):
    chance, window = random.Random(4), (0, 0, 1260, 1140)
    (tmp_path / "whole").mkdir()
    whole, _ = write_landsat(tmp_path / "whole")
    right = as_the_landsat_says(whole)[30]
    count = {"refused": 0, "right": 0, "not knowable": 0}
    for trial in range(TRIALS // 2):
        root = tmp_path / whole.name
        shutil.copytree(whole, root)
        kind = chance.choice([bytes_of_a_file, bytes_of_a_file, missing_file, empty_file])(root, chance)
        got = read_or_refuse(tarred(root) if form == "tar" else root, window)
        if got is None:
            count["refused"] += 1
        else:
            assert not got[30][:, 37:].any()
            pixels = got[30][:, :37, :41]
            if np.array_equal(pixels, right):
                count["right"] += 1
            else:
                says = as_the_landsat_says(root)[30]
                # of a tile that ends early GDAL leaves the rest as it found the memory: no two reads agree there
                astray = tiles_with(pixels != says) & ~tiles_with(says != right)
                assert not astray.any(), f"trial {trial}: {kind}"
                count["not knowable"] += 1
        shutil.rmtree(root)
        root.with_suffix(".tar").unlink(missing_ok=True)
    say(f"{TRIALS // 2} damaged Landsat products ({form}) without checksums: {count}")
