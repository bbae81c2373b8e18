"""One batch against every cutting of it into micro batches and ranks: one loss, one gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bandloom.errors import ConfigError
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import LossSums
from tests.bandloom.tiny_training import run_ranks
from tests.bandloom.training.cuttings import CASES, cut
from tests.bandloom.training.test_deepspeed_engine import real

Outcome = tuple[float, dict[str, Tensor]]


def differ(found: Outcome, whole: Outcome) -> tuple[float, float]:
    """Return the relative difference of losses, and that of gradients by their common norm."""
    one, other = (torch.cat([g.flatten() for g in each[1].values()]).double() for each in (found, whole))
    return abs(found[0] - whole[0]) / max(1.0, abs(whole[0])), float((one - other).norm() / other.norm().clamp(min=1.0))


def compare(found: dict[str, dict[int, Outcome]], whole: dict[str, dict[int, Outcome]]) -> dict[str, Any]:
    """Return the cuttings whose loss or gradient is not the whole batch's to a millionth."""
    return {
        f"{case} in {parts}": gaps
        for case, cuttings in found.items()
        for parts, outcome in cuttings.items()
        if max(gaps := differ(outcome, whole[case][1])) > 1e-6
    }


@pytest.fixture(scope="module")
def whole() -> dict[str, dict[int, Outcome]]:
    return cut(list(CASES), [1], {})


def test_micro_batches_give_the_whole_batchs_loss_and_gradient(whole):
    assert compare(cut(list(CASES), [2, 8], {}), whole) == {}  # ranks below take other cuttings


def test_ranks_give_the_whole_batchs_loss_and_gradient(whole, tmp_path: Path):
    arguments: dict[str, Any] = {"cases": list(CASES), "cuttings": [1, 2, 4], "engine": {}}
    found = run_ranks("tests.bandloom.training.cuttings:cut", 2, tmp_path, **arguments)
    assert compare(found[0], whole) == {}
    assert compare(found[1], whole) == {}


@real
@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_deepspeed_gives_the_whole_batchs_loss_and_gradient(stage: int, whole, tmp_path: Path):
    engine = {"kind": "deepspeed", "zero_stage": stage}
    arguments = {"cases": list(CASES), "cuttings": [1, 4], "engine": engine}
    found = run_ranks("tests.bandloom.training.cuttings:cut", 2, tmp_path, **arguments)
    assert compare(found[0], whole) == {}


@real
@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_deepspeed_trains_saves_and_sets_weights_of_one_number(stage: int, tmp_path: Path):
    found = run_ranks("tests.bandloom.training.cuttings:goes_on", 2, tmp_path, case="infonce full", stage=stage)
    for outcome in found:
        assert outcome["same shapes"]
        assert set(outcome["moments"].values()) == {()}
        assert outcome["again"] == outcome["straight"]


def test_zero_stage_3_refuses_a_weight_of_one_number():
    model, *_ = CASES["infonce full"]()
    config = EngineConfig(kind="deepspeed", zero_stage=3)
    with pytest.raises(ConfigError, match=r"zero_stage is 3, .* a weight of one number \(\w*scale\)"):
        make_engine(model, config, Ranks(0, 0, 1, torch.device("cpu")), 1)


def test_a_term_that_counts_nothing_is_nought():
    sums = torch.tensor([6.0, 0.0], requires_grad=True)
    loss = LossSums(sums, torch.tensor([3, 0])).loss()
    loss.backward()
    assert loss.item() == 1.0
    assert torch.isfinite(sums.grad).all()
