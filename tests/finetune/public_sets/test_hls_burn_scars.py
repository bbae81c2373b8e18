"""HLS Burn Scars as it is published: 30 m, fill values, the published validation as the test."""

import json

import numpy as np

from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import hls_burn_scars
from tests.finetune.public_sets.replicas.writing import by_scene, prepared


def test_scenes_of_30_m_hold_their_values_and_masks(tmp_path):
    truth = hls_burn_scars.write(tmp_path / "set")
    shards = prepared("hls-burn-scars", tmp_path / "set", tmp_path / "out")
    (sensor,) = shards.sensors.values()
    assert sensor.slots == hls_burn_scars.BANDS
    for name, (stack, codes) in truth.items():
        key, index = next((k, i) for k, i in by_scene(shards).items() if name.replace(".", "-") in k)
        sample, entry = shards.read(index), shards.entries[index]
        got, exact = sample.groups[30][:, :20, :20], stack.astype(float) * 10000 + 1000
        np.testing.assert_array_equal(got == 0, np.isnan(exact))
        assert np.nanmax(np.abs(np.where(got == 0, np.nan, got) - exact)) < 0.501  # rounded, ties of float32 aside
        fine = codes.repeat(3, 0).repeat(3, 1)
        np.testing.assert_array_equal(sample.label[:60, :60], np.where(fine < 0, 255, fine))
        assert (entry.split == "test") == key.startswith("validation")
    assert any(entry.datetime.startswith("2018-10-12") for entry in shards.entries)  # day 285
    assert shards.manifest["published"]["splits"]["official"] == {"test": 1, "train": 2, "val": 1}
    assert recognise(tmp_path / "set") == ["hls-burn-scars"]


def test_a_scene_without_a_mask_is_named(tmp_path):
    from bandloom.finetune.public_sets.prepare import SetRequest, examine_set

    hls_burn_scars.write(tmp_path / "set")
    next((tmp_path / "set" / "training").glob("*T10TGS*.mask.tif")).unlink()
    found = examine_set(SetRequest("hls-burn-scars", tmp_path / "set"))
    assert "has no mask beside it" in json.dumps(found.to_dict())
