"""Stochastic depth: what it leaves out, how often, and that a sample's draw is its own."""

from types import SimpleNamespace

import numpy as np
import torch
from timm.layers.drop import DropPath
from torch import nn

from bandloom.draws.sample_draws import seen
from bandloom.model.stochastic_depth import StochasticDepth, draw_depth


def drawn(draws: np.ndarray, rates: tuple[float, ...]) -> torch.Tensor:
    """Return what each layer makes of a branch of ones for each sample, ``(layers, samples)``."""
    layers = nn.ModuleList(StochasticDepth(rate) for rate in rates)
    with seen(SimpleNamespace(draws=draws)):
        draw_depth(list(layers), torch.ones(len(draws), 1))  # type: ignore[arg-type]
    return torch.stack([layer(torch.ones(len(draws), 2, 3))[:, 0, 0] for layer in layers])


def test_a_sample_draws_alike_in_any_company_and_apart_from_layer_to_layer():
    draws = np.arange(512, dtype=np.uint64) * 977
    together = drawn(draws, (0.3, 0.3))
    assert torch.equal(torch.cat([drawn(draws[:100], (0.3, 0.3)), drawn(draws[100:], (0.3, 0.3))], 1), together)
    assert 0.3 < (together[0] != together[1]).float().mean() < 0.55  # 2 * 0.3 * 0.7 = 0.42


def test_the_share_left_out_is_the_rate_and_the_mean_stays_as_timms_does():
    made = drawn(np.arange(20_000, dtype=np.uint64), (0.2,))[0]
    assert set(made.unique().tolist()) == {0.0, 1.25}
    assert abs((made == 0).float().mean() - 0.2) < 0.01
    torch.manual_seed(0)
    timms = DropPath(0.2).train()(torch.ones(20_000, 1))
    assert set(timms.unique().tolist()) == {0.0, 1.25}


def test_outside_training_and_at_rate_0_the_branch_passes_as_it_is():
    branch = torch.randn(4, 2, 3)
    assert torch.equal(StochasticDepth(0.9).eval()(branch), branch)
    assert torch.equal(StochasticDepth(0.0).train()(branch), branch)


def test_samples_that_nobody_named_are_drawn_from_torchs_generator():
    layer = StochasticDepth(0.5)
    draw_depth([layer], torch.ones(64, 1))
    assert layer.at is None
    torch.manual_seed(1)
    first = layer(torch.ones(64, 1))
    torch.manual_seed(1)
    assert torch.equal(layer(torch.ones(64, 1)), first)
    assert 10 < int((first == 0).sum()) < 54
