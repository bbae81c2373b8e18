"""Interpolation by matrices against torch's, which the authors of most encoders call."""

import numpy as np
import pytest
import torch

from bandloom.public_encoders.plain_vit import resized_table


@pytest.mark.parametrize("side", [3, 12, 14, 20])
@pytest.mark.parametrize("mode", [{"antialias": True}, {"align_corners": False}, {"align_corners": True}])
def test_positions_are_interpolated_as_torch_does(side, mode):
    table = torch.from_numpy(np.random.default_rng(side).normal(size=(1, 2, 14, 14)).astype(np.float32))
    expected = torch.nn.functional.interpolate(table, (side, 9), mode="bicubic", **mode)
    corners = mode.get("align_corners", False)
    found = resized_table(table[0].flatten(1).T, side, 9, antialias="antialias" in mode, corners=corners)
    torch.testing.assert_close(found.T.unflatten(1, (side, 9)), expected[0], atol=1e-5, rtol=1e-5)
