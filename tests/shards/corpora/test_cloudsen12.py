"""CloudSEN12+ from a replica: both levels, padding, labels as clouds, published roles, contradictions."""

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.corpora.cloudsen12 import _unpadded
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora import cloudsen_replica as replica
from tests.shards.corpora.replica import block_means, interpolated, native, stored, truth_of


def built(command, folder, out, *more):
    code, said = command("shards", "build", folder, "--out", out, "--side", 36, *more)
    assert code == 0, said
    return ShardSet(out)


@pytest.mark.parametrize("level", ["l1c", "l2a"])
def test_patches_are_read_without_their_padding_and_in_their_published_roles(tmp_path, command, level):
    truth = replica.write(tmp_path / "set", level)
    shards = built(command, tmp_path / "set", tmp_path / "out")
    assert [entry.origin["address"].rsplit("!", 1)[1] for entry in shards.entries] == list(truth)
    for index, (entry, (bands, label, corner)) in enumerate(zip(shards.entries, truth.values(), strict=True)):
        for gsd_m, pixels in shards.read(index).groups.items():
            wanted = truth_of(bands).group(gsd_m)
            np.testing.assert_array_equal(pixels[:, : wanted.shape[1], : wanted.shape[2]], wanted)
            assert not pixels[:, wanted.shape[1] :].any()
        assert (entry.x_m, entry.y_m) == corner
        assert entry.sensor == f"sentinel2-{level}"
        dense = index < 3
        assert (entry.cloud_fraction is not None) == dense
        if dense:
            assert entry.cloud_fraction == pytest.approx(np.isin(label, (1, 2)).mean())
        assert entry.origin["split"] == ("train", "val", "test")[index % 3]
        assert entry.origin["place"] == f"ROI_{index // 2:05d}"
        assert entry.datetime == f"2020-06-{1 + index:02d}T05:46:39+00:00"
    told = shards.manifest["sources"]
    assert [source["padding"] for source in told.values()] == [{"2 bottom, 2 left": 3}, {"2 bottom, 2 left": 2}]
    assert {how for source in told.values() for how in source["upsampled_by"]} == {"g20 nearest, g60 nearest"}
    assert {how for source in told.values() for how in source["offset_from"]} == {"0: the card of CloudSEN12+"}


def test_gdal_finds_the_same_bytes_at_the_same_places(tmp_path, command):
    truth = replica.write(tmp_path / "set")
    for part in sorted((tmp_path / "set").glob("cloudsen12-l1c*")):
        for name, (image, label) in replica.vsi(part).items():
            bands, codes, _ = truth[name]
            stack = replica.pixels(image)[:, : replica.SIDE, replica.EXTRA :]
            np.testing.assert_array_equal(stack[1], stored(bands["B02"], 0))
            np.testing.assert_array_equal(replica.pixels(label)[0, : replica.SIDE, replica.EXTRA :], codes)


def one(folder, level="l1c", how=None, shift=0, kind="high", **changes):
    """Write one patch whose stored values are shifted."""
    image, label, bands, codes = replica.patch(3, level, how=how or replica.copied)
    image = np.where(image > 0, image + shift, 0).astype(np.uint16)
    packed = replica.packed("a", image, label)
    folder.mkdir(parents=True)
    file = folder / f"cloudsen12-{level}.0000.part.taco"
    file.write_bytes(replica.tortilla([(replica.row("a", 0, kind, **changes), packed)]))
    return bands, codes


def refusal(command, folder, out):
    """Build a corpus of which nothing can be used; return the sentence."""
    code, said = command("shards", "build", folder, "--out", out, "--side", 36)
    assert code == 2
    return " ".join(said.split())


@pytest.mark.parametrize("level", ["l1c", "l2a"])
def test_interpolated_bands_are_averaged_and_said(tmp_path, command, level):
    bands, _ = one(tmp_path / "set", level, interpolated)
    shards = built(command, tmp_path / "set", tmp_path / "out")
    (entry,) = shards.entries
    assert entry.origin["upsampled_by"] == {"g20": "interpolated by the source", "g60": "interpolated by the source"}
    b05 = block_means(stored(interpolated(bands["B05"], "B05"), 0) + np.uint16(1000), 2)
    np.testing.assert_array_equal(shards.read(0).groups[20][0][:15, :15], b05)


def test_an_offset_that_b10_proves_is_refused_and_high_cloud_is_none(tmp_path, command):
    one(tmp_path / "shifted", shift=1000)
    assert "B10 starts at 1" in refusal(command, tmp_path / "shifted", tmp_path / "out")
    bright = native(3, replica.SIDE)
    bright["B10"] = np.random.default_rng(0).uniform(0.10, 0.45, bright["B10"].shape)
    planes = np.stack([stored(replica.copied(plane, name), 0) for name, plane in bright.items()])
    content = replica.packed("a", planes, np.ones(planes.shape[1:], np.uint8))
    (tmp_path / "cloud").mkdir()
    told = replica.row("a", 0)
    (tmp_path / "cloud/cloudsen12-l1c.0000.part.taco").write_bytes(replica.tortilla([(told, content)]))
    shards = built(command, tmp_path / "cloud", tmp_path / "cloud-out")
    assert shards.entries[0].origin["offset"] == 0
    np.testing.assert_array_equal(shards.read(0).groups[60][2][:5, :5], stored(bright["B10"], -1000))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": 29}, "neither"),
        ({"side": None}, "states real_proj_shape None"),
        ({"tortilla:file_format": "GTiff"}, "is a GTiff; expected an image and its label"),
    ],
)
def test_a_patch_that_is_not_as_the_card_says_is_refused(tmp_path, command, changes, sentence):
    one(tmp_path / "set", **changes)
    assert sentence in refusal(command, tmp_path / "set", tmp_path / "out")


@pytest.mark.parametrize("sides", [("left", "bottom"), ("right", "top"), ("left", "top"), ("right", "bottom")])
def test_padding_is_found_on_whatever_side_it_lies(sides):
    image = np.ones((2, 8, 9), np.uint16)
    image[:, :, 0 if "left" in sides else -1] = 0
    with pytest.raises(SceneError, match="neither"):
        _unpadded(image, 8 - 1, "a")
    image = np.ones((2, 9, 9), np.uint16)
    image[:, :, 0 if "left" in sides else -1] = 0
    image[:, 0 if "top" in sides else -1] = 0
    rows, columns, said = _unpadded(image, 8, "a")
    assert image[:, slice(*rows), slice(*columns)].all()
    assert all(f"1 {side}" in said for side in sides)


def test_other_files_of_the_container_are_refused_with_the_ones_to_take(tmp_path, command):
    other = replica.tortilla([({"tortilla:id": "a", "tortilla:file_format": "BYTES"}, b"x")])
    (tmp_path / "set").mkdir()
    (tmp_path / "set/other.taco").write_bytes(other)
    code, said = command("shards", "build", tmp_path / "set", "--out", tmp_path / "out")
    assert code == 2
    assert "take cloudsen12-l1c.*.part.taco" in " ".join(said.split())


def test_a_damaged_part_is_quarantined_and_the_others_stand(tmp_path, command):
    replica.write(tmp_path / "set")
    part = tmp_path / "set/cloudsen12-l1c.0001.part.taco"
    part.write_bytes(part.read_bytes()[:-50])
    shards = built(command, tmp_path / "set", tmp_path / "out")
    assert len(shards) == 3
    assert "cut short" in (tmp_path / "out/quarantine.jsonl").read_text()
