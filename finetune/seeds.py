"""Repeated training over seeds: the spread of a score due to weights and order."""

from pathlib import Path

from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.experiment import Experiment
from bandloom.finetune.first_model import provenance_of
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.report.record import split_hash
from bandloom.finetune.scores.kept import KeptScorer

SMALL_CHIPS = 1_000  # a training ground of fewer chips is trained on from three seeds
OF_SMALL = 3


def seeds_of(experiment: Experiment) -> list[int]:
    """Return the seeds that a run trains from, its own first; by default three where there is little to train on."""
    config, count = experiment.config, experiment.config.seeds
    if count is None:
        count = OF_SMALL if training_chips(experiment) < SMALL_CHIPS else 1
    return [config.trainer.seed + part for part in range(count)]


def training_chips(experiment: Experiment) -> int:
    """Return how many chips the labelled training ground makes, without overlap."""
    data = experiment.data
    if not data.answer.per_pixel:
        return len(data.indices_of(TRAIN))
    return int(data.by_role[TRAIN]) // experiment.chip_px**2


def with_seed(config: FinetuneConfig, seed: int) -> FinetuneConfig:
    """Return the config of one training from another seed: other weights and order, the same ground."""
    trainer = config.trainer.with_changes(seed=seed)
    return config.with_changes(trainer=trainer, seeds=1, compare_random=False)


def headline_scores(experiment: Experiment, model: TaskModel) -> dict[str, float]:
    """Return a model's headline scores on the test labels."""
    data, batch = experiment.data, experiment.config.trainer.batch_size
    scores = KeptScorer(experiment.task.scorer).other("another seed", model, data, batch).scores(data.label_set.names)
    return {name: scores[name] for name in experiment.task.scorer.headlines}


def keep_seed(experiment: Experiment, model: TaskModel, folder: Path) -> None:
    """Calibrate the model of a further seed and save it as a checkpoint, for an ensemble of all seeds."""
    data, batch = experiment.data, experiment.config.trainer.batch_size
    KeptScorer(experiment.task.scorer).calibrate(model, data, batch)
    provenance = provenance_of(experiment, model) | {"split_hash": split_hash(data.describe())}
    save_task_model(folder / "checkpoint", model, provenance, overwrite=True)
