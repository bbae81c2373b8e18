from pathlib import Path
from typing import Any

import pytest
import torch

from bandloom.errors import ConfigError, LabelError
from bandloom.finetune.config import FinetuneConfig, PerturbConfig
from bandloom.finetune.experiment import Experiment, check_pairs
from bandloom.finetune.model.task_model import set_trainable
from bandloom.finetune.training.batches import make_loss
from bandloom.training.ranks import Ranks
from tests.finetune.models import task_model
from tests.finetune.training.test_perturb import batch

ANY: Any = None  # the loss looks at the config alone


def experiment(**changes) -> Experiment:
    config = FinetuneConfig(shards=Path("nowhere"), **changes)
    return Experiment(config, ANY, 24, Ranks(0, 0, 1, torch.device("cpu")))


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
def test_perturbed_and_mixed_batches_give_a_finite_loss_that_teaches(mix):
    mixed = {} if mix == "none" else {"mix": mix, "mix_share": 1.0}
    perturb = PerturbConfig(gain=0.1, offset=0.01, noise=0.01, drop_band=0.3, other_sensor=0.3, **mixed)
    model = task_model()
    set_trainable(model, "full")
    loss = make_loss(experiment(perturb=perturb, loss="cross_entropy_dice"))(model, batch())
    loss.backward()
    assert torch.isfinite(loss)
    counting = [p for p in model.head.parameters() if p.requires_grad]  # networks without weight learn nothing
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in counting)


def test_mixed_chips_come_in_pairs_or_are_refused():
    def check(batch_size: int, world: int, accumulate: int, mix: str = "mixup") -> None:
        trainer = {"batch_size": batch_size, "engine": {"accumulate": accumulate}}
        config = FinetuneConfig(shards="none", perturb={"mix": mix}, trainer=trainer)
        check_pairs(config, Ranks(0, 0, world, torch.device("cpu")))

    check(8, 2, 2)
    check(6, 2, 1, mix="none")
    with pytest.raises(ConfigError, match=r"a micro batch holds 3 of them .*trainer.batch_size to a multiple of 4"):
        check(6, 2, 1)


def test_without_perturbation_the_loss_is_the_plain_one():
    model, given = task_model().eval(), batch()
    found = make_loss(experiment(augment=False))(model, given)
    expected = torch.nn.functional.cross_entropy(model(given.groups), given.label.long())
    assert torch.allclose(found, expected, atol=1e-6)


def test_chips_without_a_class_are_named():
    with pytest.raises(LabelError, match="the samples 0, 1, 2, 3 carry no labels for classify"):
        make_loss(experiment(task="classify"))(task_model("classify"), batch())
