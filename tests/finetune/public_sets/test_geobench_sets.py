"""GEO-Bench v1 as it is published: bands by what they are, labels from a pickle that never runs."""

import json

import numpy as np
import pytest

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.errors import LabelError, ShardError
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import geobench
from tests.finetune.public_sets.replicas.writing import assert_same, by_scene, prepared

pytest.importorskip("h5py")


def reflectance(stack, bands, scale=10000.0):
    return {band: np.where(stack[i] == 0, np.nan, stack[i] / scale) for i, band in enumerate(bands)}


def test_m_eurosat_has_its_bands_by_what_they_are_and_nothing_runs(tmp_path):
    truth = geobench.m_eurosat(tmp_path / "geobench", tmp_path / "ran")
    shards = prepared("m-eurosat", tmp_path / "geobench", tmp_path / "out")
    names = ("Industrial", "Residential", "AnnualCrop", "PermanentCrop", "River", "SeaLake", "HerbaceousVegetation")
    names += ("Highway", "Pasture", "Forest")
    for name, index in by_scene(shards).items():
        chip, label = truth[name]
        sample = shards.read(index)
        assert_same(sample.groups, reflectance(chip, geobench.FILE_ORDER), 66)
        assert shards.label_set.names[sample.class_index] == names[label]
        assert shards.entries[index].epsg == 32633
    assert not (tmp_path / "ran").exists()
    assert set(shards.manifest["published"]["splits"]) == {"default", "0.50x_train"}
    assert recognise(tmp_path / "geobench") == ["m-eurosat"]


def test_m_eurosat_with_mended_names_is_refused(tmp_path):
    truth = geobench.m_eurosat(tmp_path / "geobench", tmp_path / "ran")
    folder, right = tmp_path / "geobench" / "classification_v1.0" / "m-eurosat", geobench.S2
    for name, (chip, label) in truth.items():
        named = {right[band]: chip[i] for i, band in enumerate(geobench.FILE_ORDER)}
        geobench.write_sample(folder / f"{name}.hdf5", named, {"label": label})
    with pytest.raises(ShardError, match="are not those of the published edition"):
        prepared("m-eurosat", tmp_path / "geobench", tmp_path / "out")


def test_m_bigearthnet_has_no_place_and_several_classes(tmp_path):
    truth = geobench.m_bigearthnet(tmp_path)
    shards = prepared("m-bigearthnet", tmp_path / "m-bigearthnet", tmp_path / "out")
    table = json.loads((tmp_path / "out" / "chip_labels.json").read_text())
    names = [land_class.name for land_class in get_taxonomy("bigearthnet43").classes]
    for name, index in by_scene(shards).items():
        stack, label = truth[name]
        assert_same(shards.read(index).groups, reflectance(stack, geobench.L2A), 120)
        assert table[name] == sorted(np.array(names)[label == 1].tolist())
        assert shards.entries[index].epsg is None
    assert "Sea and ocean" in table["id_0000"]
    assert "Continuous urban fabric" in table["id_0000"]


def test_m_so2sat_takes_no_radar_for_a_band(tmp_path):
    truth = geobench.m_so2sat(tmp_path)
    shards = prepared("m-so2sat", tmp_path, tmp_path / "out")
    for name, index in by_scene(shards).items():
        stack, label = truth[name]
        sample = shards.read(index)
        assert_same(sample.groups, reflectance(stack, geobench.SO2SAT, 1.0), 36)
        assert sample.class_index == label
    assert {slot for sensor in shards.sensors.values() for slot in sensor.slots} == set(geobench.SO2SAT)


