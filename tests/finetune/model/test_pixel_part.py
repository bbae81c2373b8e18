import numpy as np
import pytest
import torch

from bandloom.finetune.baselines.features import context_bands
from bandloom.finetune.config import PerturbConfig
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, BlockSplit
from bandloom.finetune.model.near import PLANES, WIDE_PLANES, Near
from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.scores.band_drops import band_drops
from bandloom.finetune.scores.class_scorer import ClassScorer
from bandloom.finetune.scores.scoring import score_model
from bandloom.finetune.training.warm_start import fit_pixel_part
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2, task_model


def without_floor(bands):
    """The windows of a model from before there was a floor: plain deviations."""
    windows = Near(bands)
    windows.floor.zero_()
    return windows


def test_a_floor_steadies_deviations_of_nothing_and_hardly_moves_others():
    flat = torch.linspace(0.3, 3, 64)[None, :, None, None].expand(
        1, 64, 24, 24
    )  # in fp32 many means of squares are off
    steady, plain = (windows.planes(flat)[:, 256:].abs().max() for windows in (Near(64), without_floor(64)))
    assert steady < 1e-4
    assert plain > 5 * steady
    rough = torch.randn(1, 2, 24, 24)
    assert (Near(2).planes(rough) - without_floor(2).planes(rough)).abs().max() < 0.0101


def test_a_state_from_before_there_was_a_floor_gets_none():
    state = {name: value for name, value in Near(2).state_dict().items() if name != "floor"}
    windows = Near(2)
    assert windows.floor > 0
    windows.load_state_dict(state)
    assert windows.floor == 0


def test_planes_are_what_a_forest_with_surroundings_sees():
    pixels = np.random.default_rng(0).normal(0, 1, (3, 20, 22)).astype(np.float32)
    planes = without_floor(3).planes(torch.from_numpy(pixels)[None])[0].numpy()
    assert planes.shape == (15, 20, 22)
    np.testing.assert_array_equal(planes[:3], pixels)
    inner = (..., slice(4, -4), slice(4, -4))  # scipy's windows go on beyond the edge
    np.testing.assert_allclose(planes[inner], context_bands(pixels)[inner], atol=1e-4)


def test_a_window_at_the_edge_ends_there():
    flat = Near(2).planes(torch.full((1, 2, 12, 12), 0.7))
    assert torch.allclose(flat[:, [2, 3, 6, 7]], torch.tensor(0.7), atol=1e-6)  # means
    assert torch.allclose(flat[:, [4, 5, 8, 9]], torch.tensor(0.0), atol=2e-5)  # deviations


def test_a_small_deviation_survives_bfloat16():
    pixels = (2 + 0.1 * torch.randn(1, 3, 24, 24)).bfloat16()
    exact, found = Near(3).planes(pixels.float()), Near(3).planes(pixels)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), exact, rtol=2**-7)


def test_the_part_is_the_mean_of_its_networks():
    part = PixelPart(3, 4).eval()
    pixels = torch.randn(2, 3, 12, 12)
    logits, spectrum = part(pixels)
    near = part.near(part.windows(part.windows.planes(pixels)))
    wanted = (part.values(pixels) + part.coded(part.code(pixels)) + near) / 3
    assert torch.allclose(logits, wanted, atol=1e-6)
    assert spectrum.shape == (2, 64, 12, 12)


def test_planes_are_brought_to_one_scale():
    windows, planes = Near(3), torch.randn(500, 15) * 7 + 3
    planes[:, 4] = 0.2  # never changes
    windows.fit(planes)
    found = windows(planes.T[None, :, None])[0, :, 0]
    assert torch.allclose(found.mean(1), torch.zeros(15), atol=1e-4)
    kept = [i for i in range(15) if i != 4]
    assert torch.allclose(found.std(1)[kept], torch.full((14,), 0.5), atol=1e-4)


