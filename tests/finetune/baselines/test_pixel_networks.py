import pytest
import torch

from bandloom.errors import CheckpointError
from bandloom.finetune.baselines.pixel_networks import PixelNetwork, UNet, timm_classifier
from bandloom.model.statistics import Statistics
from tests.finetune.models import LABELS, S2, chips, encoder, task_model

STATISTICS = Statistics(mean=dict.fromkeys(S2.slots, 0.2), std=dict.fromkeys(S2.slots, 0.1))


@pytest.mark.parametrize("side", [24, 30, 36])
def test_a_u_net_keeps_any_even_size(side):
    assert UNet(13, 3, width=8)(torch.randn(2, 13, side, side)).shape == (2, 3, side, side)


def test_pixels_are_normalised_as_the_encoder_normalises_them():
    class Same(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

    network = PixelNetwork(Same(), S2, LABELS, "segment", 24, STATISTICS)
    assert torch.allclose(network(chips()), task_model().pixel_bands(chips()), atol=1e-6)
    assert encoder().statistics == STATISTICS


def test_timms_networks_take_all_bands():
    network = PixelNetwork(timm_classifier("resnet10t", 13, 3), S2, LABELS, "classify", 24, STATISTICS)
    assert network.eval()(chips()).shape == (2, 3)


def test_a_sensor_without_statistics_is_refused():
    with pytest.raises(CheckpointError):
        PixelNetwork(UNet(13, 3, 8), S2, LABELS, "segment", 24, Statistics(mean={"B02": 0.1}, std={"B02": 0.1}))
