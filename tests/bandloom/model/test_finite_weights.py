from pathlib import Path

import pytest
import torch

from bandloom.errors import CheckpointError
from bandloom.model.finite_weights import require_finite


def test_finite_weights_pass_and_whole_numbers_are_not_asked():
    require_finite({"a": torch.ones(3), "count": torch.tensor(7), "none": torch.empty(0)}, Path("w.pt"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_weight_that_is_no_number_is_named(value, dtype):
    weights = {"fine": torch.ones(3), "block.weight": torch.tensor([1.0, value]).to(dtype)}
    with pytest.raises(CheckpointError, match=r"w\.pt holds NaN or infinite weights \(the first in block\.weight\)"):
        require_finite(weights, Path("w.pt"))
