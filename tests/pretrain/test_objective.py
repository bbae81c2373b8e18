"""The loss against a loop that a person can check."""

import numpy as np
import pytest
import torch

from bandloom.token_layout import reference_layout
from pretrain.config import ObjectiveConfig
from pretrain.objective import Prediction, normalise_target, pixel_loss

LAYOUT = reference_layout(60)


def random_prediction(seed: int = 0) -> Prediction:
    rng = torch.Generator().manual_seed(seed)
    shape = (2, 9, LAYOUT.samples)
    return Prediction(
        torch.randn(shape, generator=rng), torch.randn(shape, generator=rng), torch.rand(shape, generator=rng) < 0.7,
        torch.rand(shape[:2], generator=rng) < 0.75, LAYOUT,
    )  # fmt: skip


def test_the_loss_equals_a_naive_loop() -> None:
    prediction = random_prediction()
    means = []
    for part in (slice(0, 144), slice(144, 198), slice(198, 201)):
        errors = []
        for b in range(2):
            for t in range(9):
                for s in range(*part.indices(201)):
                    if prediction.mask[b, t] and prediction.valid[b, t, s]:
                        distance = abs(float(prediction.samples[b, t, s] - prediction.target[b, t, s]))
                        errors.append(distance**2 / 0.2 if distance < 0.1 else distance - 0.05)
        means.append(np.mean(errors))
    assert float(pixel_loss(prediction, ObjectiveConfig())) == pytest.approx(np.mean(means), rel=1e-5)


def test_visible_tokens_and_absent_samples_cost_nothing() -> None:
    prediction = random_prediction()
    counted = prediction.valid & prediction.mask[..., None]
    wrong = torch.where(counted, prediction.samples, 1e6)
    moved = Prediction(wrong, prediction.target, prediction.valid, prediction.mask, LAYOUT)
    assert torch.equal(pixel_loss(moved, ObjectiveConfig()), pixel_loss(prediction, ObjectiveConfig()))


def test_a_batch_without_any_valid_sample_costs_zero_and_is_finite() -> None:
    prediction = random_prediction()
    prediction.samples.requires_grad_()
    empty = Prediction(
        prediction.samples, prediction.target, torch.zeros_like(prediction.valid), prediction.mask, LAYOUT
    )
    loss = pixel_loss(empty, ObjectiveConfig())
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(prediction.samples.grad).all()


@pytest.mark.parametrize("how", ["group", "token"])
def test_normalised_targets_have_zero_mean_and_unit_deviation_over_valid_samples(how: str) -> None:
    prediction = random_prediction()
    normal = normalise_target(prediction.target * 3 + 1, prediction.valid, LAYOUT, how)
    part = slice(0, 144) if how == "group" else slice(0, 201)
    own = normal[0, 0, part][prediction.valid[0, 0, part]]
    assert abs(float(own.mean())) < 1e-4
    assert float(own.std(correction=0)) == pytest.approx(1, abs=1e-3)
