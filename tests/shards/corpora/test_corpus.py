"""What a path says of a published split, and samples that are listed twice."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bandloom.errors import SceneError
from bandloom.shards.corpora.bigearthnet import _read_splits
from bandloom.shards.corpora.corpus import split_in
from bandloom.shards.corpora.mmearth import _splits


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("/data/TerraMesh/val/S2L1C/majortom_shard_000001.tar", "val"),
        ("/data/TerraMesh/train/S2L2A/ssl4eos12_shard_000794.tar", "train"),
        ("/data/S2L1C/ssl4eos12_val_seasonal_data_000001.zarr.zip", "val"),
        ("ssl4eos12_val_0080385.zarr.zip", "val"),
        ("/mnt/test/bandloom/S2L1C/majortom_shard_000001.tar", None),
        ("/home/train/data/S2L1C/majortom_shard_000001.tar", None),
        ("majortom_train_000001.tar", "train"),
        ("", None),
    ],
)
def test_a_split_is_said_by_a_name_or_the_folders_of_the_layout_and_not_by_a_users_disk(path, split):
    assert split_in(path) == split


def test_a_sample_listed_for_training_and_for_the_test_is_refused(tmp_path):
    table = tmp_path / "metadata.parquet"
    pq.write_table(pa.table({"patch_id": ["a", "b", "a"], "split": ["train", None, "test"]}), table)
    with pytest.raises(SceneError, match="lists a under train and under test"):
        _read_splits(table)
    lists = tmp_path / "data_splits.json"
    lists.write_text(json.dumps({"train": [0, 1], "val": [2], "test": [1]}))
    with pytest.raises(SceneError, match="lists 1 under train and under test"):
        _splits(lists)


def test_a_split_of_another_name_is_refused_and_not_passed_over(tmp_path):
    table = tmp_path / "metadata.parquet"
    pq.write_table(pa.table({"patch_id": ["a", "b"], "split": ["train", "tset"]}), table)
    with pytest.raises(SceneError, match="'tset'; expected train, validation, test"):
        _read_splits(table)
