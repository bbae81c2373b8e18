"""Lanes of an engine over a stand-in that holds NVIDIA's rules of capturing."""

import numpy as np
import pytest

from bandloom.export.runtimes.onnx_runner import OnnxRunner
from tests.export.fake_gpu import FakeCudart
from tests.export.runtimes.test_engine_runner import loaded, model  # noqa: F401
from tests.export.tiny_model import random_chips, tiny_contract


@pytest.mark.parametrize("batches", [(4, 4, 3, 4), (4, 3, 4), (3, 4, 4, 3, 4, 4), (2, 2, 4, 6, 4, 4)])
def test_a_graph_is_captured_from_a_settled_context_that_nothing_changes_afterwards(model, batches):  # noqa: F811
    """The stand-in holds NVIDIA's two rules; with one context for all batches it fails here."""
    cudart = FakeCudart()
    runner, plain = loaded(model, cudart), OnnxRunner(model, threads=1)
    runner._free.get().close()  # one lane, so that every batch meets the same contexts
    for seed, count in enumerate(batches):
        chips = random_chips(tiny_contract(), count, seed)
        np.testing.assert_allclose(runner.run(chips), plain.run(chips), atol=1e-6)
    assert cudart.launched == batches.count(4) - 1
