"""Damaged products of every reader, delivered with their checksums: each is refused in a sentence or read right.

A fuzzer damages one file of a product (cut, flipped, zeroed, overwritten, swapped with another band's, emptied, taken
away) or its archive. Sentinel-2 carries its sums in manifest.safe; the others have SHA256SUMS beside them.
"""

import hashlib
import random
import shutil

import numpy as np
import pytest

from bandloom.errors import BandloomError
from bandloom.shards.scenes import open_scene
from tests.shards.landsat_product import tarred, write_landsat
from tests.shards.safe_product import native_bands, seal, write_quality, write_safe, zipped
from tests.shards.scenes.readers.test_dimap import theos1, theos2  # noqa: F401
from tests.shards.scenes.readers.test_hls import write_hls  # noqa: F401
from tests.shards.scenes.readers.test_stac import write_item  # noqa: F401
from tests.shards.test_fuzz import check_sentence, damage, say

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]
TRIALS = 300
WINDOW = (0, 0, 1200, 1200)
READERS = ("safe", "safe zip", "landsat", "landsat tar", "hls", "theos1", "theos2", "stac", "geotiff")


def sum_up(folder):
    """Write SHA256SUMS over every file of a folder, as sha256sum does."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != "SHA256SUMS"]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture
def whole(tmp_path, write_stack, write_hls, theos1, theos2, write_item):  # noqa: F811
    """One product a reader, in a folder of its own, and the path that opens it, relative to that folder."""
    made = {"hls": write_hls("S30")[0], "theos1": theos1[0], "theos2": theos2[0], "stac": write_item()[0]}
    place = tmp_path / "whole"
    for name in READERS:
        (place / name).mkdir(parents=True)
    for name in ("safe", "safe zip"):
        made[name] = write_safe(place / name, native_bands())
        for band in ("B03", "B11"):
            gsd_m = 10 if band == "B03" else 20
            write_quality(made[name], band, (1020 // gsd_m,) * 2, gsd_m, [(8, 3, 4), (3, 40, 30)])
        seal(made[name])
    for name in ("landsat", "landsat tar"):
        made[name] = write_landsat(place / name)[0]
    made["geotiff"] = write_stack(place / "geotiff" / "scene.tif", compress="zstd", predictor=2)
    for name, pack in (("safe zip", zipped), ("landsat tar", tarred)):
        folder, made[name] = made[name], pack(made[name])
        shutil.rmtree(folder)
    for name in ("hls", "theos1", "theos2", "stac"):
        made[name] = shutil.move(made[name], place / name / made[name].name)
    for name, path in made.items():
        if not name.startswith("safe"):
            sum_up(path if path.is_dir() else path.parent)
    return place, {name: path.relative_to(place / name) for name, path in made.items()}


def seen(path):
    """All that a reader says of a product's pixels: which bands, where, when, values, clouds."""
    with open_scene(path) as scene:
        groups, cloud = scene.read(WINDOW), scene.cloud(WINDOW)
        place = (scene.sensor, scene.crs, scene.transform, scene.datetime, scene.width_m, scene.height_m)
    return place, groups, cloud


def same(one, two, masks_may_lack):
    pixels = one[1].keys() == two[1].keys() and all(np.array_equal(one[1][gsd], two[1][gsd]) for gsd in two[1])
    clouds = (one[2] is None) == (two[2] is None) and (one[2] is None or np.array_equal(one[2], two[2]))
    return one[0] == two[0] and pixels and (clouds or (masks_may_lack and one[2] is None))


def attack(folder, chance):
    """Damage one file of a product; say how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    target = chance.choice(files)
    kind = chance.choice(["bytes", "bytes", "bytes", "swap", "empty", "missing"])
    if kind == "swap" and len(files) > 2:
        other = chance.choice([path for path in files if path.suffix == target.suffix])
        content = target.read_bytes()
        target.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return f"{target.name} for {other.name}"
    if kind == "missing":
        target.unlink()
    elif kind == "empty":
        target.write_bytes(b"")
    else:
        kind = damage(target, chance)
    return f"{kind} {target.name}"


def test_three_hundred_damaged_products_of_every_reader_never_give_a_wrong_pixel(tmp_path, whole):
    chance, (place, paths) = random.Random(11), whole
    right = {name: seen(place / name / path) for name, path in paths.items()}
    count = {name: {"refused": 0, "right": 0} for name in READERS}
    for trial in range(TRIALS):
        name = READERS[trial % len(READERS)]
        copy = tmp_path / "trial"
        shutil.copytree(place / name, copy)
        what = f"trial {trial}: {name}, {attack(copy, chance)}"
        try:
            got = seen(copy / paths[name])
        except BandloomError as refusal:
            check_sentence(refusal, what)
            count[name]["refused"] += 1
        else:
            assert same(got, right[name], masks_may_lack="missing" in what and "safe" not in name), what
            count[name]["right"] += 1
        shutil.rmtree(copy)
    say("\n".join(f"{name}: {counted}" for name, counted in count.items()))
    assert sum(each["refused"] for each in count.values()) > TRIALS / 2
