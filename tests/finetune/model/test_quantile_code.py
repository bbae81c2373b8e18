import numpy as np
import torch

from bandloom.finetune.model.quantile_code import STEPS, QuantileCode


def test_the_code_of_a_band_sums_to_its_rank_by_interpolation():
    pixels = torch.from_numpy(np.random.default_rng(0).gamma(2.0, 0.4, (4000, 3)).astype(np.float32))
    code = QuantileCode(3)
    code.fit(pixels)
    planes = code(pixels.T[None, :, None])  # (1, 3 * STEPS, 1, N)
    climbed = planes.unflatten(1, (3, STEPS)).sum(2)[0, :, 0].numpy()
    edges = np.quantile(pixels.numpy(), np.linspace(0.002, 0.998, STEPS + 1), axis=0)
    for band in range(3):
        wanted = np.interp(pixels[:, band].numpy(), edges[:, band], np.arange(STEPS + 1))
        np.testing.assert_allclose(climbed[band], wanted, atol=2e-3)


def test_a_band_that_never_changes_is_coded_without_infinities():
    code = QuantileCode(1)
    code.fit(torch.full((50, 1), 0.3))
    assert torch.isfinite(code(torch.tensor([[[[-1.0, 0.3, 5.0]]]]))).all()
