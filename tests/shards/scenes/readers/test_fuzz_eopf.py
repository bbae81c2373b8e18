"""Damaged EOPF products, Zarr v2 and v3, in folders and zips: read as zarr-python reads them, or refused in a sentence.

Flipped bytes of a chunk that still decode are other pixels to every reader of a folder; a zip's checksums tell them.
"""

import json
import random
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
import zarr

from bandloom.errors import BandloomError
from bandloom.shards.scenes import open_scene
from tests.shards.corpora.replica import GSD_M, L1C, L2A
from tests.shards.corpora.test_fuzz import is_a_sentence
from tests.shards.scenes.readers.test_eopf import SIDE, packed, write_product

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]
TRIALS = 200
BYTES = ("flip", "cut", "longer", "empty", "gone", "swapped")
OTHER = {  # of an array's own description: what stands there instead, or None for nothing
    "shape": lambda told, chance: [told[0] + chance.choice([-10, 10]), told[1]],
    "chunks": lambda told, chance: [max(1, told[0] // 2), told[1]],
    "dtype": lambda told, chance: chance.choice(["<i2", ">u2", "|u1", "<f4"]),
    "data_type": lambda told, chance: chance.choice(["int16", "uint8", "float32", "uint32"]),
    "fill_value": lambda told, chance: chance.choice([1, 65535, 7.5, "NaN", None]),
    "order": lambda told, chance: "F",
    "compressor": lambda told, chance: chance.choice([None, {"id": "zlib", "level": 1}, {"id": "unheard of"}]),
    "filters": lambda told, chance: [{"id": "delta", "dtype": "<u2"}],
    "chunk_grid": lambda told, chance: {
        "name": "regular",
        "configuration": {"chunk_shape": chance.choice([[25, 50], [60, 60]])},
    },
    "chunk_key_encoding": lambda told, chance: {
        "name": chance.choice(["default", "v2"]),
        "configuration": {"separator": chance.choice([".", "/"])},
    },
    "codecs": lambda told, chance: chance.choice(
        [
            told[:1],
            told[1:],
            [{"name": "bytes", "configuration": {"endian": "big"}}, *told[1:]],
            [*told, {"name": "crc32c"}],
            [{"name": "transpose", "configuration": {"order": [1, 0]}}, *told],
        ]
    ),
    "zarr_format": lambda told, chance: 5 - told,
    "node_type": lambda told, chance: "group",
    "attributes": lambda told, chance: chance.choice(
        [
            told | {"scale_factor": chance.choice([0.001, "0.0001", None, float("nan"), -0.0001])},
            told | {"add_offset": chance.choice([0.0, 0.1, "-0.1", None, float("inf")])},
            told | {"fill_value": 3},
            {},
        ]
    ),
}
PLACES = {
    "proj:bbox": [[0, 0, 0, 0], [300_060.0, 4_798_800.0, 301_260.0, 4_800_000.0], "here", [1e9, -1.0, 1.0, 2.0], None],
    "proj:code": ["EPSG:32632x", 32632, None, "EPSG:4326", "WGS84"],
    "product:type": ["S02MSIL2A", "S02MSIL1C", "", None],
    "start_datetime": ["null", "2025-13-40", 5, None],
}


def arrays(product):
    """Return the folders of a product's arrays of pixels, masks and classes."""
    described = [file for name in (".zarray", "zarr.json") for file in product.rglob(name)]
    return sorted(file.parent for file in described if "shape" in json.loads(file.read_text()))


def chunks(array):
    files = [file for file in array.rglob("*") if file.is_file()]
    return sorted(file for file in files if file.name[0] != "." and file.name != "zarr.json")


def damage_bytes(array, chance):
    kind = chance.choice(BYTES)
    file, content = (target := chance.choice(chunks(array))), target.read_bytes()
    if kind == "flip":
        flipped = bytearray(content)
        for _ in range(chance.choice([1, 8])):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        file.write_bytes(flipped)
    elif kind == "swapped":
        other = chance.choice(chunks(array))
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif kind == "gone":
        file.unlink()
    else:
        told = {"cut": content[: chance.randrange(len(content))], "longer": content + b"more", "empty": b""}
        file.write_bytes(told[kind])
    return kind


def damage_description(array, chance):
    file = next(file for name in (".zarray", "zarr.json") if (file := array / name).is_file())
    if chance.random() < 0.2:
        text = file.read_bytes()
        place = chance.randrange(len(text))
        cut = chance.random() < 0.5
        file.write_bytes(text[:place] if cut else text[:place] + bytes([chance.randrange(32, 127)]) + text[place + 1 :])
        return "text cut" if cut else "text changed"
    if file.name == ".zarray" and chance.random() < 0.3:
        file = array / ".zattrs"
        told = {"attributes": json.loads(file.read_text())}
        file.write_text(json.dumps(OTHER["attributes"](told["attributes"], chance)))
        return "attributes"
    told = json.loads(file.read_text())
    key = chance.choice(sorted(key for key in told if key in OTHER))
    if chance.random() < 0.2:
        del told[key]
    else:
        told[key] = OTHER[key](told[key], chance)
    file.write_text(json.dumps(told))
    return key


def damage_product(product, chance):
    """Change what the product says of itself."""
    file = next(file for name in (".zattrs", "zarr.json") if (file := product / name).is_file())
    told = json.loads(file.read_text())
    properties = (told.get("attributes") or told)["stac_discovery"]["properties"]
    key = chance.choice(sorted(key for key in PLACES if key in properties))
    properties[key] = chance.choice(PLACES[key])
    file.write_text(json.dumps(told))
    return key


def damage(product, chance):
    array = chance.choice(arrays(product))
    draw = chance.random()
    if draw < 0.1:
        return f"{damage_product(product, chance)} of the product"
    in_bytes = draw < 0.55 and chunks(array)  # a mask without a flag stores none
    kind = damage_bytes(array, chance) if in_bytes else damage_description(array, chance)
    return f"{kind} of {array.relative_to(product)}"


def read_independently(product, names):
    """Return each band's digital numbers by zarr-python and plain arithmetic.

    Raises:
        Exception: zarr-python cannot read them.
    """
    root, planes = zarr.open_group(product, mode="r"), {}
    for name in names:
        array = root[f"measurements/reflectance/r{GSD_M[name]}m/{name.lower()}"]
        raw, attributes = array[:].astype(np.float64), dict(array.attrs)
        reflectance = raw * float(attributes["scale_factor"]) + float(attributes.get("add_offset", 0))
        dn = np.clip(np.rint(reflectance * 10_000) + 1000, 1, 65_534)
        dn[raw == 0] = 0
        mask = f"quality/mask/r{GSD_M[name]}m/{name.lower()}"
        if mask in root:
            flags = root[mask][:]
            dn[(flags & 128) != 0] = 65_535
            dn[(flags & 44) != 0] = 0
        planes[name] = dn
    return planes


def check(scene, product, names, gone):
    """Fail where a scene's pixels are not those of an independent reader, or a chunk is gone without a word."""
    read = scene.read((0, 0, SIDE * 10, SIDE * 10))
    planes = read_independently(product, names)
    for gsd_m, pixels in read.items():
        for name, plane in zip([name for name in names if GSD_M[name] == gsd_m], pixels, strict=True):
            np.testing.assert_array_equal(plane, planes[name], err_msg=name)
    if gone in {f"measurements/reflectance/r{GSD_M[name]}m/{name.lower()}" for name in names}:
        assert gone in scene.provenance["lacking_chunks"]


def refused(path, product, gone):
    """Return why a product is not read; None where it is, as an independent reader reads it."""
    try:
        with open_scene(path) as scene:
            check(scene, product, L1C if scene.sensor.name.endswith("l1c") else L2A, gone)
    except BandloomError as error:
        return str(error)
    return None


def test_no_damage_of_a_product_gives_pixels_that_another_reader_would_not(tmp_path):
    outcomes, wrong = Counter(), []
    for trial in range(TRIALS):
        chance = random.Random(trial)
        version, level, zipped = chance.choice([3, 3, 2]), chance.choice(["l1c", "l2a"]), chance.random() < 0.25
        shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
        product, _ = write_product(tmp_path / "damaged", level, version)
        kind = damage(product, chance)
        what = (trial, version, level, zipped, kind)
        gone = kind.removeprefix("gone of ") if kind.startswith("gone of ") else ""
        try:
            refusal = refused(packed(product) if zipped else product, product, gone)
        except Exception as error:  # other pixels, or a traceback
            wrong.append((what, repr(error)[:300]))
            continue
        if refusal is not None and not is_a_sentence(refusal):
            wrong.append((what, refusal))
        outcomes["read as another reader does" if refusal is None else "refused"] += 1
    sys.stdout.write(f"\n{TRIALS} damages of EOPF products: {dict(outcomes)}\n")
    assert not wrong, "\n".join(map(str, wrong))
    assert min(outcomes.values()) > TRIALS // 10
