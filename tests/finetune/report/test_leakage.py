"""A random split flatters a model on ground whose neighbours resemble each other; blocks do not."""

import numpy as np
import pytest
from scipy import ndimage

from bandloom.finetune.baselines.classic import run_baselines
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.split_choice import make_split
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.data.splits import BlockSplit
from bandloom.finetune.report.leakage import leakage_gap, leakage_line
from bandloom.finetune.tasks.segment import SEGMENT
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import LABELS, S2


def correlated(side_px: int = 120) -> FakeShards:
    """Labels and pixels are smooth fields that know nothing of each other: nothing can be learnt but places."""
    shards, rng = FakeShards(2, side_px), np.random.default_rng(0)
    for number, sample in enumerate(shards.samples):
        fields = [ndimage.gaussian_filter(rng.standard_normal((side_px, side_px)), 8) for _ in range(4)]
        ranks = fields[3].argsort(axis=None).argsort().reshape(side_px, side_px)
        label = (3 * ranks // side_px**2).astype(np.uint8)
        groups = {gsd: np.full_like(group, 3000) for gsd, group in sample.groups.items()}
        groups[10] = np.stack([3000 + 15_000 * field for field in (*fields[:3], fields[0])]).astype(np.uint16)
        shards.samples[number] = type(sample)(sample.key, S2, groups, label, None)
    return shards


def score(split) -> float:
    data = PixelData(correlated(), split, S2)
    (row,) = run_baselines(["pixel_rf"], data, 0, SEGMENT.baselines)
    return row.scores(LABELS.names)["macro_f1"]


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_random_split_scores_what_blocks_show_to_be_nothing(monkeypatch):
    monkeypatch.setattr("bandloom.finetune.baselines.classic.FIT_PIXELS", 4000)
    monkeypatch.setattr("bandloom.finetune.baselines.classic.SCORE_PIXELS", 6000)
    random, blocks = score(BlockSplit(10, 0)), score(BlockSplit(300, 60))
    assert random > 0.6
    assert blocks < 0.5
    assert random - blocks > 0.2


def test_the_gap_of_a_run_is_measured_and_said(scene_shards, monkeypatch):
    monkeypatch.setattr("bandloom.finetune.baselines.classic.FIT_PIXELS", 1000)
    monkeypatch.setattr("bandloom.finetune.baselines.classic.SCORE_PIXELS", 2000)
    config = FinetuneConfig(shards=scene_shards, split=SplitConfig(kind="random"))
    found = leakage_gap(config)
    assert found is not None
    assert found["gap"] == pytest.approx(found["random"] - found["block"])
    assert found["baseline"] == "context_rf"
    assert "is what neighbours give away" in leakage_line(found)


def test_places_marked_buffer_or_duplicate_are_in_no_role_of_a_given_split():
    from dataclasses import replace

    shards = FakeShards(5, 24)
    marks = ("train", "val", "test", "buffer", "duplicate")
    shards.entries = [replace(entry, split=mark) for entry, mark in zip(shards.entries, marks, strict=True)]
    data = PixelData(shards, make_split(SplitConfig(kind="given"), shards, PixelData, S2), S2)
    assert [data.indices_of(role).tolist() for role in range(3)] == [[0], [1], [2]]
