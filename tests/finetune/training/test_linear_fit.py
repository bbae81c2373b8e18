"""The linear map against scikit-learn's logistic and ridge regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score

from bandloom.finetune.model.near import WIDE_PLANES
from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.training import linear_fit
from bandloom.finetune.training.linear_fit import STRENGTHS, fit_linear, minimised
from bandloom.finetune.training.pixel_network import LabelledPixels

BANDS = 4


def spectra(count: int, seed: int) -> LabelledPixels:
    """Return pixels of three classes whose bands overlap."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    planes = rng.normal(size=(count, BANDS * WIDE_PLANES))
    planes[:, :BANDS] += np.array([[0, 0, 0, 0], [1, 0, 3, 0], [0, 2, 0, -1]])[labels]
    planes[:, 2] *= 50
    return LabelledPixels(torch.from_numpy(planes).float(), torch.from_numpy(labels))


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_classes_have_the_logistic_regression_of_scikit_learn(strength):
    pixels = spectra(600, 0)
    rows = pixels.planes[:, :BANDS].double() / torch.tensor([1, 1, 50, 1])
    weight, bias = minimised(rows, pixels.labels, 3, strength)
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(rows.numpy(), pixels.labels.numpy())
    np.testing.assert_allclose(weight.numpy(), theirs.coef_, atol=2e-4)
    np.testing.assert_allclose((bias - bias.mean()).numpy(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-4)


def test_values_have_its_ridge_regression_and_shares_that_are_whole_that_of_classes():
    pixels = spectra(500, 1)
    rows = pixels.planes[:, :BANDS].double() / torch.tensor([1, 1, 50, 1])
    values = rows @ torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64) + 1
    weight, bias = minimised(rows, values, 1, 0.5)
    theirs = Ridge(alpha=1.0).fit(rows.numpy(), values.numpy())  # the sum of squares is halved against half the map's
    np.testing.assert_allclose(weight[0].numpy(), theirs.coef_, atol=1e-4)
    assert bias.item() == pytest.approx(theirs.intercept_, abs=1e-4)
    shares = torch.nn.functional.one_hot(pixels.labels, 3).double()
    np.testing.assert_allclose(minimised(rows, shares, 3, 1.0)[0], minimised(rows, pixels.labels, 3, 1.0)[0], atol=1e-6)


def test_validation_chooses_how_strongly_it_is_held_and_the_map_is_that_of_bands_as_they_come():
    part, train, val = PixelPart(BANDS, 3, width=8), spectra(300, 2), spectra(2000, 3)
    outputs = fit_linear(part, train, val, 0)
    image = val.planes[:, :BANDS].T[None, :, None]
    torch.testing.assert_close(part.linear(image)[0, :, 0].T, outputs, atol=1e-4, rtol=1e-4)
    rows = train.planes[:, :BANDS].numpy()
    rows, seen = ((x - rows.mean(0)) / rows.std(0, ddof=1) for x in (rows, val.planes[:, :BANDS].numpy()))
    scores = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(rows, train.labels.numpy())
        scores.append(f1_score(val.labels, model.predict(seen), average="macro"))
    assert f1_score(val.labels, outputs.argmax(1), average="macro") == pytest.approx(max(scores), abs=2e-3)


def test_only_so_many_pixels_are_drawn_and_those_with_fewer_bands_lie_beside(monkeypatch):
    monkeypatch.setattr(linear_fit, "PIXELS", 50)
    sizes = []

    def hide(planes: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        sizes.append(len(planes))
        return planes * 0

    part, drawn = PixelPart(BANDS, 3, width=8), spectra(300, 4)
    fit_linear(part, drawn, spectra(100, 5), 0, hide)
    assert sizes == [50]
    spread = part.linear(torch.zeros(1, BANDS, 1, 1)).squeeze().softmax(0)
    assert spread.min() > 0.05  # half of what it saw had no band at all
