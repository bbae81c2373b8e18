"""The fast per-pixel networks are the function that they were."""

import pytest
import torch

from bandloom.export.from_torch.half_precision import CastGraph
from bandloom.export.from_torch.to_onnx import DeployGraph
from bandloom.finetune.model.native_bands import BandGroup, stacked
from bandloom.finetune.model.near import Near
from bandloom.finetune.model.pixel_part import PixelPart
from benchmarks.fit_speed import logits_before, planes_before
from tests.finetune.models import chips, task_model


@pytest.fixture
def groups() -> list[BandGroup]:
    torch.manual_seed(0)
    return [
        BandGroup(torch.randn(2, bands, 24 // factor, 36 // factor, dtype=torch.float64), factor)
        for bands, factor in ((4, 1), (6, 2), (3, 6))
    ]


def test_bands_on_their_own_grids_have_the_logits_of_bands_copied_to_10_m(groups: list[BandGroup]):
    part = PixelPart(13, 5).double()
    part.windows.floor.zero_()
    part.code.fit(torch.randn(500, 13, dtype=torch.float64))
    part.windows.fit(torch.randn(500, 65, dtype=torch.float64))
    with torch.no_grad():
        assert torch.allclose(part(groups)[0], logits_before(part, groups), atol=1e-6)
        assert torch.allclose(part(groups)[0], part(stacked(groups))[0], atol=1e-9)


@pytest.mark.parametrize("side", [1, 3, 8, 9, 10])
def test_windows_of_a_chip_smaller_than_they_are_end_at_its_edge(side: int):
    pixels = torch.randn(1, 3, side, side + 2, dtype=torch.float64)
    windows = Near(pixels.shape[1])
    windows.floor.zero_()
    assert torch.allclose(windows.planes(pixels), planes_before(pixels), atol=1e-7)


@pytest.mark.parametrize("wide", [(), ("head.pixel",), ("head.pixel.coded.0",), ("head",)])
def test_a_16_bit_model_reads_bands_on_their_own_grids_whatever_stays_in_fp32(wide: tuple[str, ...]):
    model = task_model().eval()
    pairs = [torch.stack([dn.int() % 256, dn.int() // 256], -1).to(torch.uint8) for dn in chips().values()]
    with torch.no_grad():
        wanted = DeployGraph(model)(*pairs)
        assert torch.allclose(CastGraph(model, "fp16", wide)(*pairs), wanted, atol=2e-3)