def test_fitted_networks_tell_fields_apart_and_leave_the_random_numbers_alone():
    data, model = PixelData(FakeShards(2), BlockSplit(300, 0), S2), task_model()
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    assert fit_pixel_part(model, model.head.pixel, data, 0, 60).loss < 0.2
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.slow
def test_networks_that_lost_bands_while_fitted_still_tell_fields_apart_by_three(monkeypatch):
    monkeypatch.setattr("bandloom.finetune.scores.band_drops.SUBSETS", ("RGB",))
    found = {}
    for share in (0.0, 0.8):
        data, model = PixelData(FakeShards(2), BlockSplit(300, 0), S2), task_model()
        fit_pixel_part(model, model.head.pixel, data, 0, 100, PerturbConfig(other_sensor=share))
        (rgb,) = band_drops(ClassScorer(), model, data)
        every = score_model("all", model, data, TEST)
        found[share] = tuple(np.trace(row.confusion) / row.confusion.sum() for row in (every, rgb))
    assert found[0.8][1] > found[0.0][1] + 0.1
    assert found[0.8][1] > 0.9
    assert found[0.8][0] > found[0.0][0] - 0.02


def test_a_wide_window_is_nine_windows_of_9_pixels_each_the_nearest_inside():
    """Against a naive loop: means of 9 x 9 pixels that end at the edge, at nine places 8 pixels apart."""
    pixels = torch.randn(1, 2, 30, 33, dtype=torch.float64)
    windows = without_floor(2)
    planes = windows.planes(pixels, wide=True)
    assert planes.shape == (1, 2 * WIDE_PLANES, 30, 33)
    assert torch.equal(planes[:, : 2 * PLANES], windows.planes(pixels))

    def mean(values: torch.Tensor, row: int, column: int) -> torch.Tensor:
        return values[..., max(0, row - 4) : row + 5, max(0, column - 4) : column + 5].mean((-2, -1))

    def reached(at: int, side: int) -> list[int]:
        return [min(max(at + step, 0), side - 1) for step in (-8, 0, 8)]

    def wide(values: torch.Tensor, row: int, column: int) -> torch.Tensor:
        rows, columns = reached(row, 30), reached(column, 33)
        return torch.stack([mean(values, r, c) for r in rows for c in columns]).mean(0)

    for row, column in ((15, 16), (0, 0), (29, 2), (7, 32)):
        means, squares = wide(pixels, row, column), wide(pixels.square(), row, column)
        torch.testing.assert_close(planes[:, 10:12, row, column], means)
        torch.testing.assert_close(planes[:, 12:, row, column], (squares - means.square()).sqrt())
    moved = pixels.clone()
    moved[..., 15, 29] += 100  # 13 columns from 16: beyond a window of 25
    assert torch.equal(windows.planes(moved, wide=True)[..., 15, 16], planes[..., 15, 16])
    moved[..., 15, 28] += 100
    assert not torch.equal(windows.planes(moved, wide=True)[..., 15, 16], planes[..., 15, 16])


def test_every_network_counts_by_its_weight():
    part = PixelPart(3, 4).eval()
    weights = [0.1, 0.2, 0.3, 0.25, 0.15]
    part.weigh(weights)
    pixels = torch.randn(2, 3, 26, 26)
    planes = part.windows.planes(pixels, wide=True)
    outputs = [
        part.values(pixels),
        part.coded(part.code(pixels)),
        part.near(part.windows(planes[:, : 3 * PLANES])),
        part.wide(part.surroundings(planes)),
        part.linear(pixels),
    ]
    wanted = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
    assert torch.allclose(part(pixels)[0], wanted, atol=1e-6)


def test_networks_without_weight_neither_train_nor_change_what_the_others_learn():
    """Against the same part with every network computed: equal loss and gradients to the bit."""
    torch.manual_seed(0)
    part, pixels = PixelPart(3, 4), torch.randn(2, 3, 26, 26)
    part.weigh([0.0, 0.0, 0.4, 0.6, 0.0])
    part.require_grad()
    assert {name.split(".")[0] for name, value in part.named_parameters() if value.requires_grad} == {
        "values",
        "near",
        "wide",
    }
    part.train()(pixels)[0].square().sum().backward()
    own = {name: value.grad for name, value in part.named_parameters() if value.grad is not None}
    part.zero_grad()
    part.requires_grad_(True)
    part._left_out = frozenset()
    part(pixels)[0].square().sum().backward()
    every = {name: value.grad for name, value in part.named_parameters()}
    assert set(own) == {name for name in every if name.split(".")[0] in ("values", "near", "wide")}
    assert all(torch.equal(gradient, every[name]) for name, gradient in own.items())
    assert all(not every[name].any() for name in every if name.split(".")[0] in ("coded", "linear"))
