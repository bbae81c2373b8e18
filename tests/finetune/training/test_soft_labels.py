"""Soft labels against plain arithmetic, and what is no teacher of a run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bandloom.errors import CheckpointError, ConfigError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.experiment import Experiment
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.training.batches import make_loss
from bandloom.finetune.training.soft_labels import soft_teacher
from bandloom.sensors import get_sensor
from bandloom.tasks import ANSWERS
from bandloom.training.ranks import Ranks
from tests.finetune.models import LABELS, S2, encoder, task_model
from tests.finetune.training.test_perturb import batch

ALONE = Ranks(0, 0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soft") / "checkpoint"
    model = task_model()
    torch.manual_seed(5)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    save_task_model(folder, model, {})
    return folder


def experiment(teacher: Path, weight: float = 0.5, **changes: Any) -> Experiment:
    soft = {"teacher": teacher, "weight": weight, "temperature": 2.0}
    config = FinetuneConfig(shards=Path("nowhere"), **({"soft": soft, "augment": False} | changes))
    data: Any = SimpleNamespace(answer=ANSWERS[config.task], label_set=LABELS, sensor=S2)
    return Experiment(config, data, 24, ALONE)


def test_the_loss_is_the_weighted_sum_of_cross_entropy_and_divergence_over_known_labels(teacher: Path) -> None:
    model, given = task_model().eval(), batch()
    given.label[0, :5] = 255
    said = soft_teacher(experiment(teacher).config.soft, experiment(teacher))
    with torch.no_grad():
        own, told = model(given.groups), said({gsd: g.int() for gsd, g in given.groups.items()})
        found = float(make_loss(experiment(teacher, 0.3))(model, given))
    hard, soft = [], []
    for b, y, x in np.argwhere(given.label.numpy() != 255).tolist():
        logits, wanted = own[b, :, y, x].double().numpy(), told[b, :, y, x].double().numpy() / 2
        p, q = np.exp(wanted) / np.exp(wanted).sum(), np.exp(logits / 2) / np.exp(logits / 2).sum()
        soft.append(4 * np.sum(p * np.log(p / q)))
        hard.append(np.log(np.exp(logits).sum()) - logits[int(given.label[b, y, x])])
    assert found == pytest.approx(0.7 * np.mean(hard) + 0.3 * np.mean(soft), rel=1e-5)


def test_a_student_that_is_its_teacher_pays_for_labels_alone(teacher: Path) -> None:
    model = soft_teacher(experiment(teacher).config.soft, experiment(teacher))
    assert float(make_loss(experiment(teacher, 1.0))(model, batch())) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_micro_batches_give_the_joined_batch_s_gradients(teacher: Path, parts: int) -> None:
    given, found = batch(), []
    given.label[0, :9] = 255
    for each in (1, parts):
        model = task_model().eval()
        loss, total = make_loss(experiment(teacher, augment=True)), 0.0
        for share in loss.shares(model, given.split(each), ALONE):
            share.backward()
            total += share.item()
        found.append((total, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_what_is_no_teacher_of_the_run_is_refused_with_what_would_be(teacher: Path, tmp_path: Path) -> None:
    run = experiment(teacher)
    others: list[tuple[Experiment, str]] = [
        (experiment(teacher, task="classify"), "is of task segment, this run of classify"),
        (experiment(teacher, task="multilabel"), "task multilabel has no soft labels"),
        (experiment(teacher, loss="dice"), "loss is dice, which takes no soft labels"),
        (experiment(teacher, perturb={"mix": "cutmix"}), "mixed chips have no soft labels"),
        (replace(run, chip_px=25), "set chip_px=24"),
    ]
    fewer = LABELS.__class__("two", LABELS.classes[:2])
    for own, said in ((fewer, "the shards water, forest"), (LABELS, "reads other bands")):
        data: Any = SimpleNamespace(answer=ANSWERS["segment"], label_set=own, sensor=get_sensor("sentinel2-l2a"))
        others.append((replace(run, data=data), said))
    for wrong, said in others:
        with pytest.raises(ConfigError, match=said):
            make_loss(wrong)
    from bandloom.model.checkpoint import save_encoder

    save_encoder(tmp_path / "encoder", encoder(), [S2], {})
    with pytest.raises(CheckpointError, match="not a fine-tuned model"):
        make_loss(experiment(tmp_path / "encoder"))
