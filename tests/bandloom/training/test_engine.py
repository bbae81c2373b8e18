"""The engine's interface: what is decided by config alone."""

import pytest
import torch

from bandloom.training.engine import EngineConfig, own_share
from bandloom.training.ranks import Ranks
from bandloom.training.schedule import learning_rate, parameter_groups
from tests.bandloom.tiny_training import tiny_net


def test_the_rate_warms_up_linearly_and_falls_along_half_a_cosine():
    config = EngineConfig(lr=1.0, warmup_steps=10, min_lr_ratio=0.1)
    rates = [learning_rate(config, step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_vectors_do_not_decay_and_matrices_do():
    groups = parameter_groups(tiny_net().named_parameters(), EngineConfig(weight_decay=0.3))
    assert {(group["weight_decay"], parameter.ndim) for group in groups for parameter in group["params"]} == {
        (0.3, 2),
        (0.0, 1),
    }


def test_layer_decay_lowers_the_rate_towards_the_input():
    names = ("encoder.embed.weight", "encoder.blocks.0.w", "encoder.blocks.1.w", "encoder.norm.w", "head.w")
    named = [(name, torch.nn.Parameter(torch.zeros(2, 2))) for name in names]
    groups = parameter_groups(named, EngineConfig(layer_decay=0.5), depth=2)
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    assert [scale[id(parameter)] for _, parameter in named] == [0.125, 0.25, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_ranks_shares_are_the_whole_once_and_alike_in_size(world: int):
    sizes = {f"p{i}": (i * 37) % 101 + 1 for i in range(60)}
    shares = [own_share(sizes, Ranks(rank, rank, world, torch.device("cpu"))) for rank in range(world)]
    assert sorted(name for share in shares for name in share) == sorted(sizes)
    loads = [sum(sizes[name] for name in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes.values())
