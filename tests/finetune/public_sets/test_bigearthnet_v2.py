"""BigEarthNet v2 as it is published: tiles, a table of classes and roles, CORINE's codes in the maps."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import bandloom
from bandloom.errors import LabelError
from bandloom.finetune.public_sets.registry import recognise
from bandloom.sensors import SLOT_GSD_M, SLOTS
from tests.finetune.public_sets.replicas import bigearthnet
from tests.finetune.public_sets.replicas.writing import by_scene, prepared


def assert_native(groups, bands):
    """Every sample is what its band's own raster holds, plus the convention's 1000; 0 stays absent."""
    for gsd, dn in groups.items():
        names = [slot for slot in SLOTS if SLOT_GSD_M[slot] == gsd and slot != "B10"]
        for values, name in zip(dn, names, strict=True):
            np.testing.assert_array_equal(values, np.where(bands[name] == 0, 0, bands[name] + 1000))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("ben")


@pytest.fixture(scope="module")
def truth(root):
    return bigearthnet.write_v2(root)


def test_patches_keep_native_samples_classes_and_roles(root, truth, tmp_path):
    shards = prepared("bigearthnet-v2", root, tmp_path / "out")
    places, table = by_scene(shards), json.loads((tmp_path / "out" / "chip_labels.json").read_text())
    wanted = {name: (labels, role) for name, (labels, role, _) in bigearthnet.PATCHES.items() if role}
    assert set(places) == set(table) == set(wanted)
    for name, (labels, role) in wanted.items():
        assert_native(shards.read(places[name]).groups, truth[name][0])
        assert table[name] == sorted(labels)
        assert shards.entries[places[name]].published == {"official": role.replace("validation", "val")}
    said = json.loads((tmp_path / "out" / "manifest.json").read_text())["warnings"]
    assert [row["what"] for row in said] == [
        "lists 1 patches that are not there; they are left out.",
        "1 patches have no role in metadata.parquet and are left out.",
    ]


def nineteen_by_code() -> dict[int, int]:
    """CORINE's three-digit codes as indices of the 19 classes, by the shipped tables read as text."""
    shipped = Path(bandloom.__file__).parent
    rows = csv.DictReader(
        (shipped / "classes" / "label_mappings" / "bigearthnet43--bigearthnet19.csv").read_text().splitlines()
    )
    name_of = {row["from"]: row["to"] for row in rows}
    fine = yaml.safe_load((shipped / "classes" / "label_sets" / "bigearthnet43.yaml").read_text())["classes"]
    coarse = yaml.safe_load((shipped / "classes" / "label_sets" / "bigearthnet19.yaml").read_text())["classes"]
    names = [each["name"] for each in coarse]
    return {int(each["id"]): names.index(name_of[each["name"]]) for each in fine if each["name"] in name_of}


def test_maps_become_masks_and_codes_without_a_class_have_no_label(root, truth, tmp_path):
    shards, table = prepared("bigearthnet-v2-maps", root, tmp_path / "out"), nineteen_by_code()
    assert table[241] == table[222]  # permanent crops
    for name, index in by_scene(shards).items():
        codes = truth[name][1]
        expected = np.vectorize(lambda code: table.get(int(code), 255))(codes)
        np.testing.assert_array_equal(shards.read(index).label, expected)
    assert recognise(root) == ["bigearthnet-v2", "bigearthnet-v2-maps"]


def test_maps_keep_all_of_corine_where_that_is_asked_for(root, truth, tmp_path):
    shards = prepared("bigearthnet-v2-maps", root, tmp_path / "out", label_set="corine44")
    names = shards.label_set.names
    index = by_scene(shards)[f"{bigearthnet.TILES[0]}_75_43"]
    assert {names[i] for i in np.unique(shards.read(index).label)} == {
        "Continuous urban fabric",
        "Discontinuous urban fabric",
        "Green urban areas",
    }
    with pytest.raises(LabelError, match="is not what BigEarthNet v2"):
        prepared("bigearthnet-v2-maps", root, tmp_path / "other", label_set="eurosat10")


def test_the_real_patch_keeps_its_samples(tmp_path):
    from tests.shards.conftest import REAL

    rasterio = pytest.importorskip("rasterio")
    name = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_75_43"
    patch = REAL / "unlabelled" / "bigearthnet_v2" / name
    if not patch.is_dir():
        pytest.skip("the real patch (../shared/data) is not beside this checkout")
    bigearthnet.write_v2(tmp_path / "ben")
    place = tmp_path / "ben" / "BigEarthNet-S2" / bigearthnet.TILES[0] / name
    for file in place.iterdir():
        file.unlink()
    for file in patch.glob("*.tif"):
        (place / f"{name}_{file.stem.rpartition('_')[2]}.tif").symlink_to(file)
    shards = prepared("bigearthnet-v2", tmp_path / "ben", tmp_path / "out")
    bands = {}
    for file in patch.glob("*.tif"):
        with rasterio.open(file) as raster:
            bands[file.stem.rpartition("_")[2]] = raster.read(1)
    assert_native(shards.read(by_scene(shards)[name]).groups, bands)
