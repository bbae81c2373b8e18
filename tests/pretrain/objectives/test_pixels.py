"""The loss against a loop that a person can check."""

import numpy as np
import pytest
import torch

from bandloom.model.statistics import Statistics
from bandloom.model.token_layout import reference_layout
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives import Decoded, LatentTarget
from bandloom.pretrain.objectives.pixels import Prediction, normalise_target, pixel_loss
from bandloom.sensors import SENSORS, SLOTS

S2 = SENSORS["sentinel2-l1c"]
LAYOUT = reference_layout(60)


def random_prediction(seed: int = 0) -> Prediction:
    rng = torch.Generator().manual_seed(seed)
    shape = (2, 9, LAYOUT.samples)
    return Prediction(
        torch.randn(shape, generator=rng),
        torch.randn(shape, generator=rng),
        torch.rand(shape, generator=rng) < 0.7,
        torch.rand(shape[:2], generator=rng) < 0.75,
        LAYOUT,
    )


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
    assert float(pixel_loss(prediction, ObjectiveConfig()).loss()) == pytest.approx(np.mean(means), rel=1e-5)


def test_visible_tokens_and_absent_samples_cost_nothing() -> None:
    prediction = random_prediction()
    counted = prediction.valid & prediction.mask[..., None]
    wrong = torch.where(counted, prediction.samples, 1e6)
    moved = Prediction(wrong, prediction.target, prediction.valid, prediction.mask, LAYOUT)
    moved_loss, loss = (pixel_loss(each, ObjectiveConfig()).loss() for each in (moved, prediction))
    assert torch.equal(moved_loss, loss)


def test_a_batch_without_any_valid_sample_costs_zero_and_is_finite() -> None:
    prediction = random_prediction()
    prediction.samples.requires_grad_()
    empty = Prediction(
        prediction.samples, prediction.target, torch.zeros_like(prediction.valid), prediction.mask, LAYOUT
    )
    loss = pixel_loss(empty, ObjectiveConfig()).loss()
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


def latent_case(valid: torch.Tensor | None = None) -> tuple[LatentTarget, Decoded]:
    torch.manual_seed(0)
    config = ObjectiveConfig(kind="latent", latent_dim=16, temperature=0.2)
    target = LatentTarget(config, 60, Statistics(mean=dict.fromkeys(SLOTS, 0.2), std=dict.fromkeys(SLOTS, 0.1)))
    found = random_prediction()
    outputs = torch.randn(2, 9, 16, requires_grad=True)
    measured = found.valid if valid is None else valid
    return target, Decoded(outputs, found.target * measured, measured, found.mask, S2)


def test_the_latent_loss_equals_a_naive_loop() -> None:
    target, decoded = latent_case()
    true = target.projection(decoded.samples, decoded.valid, S2)
    costs = []
    for b in range(2):
        hidden = [t for t in range(9) if decoded.mask[b, t]]
        for t in hidden:
            said = decoded.outputs[b, t].detach()
            scores = [float(torch.cosine_similarity(said, true[b, k], dim=0)) / 0.2 for k in hidden]
            costs.append(-scores[hidden.index(t)] + float(np.log(np.exp(scores).sum())))
    assert float(target(decoded).loss().detach()) == pytest.approx(np.mean(costs), rel=1e-5)


def test_the_latent_target_is_never_trained_and_absent_tokens_cost_nothing() -> None:
    target, decoded = latent_case()
    assert not any(parameter.requires_grad for parameter in target.parameters())
    empty, nothing = latent_case(torch.zeros_like(decoded.valid))
    loss = empty(nothing).loss()
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert nothing.outputs.grad is not None
    assert not nothing.outputs.grad.any()


def test_a_perfect_prediction_costs_next_to_nothing() -> None:
    target, decoded = latent_case()
    true = target.projection(decoded.samples, decoded.valid, S2)
    target.temperature = 0.01
    perfect = Decoded(true, decoded.samples, decoded.valid, decoded.mask, S2)
    assert float(target(perfect).loss()) < 1e-3 < float(target(decoded).loss().detach())
