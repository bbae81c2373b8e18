"""Probes by several ranks."""

from pathlib import Path

import pytest

from bandloom.scores import read_scores
from tests.bandloom.tiny_training import run_ranks
from tests.finetune.small_run import CONFIG

PROBE = "tests.finetune.finetune_process:probe_in_shares"


@pytest.mark.slow
def test_two_ranks_encode_and_fit_a_share_each_and_score_what_one_does(
    tmp_path: Path, chip_shards: Path, encoder_folder: Path
):
    split = {"kind": "block", "block_m": 1200, "buffer_m": 0}
    config = CONFIG | {
        "shards": str(chip_shards),
        "checkpoint": str(encoder_folder),
        "task": "classify",
        "split": split,
        "baselines": ["majority"],
    }
    config.pop("chip_px", None)
    (alone,) = run_ranks(PROBE, 1, tmp_path, run=str(tmp_path / "one"), config=config)
    shared = run_ranks(PROBE, 2, tmp_path, run=str(tmp_path / "two"), config=config)
    assert [result["code"] for result in (alone, *shared)] == [0, 0, 0]
    assert shared[0]["batches"] + shared[1]["batches"] == alone["batches"]
    assert abs(shared[0]["batches"] - shared[1]["batches"]) <= 4  # one of each of four sets of features
    assert set(shared[0]["fits"]) | set(shared[1]["fits"]) == set(alone["fits"])
    assert not set(shared[0]["fits"]) & set(shared[1]["fits"])
    one, two = (read_scores(tmp_path / name / "metrics.json") for name in ("one", "two"))
    assert [(row.name, row.scores) for row in two.rows] == [(row.name, row.scores) for row in one.rows]