@pytest.mark.parametrize(
    ("form", "folder", "codes"), [("m-cashew-plant", "m-cashew-plant", 7), ("m-sa-crop-type", "m-SA-crop-type", 10)]
)
def test_masks_lie_on_their_chips_and_0_has_no_label(tmp_path, form, folder, codes):
    truth = geobench.m_segment(tmp_path, folder, ("2019-11-05",), codes)
    shards = prepared(form, tmp_path, tmp_path / "out")
    for name, index in by_scene(shards).items():
        stacks, mask = truth[name.replace("sample-", "sample_")]
        sample = shards.read(index)
        assert_same(sample.groups, reflectance(stacks[0], geobench.L2A), 258)
        np.testing.assert_array_equal(sample.label[:30, :30], np.where(mask == 0, 255, mask - 1))
        assert (sample.label[30:] == 255).all()
        assert shards.entries[index].datetime.startswith("2019-11-05")


def test_several_dates_become_their_median_or_the_one_asked_for(tmp_path):
    days = ("2019-11-05", "2019-11-10", "2019-11-15")
    truth = geobench.m_segment(tmp_path, "m-cashew-plant", days, 7)
    median = prepared("m-cashew-plant", tmp_path, tmp_path / "median")
    third = prepared("m-cashew-plant", tmp_path, tmp_path / "third", take=days[2])
    for name, index in by_scene(median).items():
        stacks = np.where(truth[name][0] == 0, np.nan, truth[name][0].astype(float))
        middle = np.rint(np.nanmedian(stacks, 0))
        assert_same(median.read(index).groups, reflectance(middle, geobench.L2A), 258)
        assert_same(third.read(index).groups, reflectance(stacks[2], geobench.L2A), 258)
        assert median.entries[index].datetime is None
    with pytest.raises(ShardError, match="has no bands of 2020-01-01"):
        prepared("m-cashew-plant", tmp_path, tmp_path / "none", take="2020-01-01")


def test_masks_that_were_turned_are_said(tmp_path):
    truth = geobench.m_segment(tmp_path, "m-SA-crop-type", ("2017-08-01",), 10, samples=6)
    rng = np.random.default_rng(5)
    for name, (stacks, _) in truth.items():
        fields = rng.integers(1, 10, (6, 6)).repeat(5, 0).repeat(5, 1)
        stacks[0] = stacks[0] * rng.uniform(0.6, 1.4, 10)[fields]
        bands = {f"{geobench.S2[b]}_2017-08-01": stacks[0, i] for i, b in enumerate(geobench.L2A)}
        path = tmp_path / "m-SA-crop-type" / f"{name}.hdf5"
        geobench.write_sample(path, bands | {"label": np.rot90(fields).astype(np.float32)}, {})
    prepared("m-sa-crop-type", tmp_path, tmp_path / "out")
    (said,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["warnings"]
    assert "fit their images better turned by 270 degrees" in said["what"]


def test_bytes_that_were_scaled_are_no_reflectance(tmp_path):
    truth = geobench.m_segment(tmp_path, "m-SA-crop-type", ("2017-08-01",), 10)
    for name, (stacks, mask) in truth.items():
        dark = {f"{geobench.S2[b]}_2017-08-01": stacks[0, i] // 40 for i, b in enumerate(geobench.L2A)}
        geobench.write_sample(tmp_path / "m-SA-crop-type" / f"{name}.hdf5", dark | {"label": mask}, {})
    with pytest.raises(ShardError, match="are they percent, or a picture of 8 bits"):
        prepared("m-sa-crop-type", tmp_path, tmp_path / "out")


def test_a_label_outside_the_set_and_a_damaged_file_are_refused(tmp_path):
    geobench.m_so2sat(tmp_path)
    path = tmp_path / "m-so2sat" / "id_0001.hdf5"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(LabelError, match="cannot be read as HDF5"):
        prepared("m-so2sat", tmp_path, tmp_path / "out")
    path.write_bytes(content)
    geobench.write_sample(path, {}, {"label": 17})
    with pytest.raises(LabelError, match="holds the label 17, which is no class"):
        prepared("m-so2sat", tmp_path, tmp_path / "out")
    geobench.write_sample(path, {}, {"label": geobench.Runs(tmp_path / "ran")})
    with pytest.raises(LabelError, match="which is no class"):
        prepared("m-so2sat", tmp_path, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
