"""Per-pixel networks are fitted until validation says stop, and weighed by it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bandloom.finetune.model.near import WIDE_PLANES
from bandloom.finetune.model.pixel_part import FIRST, NETWORKS, PixelPart
from bandloom.finetune.training.fit_pixels import fit_pixels
from bandloom.finetune.training.pixel_network import (
    LOOK_STEPS,
    PATIENCE,
    PEAK_LR,
    LabelledPixels,
    PixelNetwork,
    pixel_loss,
)
from bandloom.training.schedule import warm_cosine

BANDS = 3


def pixels(count: int, seed: int, *, of_windows: bool = True) -> LabelledPixels:
    """Return pixels whose class lies in a window's mean alone, or in nothing."""
    planes = torch.randn(count, BANDS * WIDE_PLANES, generator=torch.Generator().manual_seed(seed))
    chance = torch.randint(0, 2, (count,), generator=torch.Generator().manual_seed(seed + 1))
    return LabelledPixels(planes, (planes[:, BANDS] > 0).long() if of_windows else chance)


def part(seed: int = 0) -> PixelPart:
    torch.manual_seed(seed)
    return PixelPart(BANDS, 2, width=16)


def test_a_network_that_the_mean_is_better_without_gets_no_weight_and_is_not_computed():
    fitted = part()
    fit = fit_pixels(fitted, pixels(2000, 0), pixels(1000, 2), 0, 300)
    assert fit.weights["values"] == fit.weights["coded"] == fit.weights["linear"] == 0
    assert fit.weights["near"] + fit.weights["wide"] == 1
    assert fit.loss < 0.1
    image = torch.randn(1, BANDS, 12, 12)
    logits = fitted.eval()(image)[0]
    fitted.coded = None  # type: ignore[assignment]
    assert torch.equal(fitted(image)[0], logits)
    again = part(1).eval()
    again.load_state_dict({**part().state_dict(), **fitted.state_dict()})
    assert torch.equal(again(image)[0], logits)


def test_the_mean_of_a_part_on_an_image_is_what_was_chosen_on_rows_of_pixels():
    fitted, val = part(), pixels(500, 2)
    fit = fit_pixels(fitted, pixels(2000, 0), val, 0, 20)
    networks = [PixelNetwork(fitted, name, 0, val.planes) for name in NETWORKS[:-1]]
    bands = val.planes[:, :BANDS].T[None, :, None]
    weighted = sum(fit.weights[network.name] * network.logits(val.planes) for network in networks)
    weighted = weighted + fit.weights["linear"] * fitted.linear(bands)[0, :, 0].T.detach()
    assert isinstance(weighted, Tensor)
    assert float(pixel_loss(weighted, val.labels)) == pytest.approx(fit.loss, abs=1e-6)
    rows = networks[0].logits(val.planes)
    assert torch.allclose(fitted.values(bands)[0, :, 0].T, rows, atol=1e-6)
    assert torch.allclose(fitted.coded(fitted.code(bands))[0, :, 0].T, networks[1].logits(val.planes), atol=1e-6)


def test_fitting_ends_once_validation_has_gained_nothing_for_long_and_keeps_the_best_step():
    counted, fitted = [], part()

    def count(planes: Tensor, _: torch.Generator) -> Tensor:
        counted.append(len(planes))
        return planes

    fit = fit_pixels(fitted, pixels(200, 0, of_windows=False), pixels(500, 4, of_windows=False), 0, 5000, count)
    assert LOOK_STEPS * (PATIENCE + 1) <= len(counted) < 2500  # nothing can be learnt
    assert len(counted) <= max(fit.steps.values()) + LOOK_STEPS * PATIENCE + 1  # the linear map asks once


def test_the_same_seed_fits_the_same_networks():
    states = []
    for _ in range(2):
        fitted = part()
        fit_pixels(fitted, pixels(500, 0), pixels(200, 2), 3, 30)
        states.append(fitted.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_without_validation_pixels_the_networks_count_alike():
    fit = fit_pixels(part(), pixels(500, 0), None, 0, 30)
    assert fit.weights == {name: 1 / 3 if name in FIRST else 0.0 for name in NETWORKS}


def test_a_state_from_before_there_were_weights_is_the_plain_mean():
    old = part()
    state = {name: value for name, value in old.state_dict().items() if name != "weights"}
    now = part(1)
    now.weigh([0.0, 0.0, 1.0, 0.0, 0.0])
    now.load_state_dict(state)
    image = torch.randn(1, BANDS, 12, 12)
    assert torch.equal(now.eval()(image)[0], old.eval()(image)[0])


def test_dropout_is_drawn_byte_by_byte_whatever_the_width():
    network = PixelNetwork(part(), "near", 5, pixels(10, 0).planes)
    drawn = np.random.default_rng([5, NETWORKS.index("near")])
    for shape in ((7, 3), (16, 8), (1, 1)):
        size = -(-shape[0] * shape[1] // 8) * 8
        kept = (drawn.integers(0, 256, size, dtype=np.uint8) >= 77)[: shape[0] * shape[1]].reshape(shape)
        np.testing.assert_array_equal(network._dropout(torch.Size(shape), 0.3).numpy(), kept * np.float32(256 / 179))


def test_steps_are_those_of_plain_adam_on_each_weight():
    """Weights lie in a row while they are fitted: the same numbers to the bit, the part's own untouched until then."""
    fitted, given, plain = part(), pixels(64, 0), part()
    network = PixelNetwork(fitted, "values", 0, given.planes)
    adam = torch.optim.AdamW(plain.values.parameters(), lr=PEAK_LR["values"], weight_decay=1e-4, fused=True)
    rows = given.planes[:, :BANDS]
    for step in range(5):
        network.step(rows, given.labels, step, 20)
        adam.param_groups[0]["lr"] = warm_cosine(step, 20, 20, PEAK_LR["values"])
        adam.zero_grad()
        pixel_loss(network._forward(rows, list(plain.values.parameters()), 0.0), given.labels).backward()
        adam.step()
    for own, weight, expected in zip(
        fitted.values.parameters(), network.weights, plain.values.parameters(), strict=True
    ):
        assert torch.equal(weight, expected)
        assert not torch.equal(own, expected)
    network.keep_best()
    assert torch.equal(next(fitted.values.parameters()), network.average[0])
    assert next(fitted.values.parameters()).untyped_storage().nbytes() == 4 * 16 * BANDS  # its own memory, not a row's
