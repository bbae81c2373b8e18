"""A classifier's first head: the ridge probe of its tokens, and linear maps that validation weighs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.closed_form import ridge
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TRAIN, VAL
from bandloom.finetune.experiment import Experiment, open_experiment
from bandloom.finetune.model.chip_parts import PARTS
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.band_drops import without_bands
from bandloom.finetune.training import chip_rows as rows_of_chips
from bandloom.finetune.training import fit_chips
from bandloom.finetune.training.chip_rows import ChipRows, chip_rows
from bandloom.finetune.training.fit_chips import Linear, _logistic, fit_classifier
from bandloom.training.ranks import Ranks
from tests.finetune.models import task_model


def opened(chip_shards: Path, encoder_folder: Path, head: str = "linear") -> tuple[Experiment, TaskModel]:
    split = {"block_m": 1200, "buffer_m": 0}
    config = FinetuneConfig.model_validate(
        {"shards": chip_shards, "task": "classify", "checkpoint": encoder_folder, "split": split}
    )
    experiment, encoder = open_experiment(config, Ranks.from_environment())
    return experiment, TaskModel(
        encoder, experiment.data.sensor, experiment.data.label_set, "classify", experiment.chip_px, head
    ).eval()


@pytest.mark.parametrize("head", ["linear", "joined"])
def test_tokens_are_read_as_a_ridge_probe_reads_them(
    chip_shards: Path, encoder_folder: Path, head: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rows_of_chips, "smaller_subsets", lambda sensor: [])  # the probe knows whole chips alone
    experiment, model = opened(chip_shards, encoder_folder, head)
    model.head.parts = None
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    fit_classifier(model, model.head, experiment.data)
    found = chip_rows(model, model.head, experiment.data, TRAIN, 2000)
    with torch.no_grad():
        logits = [model(groups)[0].numpy() for groups in _chips(experiment)]
    rows = (found.tokens - found.tokens.mean(0)) / (found.tokens.std(0) + 1e-6)
    wanted = ridge(rows, found.labels, rows, len(experiment.data.label_set))
    assert (np.stack(logits).argmax(1) == wanted).mean() > 0.98  # float32 decides ties otherwise
    assert (wanted == found.labels).mean() > 0.3
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())


@pytest.mark.parametrize("fewest", [1, 200])
def test_the_head_is_the_weighed_sum_of_its_linear_maps(chip_shards: Path, encoder_folder: Path, fewest, monkeypatch):
    monkeypatch.setattr(fit_chips, "FEWEST", fewest)
    experiment, model = opened(chip_shards, encoder_folder)
    fit_classifier(model, model.head, experiment.data)
    val, parts = chip_rows(model, model.head, experiment.data, VAL, 2000), model.head.parts
    assert fewest == 1 or parts.weights[0] == parts.weights[1] > 0  # seven chips choose no single part
    with torch.no_grad():
        logits = torch.cat([model(groups) for groups in _chips(experiment, VAL)])
    wanted = torch.from_numpy(val.tokens).float() @ model.head.classify.weight.T + model.head.classify.bias
    for name, weight in zip(PARTS, parts.weights, strict=True):
        slope, bias = parts.linear(name)
        wanted = wanted + weight * (torch.from_numpy(val.parts[name]).float() @ slope.T + bias)
    assert torch.allclose(logits, wanted, atol=1e-3)
    assert float((logits.argmax(1).numpy() == val.labels).mean()) > 0.5


def test_with_few_bands_a_head_says_more_that_was_fitted_on_such_chips_too(chip_shards: Path, encoder_folder: Path):
    loss: dict[tuple[str, bool], float] = {}
    for fewer in (True, False):
        experiment, model = opened(chip_shards, encoder_folder)
        fit_classifier(model, model.head, experiment.data, 0.1 if fewer else 0.0)
        samples = list(experiment.data.samples(TRAIN))
        labels = torch.tensor([int(sample.label) for sample in samples])
        for name in ("13", "10m", "RGB"):
            kept = [without_bands(one.groups, experiment.data.sensor, BAND_SUBSETS[name]) for one in samples]
            with torch.no_grad():
                logits = torch.cat([model(_tensors(groups)) for groups in kept])
            loss[name, fewer] = float(torch.nn.functional.cross_entropy(logits, labels))
    assert loss["10m", True] < 0.8 * loss["10m", False], loss
    assert loss["RGB", True] < 0.8 * loss["RGB", False], loss
    assert loss["13", True] < loss["13", False] + 0.1, loss


def test_what_validation_is_better_without_gets_no_weight(monkeypatch):
    monkeypatch.setattr(fit_chips, "FEWEST", 100)
    model = task_model("classify")
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], 40)
    telling, noise = rng.normal(size=(120, 6)) + 3 * labels[:, None], rng.normal(size=(120, 4))
    rows = ChipRows(noise, {"filters": telling, "statistics": noise}, labels)
    parts = model.head.parts
    for name, features in rows.parts.items():
        setattr(parts, f"{name}_slope", torch.zeros(3, features.shape[1]))
    tokens = Linear(rng.normal(size=(4, 3)), np.zeros(3))
    assert fit_chips._fit_parts(model, model.head, tokens, rows, rows) == 0.0
    assert parts.weights.tolist() == [1.0, 0.0]


def test_few_validation_chips_do_not_let_tokens_in_that_lose_on_training_chips_left_out():
    model, rng = task_model("classify"), np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 60)
    telling = rng.normal(size=(180, 3)) + labels[:, None]
    train = ChipRows(rng.normal(size=(180, 3)), {"filters": telling, "statistics": telling}, labels)
    val = ChipRows(np.eye(3)[labels[:80]], {name: rows[:80] for name, rows in train.parts.items()}, labels[:80])
    tokens = Linear(4 * np.eye(3), np.zeros(3))  # right on every validation chip, which are of two classes
    maps = fit_chips.Maps(tokens, {name: _logistic(name, train, 1.0, 3) for name in PARTS})
    gain = fit_chips._losses(maps, val, [0.0, 0.5, 0.5]) - fit_chips._losses(maps, val, [1 / 3] * 3)
    assert fit_chips.surely_positive(gain)  # validation by itself would let them in
    few = val.of(np.arange(80) % 8 == 0)
    assert fit_chips._weights(model, maps, dict.fromkeys(PARTS, 1.0), train, few) == [0.0, 0.5, 0.5]


def test_a_gain_counts_beyond_its_standard_error():
    gains = torch.tensor([1.0, 3.0, 2.0, 2.0])
    assert fit_chips.surely_positive(gains)
    assert not fit_chips.surely_positive(gains - 1.6)  # 0.4 on average, by 0.41
    assert not fit_chips.surely_positive(torch.tensor([5.0]))


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2]])
def test_a_linear_map_is_scikit_learns_whatever_classes_are_there(classes: list[int]):
    rng = np.random.default_rng(0)
    labels = rng.choice(classes, 200)
    rows = rng.normal(size=(200, 5)) * [1, 2, 3, 4, 5] + labels[:, None] + 7
    found: Linear = _logistic("filters", ChipRows(rows, {"filters": rows}, labels), 1.0, 3)
    scaled = (rows - rows.mean(0)) / (rows.std(0) + 1e-6)
    wanted = LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(scaled, labels).predict_proba(scaled)
    np.testing.assert_allclose(torch.softmax(found.of(rows), 1).numpy()[:, classes], wanted, atol=1e-6)


def _chips(experiment: Experiment, role: int = TRAIN) -> list[dict[int, torch.Tensor]]:
    return [_tensors(sample.groups) for sample in experiment.data.samples(role)]


def _tensors(groups: Mapping[int, np.ndarray]) -> dict[int, torch.Tensor]:
    return {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in groups.items()}
