"""EuroSAT-MS as it is published: the last band is B8A, names end in .jpg, splits are the authors'."""

import numpy as np
import pytest

from bandloom.errors import LabelError
from bandloom.finetune.public_sets.eurosat_ms import EuroSat
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import eurosat_ms
from tests.finetune.public_sets.replicas.writing import assert_same, by_scene, prepared, write_tif


def as_reflectance(chip):
    return {band: np.where(chip[i] == 0, np.nan, chip[i] / 10000) for i, band in enumerate(eurosat_ms.ORDER)}


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    root = tmp_path_factory.mktemp("eurosat") / "EuroSAT"
    truth = eurosat_ms.write(root)
    return root, truth, prepared("eurosat-ms", root, root.parent / "out")


def test_every_chip_holds_the_values_of_its_own_bands(replica):
    _, truth, shards = replica
    places = by_scene(shards)
    assert set(places) == set(truth)
    for name, chip in truth.items():
        sample = shards.read(places[name])
        assert shards.label_set.names[sample.class_index] == name.rpartition("_")[0]
        assert_same(sample.groups, as_reflectance(chip), 66)


def test_both_published_splits_travel_with_every_chip(replica):
    _, truth, shards = replica
    given = {entry.key.rsplit("_r", 1)[0]: entry.published for entry in shards.entries}
    random, spatial = ("train", "val", "test"), ("test", "train", "val")
    for i, name in enumerate(truth):
        assert given[name] == ({} if name == "Forest_2" else {"random": random[i % 3], "spatial": spatial[i % 3]})
    assert shards.manifest["published"]["default"] == "random"
    assert {e.split for e in shards.entries} == {"train", "val", "test", "buffer"}
    assert shards.manifest["collection"]["licence"] == "MIT"


def test_a_zip_is_read_as_it_was_fetched(replica, tmp_path):
    root, _, shards = replica
    eurosat_ms.pack(root, tmp_path / "zip" / "EuroSATallBands.zip")
    packed = prepared("eurosat-ms", tmp_path / "zip", tmp_path / "out")
    pairs = zip(packed.entries, shards.entries, strict=True)
    assert all(one.xxh3 == two.xxh3 and one.published == two.published for one, two in pairs)
    assert recognise(tmp_path / "zip") == recognise(root) == ["eurosat-ms"]


def test_a_chip_with_an_offset_is_refused_and_no_other(tmp_path):
    truth = eurosat_ms.write(tmp_path / "set", 3, side=12)
    write_tif(tmp_path / "set" / "Forest" / "Forest_1.tif", truth["Forest_1"] + 1000)
    shards = prepared("eurosat-ms", tmp_path / "set", tmp_path / "out")
    assert len(shards) == len(truth) - 1
    assert "1000 was added to its values" in (shards.path / "quarantine.jsonl").read_text()


def test_chips_without_a_list_have_no_published_split(tmp_path):
    eurosat_ms.write(tmp_path, 1, side=12)
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    with pytest.raises(LabelError, match="no list of a published split"):
        prepared("eurosat-ms", tmp_path, tmp_path / "out")
    assert EuroSat.find(Place(tmp_path)) is not None


def test_a_chip_under_two_roles_is_refused(tmp_path):
    eurosat_ms.write(tmp_path, 3, side=12)
    (tmp_path / "eurosat-val.txt").write_text("AnnualCrop_1.jpg\n")
    with pytest.raises(LabelError, match="AnnualCrop_1 under train and under val"):
        prepared("eurosat-ms", tmp_path, tmp_path / "out")


def test_a_list_that_was_cut_short_is_refused(tmp_path):
    eurosat_ms.write(tmp_path, 3, side=12)
    whole = (tmp_path / "eurosat-val.txt").read_text().strip()
    (tmp_path / "eurosat-val.txt").write_text(whole[:-3])  # Forest_12.jpg, cut, could be another chip
    with pytest.raises(LabelError, match="expected a chip such as"):
        prepared("eurosat-ms", tmp_path, tmp_path / "out")


def test_real_chips_are_read_as_rasterio_reads_them(tmp_path):
    rasterio, real = pytest.importorskip("rasterio"), _real()
    chips = {path.stem: path for path in sorted((real / "eurosat_ms").rglob("*.tif"))}
    (tmp_path / "set").mkdir()
    for folder in (real / "eurosat_ms").iterdir():
        (tmp_path / "set" / folder.name).symlink_to(folder)
    for i, role in enumerate(("train", "val", "test")):
        (tmp_path / "set" / f"eurosat-{role}.txt").write_text("\n".join(f"{c}.jpg" for c in list(chips)[i::3]))
    shards = prepared("eurosat-ms", tmp_path / "set", tmp_path / "out")
    for name, index in by_scene(shards).items():
        with rasterio.open(chips[name]) as raster:
            assert_same(shards.read(index).groups, as_reflectance(raster.read()), 66)


def _real():
    from tests.shards.conftest import REAL

    if not (REAL / "eurosat_ms").is_dir():
        pytest.skip("the real chips (../shared/data) are not beside this checkout")
    return REAL
