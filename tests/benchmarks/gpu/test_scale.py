"""How much the GPU benchmarks run."""

from dataclasses import replace

import torch

from benchmarks.gpu.feeding import fed
from benchmarks.gpu.scale import Scale, smoke
from benchmarks.gpu.steps import step


def test_a_card_is_fed_whole_batches_and_copies_are_timed(tmp_path):
    assert Scale(torch.device("cuda"), tmp_path).loader_batch == 1024
    scale = replace(smoke(tmp_path), steps=1, loader_batch=4, scenes=2)
    row = fed(scale, pinned=False, beside=True)
    assert row["batch"] == 4
    assert row["copy_ms"] > 0
    # uint16 of 4 samples of 60 px: 4 bands of 10 m, 6 of 20 m, 3 of 60 m
    assert row["batch_mb"] == 4 * 2 * (4 * 60**2 + 6 * 30**2 + 3 * 10**2) / 1e6
    timed = step("demo", 4, 1, scale)
    assert timed["samples_per_s"] > 0
    assert timed["samples_per_s_copied"] > 0
