"""OSCD as it is published: pairs of dates on one frame, and the map of changes on the later one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from bandloom.errors import LabelError, SceneError, ShardError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.experiment import open_data
from bandloom.finetune.public_sets.registry import open_set, recognise
from bandloom.shards.labels.problems import Problems
from tests.finetune.public_sets.replicas import oscd
from tests.finetune.public_sets.replicas.writing import assert_same, by_scene, prepared, write_tif


def reflectance(stack):
    return {band: np.where(stack[i] == 0, np.nan, stack[i] / 10000) for i, band in enumerate(oscd.ORDER)}


@pytest.mark.parametrize("placed", [False, True])
def test_cities_are_pairs_of_dates_with_their_own_changes(tmp_path, placed):
    truth = oscd.write(tmp_path / "oscd", placed=placed)
    shards = prepared("oscd", tmp_path / "oscd", tmp_path / "out")
    for key, index in by_scene(shards).items():
        city, number = key.split("-")
        dates, changed = truth[city]
        sample, entry = shards.read(index), shards.entries[index]
        assert_same(sample.groups, reflectance(dates[int(number) - 1]), 240)
        later = entry.datetime.startswith("2018")
        assert (sample.label is not None) == later == ((number == "2") != (city == "paris"))
        if later:
            np.testing.assert_array_equal(sample.label[:30, :30], changed)
            assert (sample.label[30:] == 255).all()
        assert entry.epsg == (32633 if placed else None)
    config = FinetuneConfig(**yaml.safe_load((tmp_path / "out" / "finetune.yaml").read_text()))
    data = open_data(config)
    data.check()
    assert len(data.indices) == len(truth)  # one pair a city, and no pair of two cities
    pairs = [(shards.entries[one].key[:5], shards.entries[two].key[:5]) for one, two in data.later.items()]
    assert all(one == two for one, two in pairs)
    counts = data.counts.sum(0)
    assert counts[2].sum() == 2 * 30 * 28  # two cities, the two rows that one date lacks aside
    assert recognise(tmp_path / "oscd") == ["oscd"]


def test_what_contradicts_itself_is_refused(tmp_path):
    root = tmp_path / "oscd"
    oscd.write(root)
    dates = root / f"{oscd.NAME}Images" / "milano" / "dates.txt"
    dates.write_text("date_1: 20160101\ndate_2: 20160101\n")
    with pytest.raises(LabelError, match="says 20160101 twice"):
        prepared("oscd", root, tmp_path / "out")
    dates.write_text("date_1: 20160101\ndate_2: 20180101\n")
    codes = np.full((30, 30), 7, np.uint8)
    write_tif(
        root / f"{oscd.NAME}Test Labels" / "milano" / "cm" / "cm.png", codes, driver="PNG", crs=None, transform=None
    )
    shards = prepared("oscd", root, tmp_path / "out")
    assert "holds 7; expected 0 and 255 alone" in (shards.path / "quarantine.jsonl").read_text()
    (root / f"{oscd.NAME}Train Labels" / "milano").mkdir()
    with pytest.raises((LabelError, ShardError), match="has labels of milano for training and for the test"):
        prepared("oscd", root, tmp_path / "two")


def test_two_files_of_one_band_are_refused(tmp_path):
    oscd.write(tmp_path / "oscd")
    public = open_set("oscd", str(tmp_path / "oscd"))
    sample = public.samples(Problems())[0]
    whole = Path(sample.path) / "B01.tif"
    shutil.copy(whole, whole.with_name("S2A_B01.tif"))
    with pytest.raises(SceneError, match="for one band"):
        public.open(sample.path)
