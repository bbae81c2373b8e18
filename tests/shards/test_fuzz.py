"""Hundreds of damaged inputs: each is refused with a sentence, quarantined with a reason, or gives the right pixels."""

import random
import shutil

import numpy as np
import pytest
import rasterio

from bandloom.errors import BandloomError
from shards.scenes import open_scene
from shards.shard_set import ShardSet
from shards.verify import verify

WHOLE = (0, 0, 960, 960)


def damage(path, chance):
    """Damage a file in one of the ways that files get damaged; say which."""
    content = bytearray(path.read_bytes())
    kind = chance.choice(["cut", "flip", "zero", "garbage", "swap"])
    at = chance.randrange(len(content))
    size = min(len(content) - at, chance.choice([1, 64, 4096]))
    if kind == "cut":
        content = content[:at]
    elif kind == "flip":
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "zero":
        content[at : at + size] = bytes(size)
    elif kind == "garbage":
        content[at : at + size] = chance.randbytes(size)
    else:
        other = chance.randrange(len(content) - size + 1)
        content[at : at + size], content[other : other + size] = content[other : other + size], content[at : at + size]
    path.write_bytes(content)
    return kind


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
def test_three_hundred_damaged_shard_folders_never_give_wrong_pixels(shards, tmp_path):
    chance = random.Random(1)
    right = ShardSet(shards)
    wanted = {entry.key: right.read(i) for i, entry in enumerate(right.entries)}
    for trial in range(300):
        copy = tmp_path / "copy"
        shutil.copytree(shards, copy)
        target = chance.choice(sorted(copy.iterdir()))
        if target.suffix == ".npz" or target.name.endswith("index.jsonl"):
            target = next(copy.glob("*.tar"))
        damage(target, chance)
        refused = 0
        try:
            found = ShardSet(copy)
            for index in range(len(found)):
                try:
                    sample = found.read(index)
                except BandloomError:
                    refused += 1
                    continue
                known = wanted.get(sample.key)
                if known is None:
                    continue
                for gsd, pixels in sample.groups.items():
                    np.testing.assert_array_equal(pixels, known.groups[gsd], err_msg=f"trial {trial}: {target.name}")
        except BandloomError:
            refused += 1
        if target.suffix == ".tar" and target.read_bytes() != (shards / target.name).read_bytes():
            assert verify(copy)
        shutil.rmtree(copy)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
def test_three_hundred_damaged_scenes_are_refused_or_read_as_they_stand(tmp_path, write_stack):
    chance = random.Random(2)
    write_stack(tmp_path / "right.tif", compress="zstd", predictor=2)
    with open_scene(tmp_path / "right.tif") as scene:
        wanted = scene.read(WHOLE)
    changed = 0
    for _ in range(300):
        path = tmp_path / "scene.tif"
        shutil.copy(tmp_path / "right.tif", path)
        damage(path, chance)
        try:
            with open_scene(path) as scene:
                got = scene.read(WHOLE)
        except BandloomError:
            continue
        if any(not np.array_equal(got[gsd], wanted[gsd]) for gsd in wanted):
            with rasterio.open(path) as raster:  # what the file says now, and nothing of our making
                assert raster.shape
            changed += 1
    assert changed <= 15  # a GeoTIFF without checksums can lie about itself; products with manifests cannot
