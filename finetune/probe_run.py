"""``bandloom probe``: neighbours, linear map and attention on frozen features, beside baselines, and on few labels.

Ranks share the encoding and the fits, through pieces that the run folder keeps; rank 0 then does the rest.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.band_subsets import BAND_SUBSETS
from bandloom.command_line.console import console, table
from bandloom.errors import CheckpointError, ConfigError, LabelError
from bandloom.finetune.baselines.classic import check_names, chosen
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.experiment import Experiment, open_experiment
from bandloom.finetune.probes.attention import attention_probe
from bandloom.finetune.probes.frozen_features import Features, frozen_features, weights_digest
from bandloom.finetune.report.record import metrics_record, write_report
from bandloom.finetune.report.results import say
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions, confusion_matrix, scores
from bandloom.finetune.scores.row import Row
from bandloom.finetune.tasks.registry import TASKS, get_task
from bandloom.model.any_encoder import AnyEncoder
from bandloom.probes import nearest_neighbours, ridge
from bandloom.run_state.pieces import kept
from bandloom.run_state.pulse import alive
from bandloom.run_state.run_folder import RunFolder
from bandloom.sensors import Sensor
from bandloom.training.attempt import SCORING_TIMEOUT_S, Attempt
from bandloom.training.device_memory import default_device
from bandloom.training.ranks import Ranks

FIT, SCORE, NEIGHBOURS = 20_000, 50_000, 20
SUBSETS = ("13", "10m", "RGB")
RANDOM = "random weights"
SHOTS: tuple[int | float, ...] = (1, 5, 10, 50, 0.01, 0.1, 1.0)  # labels a class, or a share of all of them
DRAWS = 5  # choices of the few labels that a few-shot score is the mean of
Predict = Callable[[Features, Features, int], np.ndarray]


def probe_run(config: FinetuneConfig, run: RunFolder, *, few_shot: bool = False) -> int:
    """Probe the config's encoder on its shards and write a report, or go on with what a stopped probe has not done.

    Args:
        config: shards, checkpoint, task and split; its training keys are not used.
        run: where features are kept and the report goes; typed again, the features are read and not computed.
        few_shot: also score on few labels, see :data:`SHOTS`.

    Returns:
        The exit code: 0 done, 75 stopped.

    Raises:
        BandloomError: the shards, the labels, the split or the checkpoint cannot be used; nothing was written then.
    """
    task = get_task(config.task)
    if not task.probed:
        fitting = " or ".join(task.name for task in TASKS.values() if task.probed)
        raise ConfigError(f"task {task.name} has no probe; use {fitting}, or fine-tune with mode=frozen.")
    check_names(config.baselines or (), task.name, task.baselines)
    with Attempt(run, SCORING_TIMEOUT_S) as attempt:
        device = attempt.ranks.device
        experiment, encoder = open_experiment(config, Ranks(0, 0, 1, device))
        encoder.to(device)
        attempt.open(config, made_of=[experiment.data.shards.manifest, weights_digest(encoder)])
        sets = _all_features(experiment, encoder, run.path, attempt.ranks)
        if attempt.ranks.world > 1:  # the rows, which rank 0 then finds kept
            attempt.ranks.together(lambda: _fit_share(sets, experiment, attempt.ranks))
        attempt.alone(lambda: _score(experiment, sets, run, few_shot))
        attempt.code = attempt.finish()
    return attempt.code


def _all_features(experiment: Experiment, encoder: AnyEncoder, folder: Path, ranks: Ranks) -> dict[str, Features]:
    """Return features by set, of which each rank encodes its share: of all bands, of fewer, of random weights."""
    sets = {name: _features(experiment, encoder, ranks, name, folder) for name in _subsets(experiment, encoder)}
    return sets | {RANDOM: _features(experiment, _untrained(experiment, encoder), ranks, "13")}


def _fit_share(sets: Mapping[str, Features], experiment: Experiment, ranks: Ranks) -> None:
    """Fit every n-th probe."""
    for name, predict, features in _fits(sets)[ranks.rank :: ranks.world]:
        _row(name, predict, features, experiment)


def _fits(sets: Mapping[str, Features]) -> list[tuple[str, Predict, Features]]:
    """Return the rows of a report, the linear probe first: name, probe and features of each."""
    own = sets["13"]
    rows: list[tuple[str, Predict, Features]] = [
        ("linear", _linear, own),
        (f"{NEIGHBOURS} neighbours", _neighbours, own),
    ]
    if len(own.tokens):
        rows.append(("attention", _attention, own))
    rows.append((f"linear, {RANDOM}", _linear, sets[RANDOM]))
    fewer = [name for name in sets if name not in ("13", RANDOM)]
    return rows + [(f"linear, {name} bands", _linear, sets[name]) for name in fewer]


def _score(experiment: Experiment, sets: Mapping[str, Features], run: RunFolder, few_shot: bool) -> None:
    config, task = experiment.config, experiment.task
    rows: list[Row] = [_row(name, predict, features, experiment) for name, predict, features in _fits(sets)]
    wanted = chosen(config.baselines, experiment.data, task.standard, task.baselines)
    rows += task.run_baselines(wanted, experiment.data, config.trainer.seed, task.baselines)
    more = {"few_shot": few_shot_curve({"encoder": sets["13"], RANDOM: sets[RANDOM]}, experiment)} if few_shot else {}
    record = alive(
        lambda: metrics_record(rows, experiment.data, task.scorer, config.bootstrap, unit=_unit(experiment), **more),
        "intervals",
    )
    write_report(run.path, record)
    say(record, task.scorer)
    if few_shot:
        console.print(few_shot_table(record.few_shot))


def few_shot_curve(sets: dict[str, Features], experiment: Experiment) -> list[dict[str, Any]]:
    """Return the linear probe's macro-F1 on few labels, mean and deviation over :data:`DRAWS` choices of them."""
    curve = []
    for shots in SHOTS:
        point: dict[str, Any] = {"shots": shots}
        for name, features in sets.items():
            train, test = features.of(TRAIN), _some(features.of(TEST), SCORE, 0)
            found, used = [], 0
            for draw in range(DRAWS if shots != 1.0 else 1):
                few = _some(train.take(few_labels(train.labels, shots, draw)), FIT, draw)
                used = len(few.labels)
                predicted = alive(partial(_linear, few, test, len(experiment.data.label_set)), "few labels")
                found.append(
                    scores(_confusion(test.labels, predicted, experiment), experiment.data.label_set.names)["macro_f1"]
                )
            point |= {"labels": used, name: float(np.mean(found)), f"{name} deviation": float(np.std(found))}
        curve.append(point)
    return curve


def few_labels(labels: np.ndarray, shots: int | float, draw: int) -> np.ndarray:
    """Choose rows: so many of each class, or a share of every class but at least one."""
    rng = np.random.default_rng([draw, round(1000 * shots)])
    rows = []
    for value in np.unique(labels):
        own = np.flatnonzero(labels == value)
        count = min(len(own), shots) if isinstance(shots, int) else max(1, round(shots * len(own)))
        rows.append(rng.choice(own, count, replace=False))
    return np.sort(np.concatenate(rows))


def few_shot_table(curve: Sequence[dict[str, Any]]) -> Any:
    """Return the console's table of a few-shot curve."""
    names = [key for key in curve[0] if key not in ("shots", "labels") and not key.endswith("deviation")]
    rows = [
        [_shots_text(p["shots"]), p["labels"], *(f"{p[n]:.3f} ± {p[n + ' deviation']:.3f}" for n in names)]
        for p in curve
    ]
    return table("Few labels (linear probe, macro-F1)", ["labels", "in all", *names], rows)


def _shots_text(shots: int | float) -> str:
    return f"{shots} a class" if isinstance(shots, int) else f"{100 * shots:g} %"


def _row(name: str, predict: Predict, features: Features, experiment: Experiment) -> ConfusionRow:
    return kept(f"probe {name}", None, partial(_fitted, name, predict, features, experiment), ConfusionRow)


def _fitted(name: str, predict: Predict, features: Features, experiment: Experiment) -> ConfusionRow:
    start, seed = time.monotonic(), experiment.config.trainer.seed
    train, test = _some(features.of(TRAIN), FIT, seed), _some(features.of(TEST), SCORE, seed)
    if not len(train.labels) or not len(test.labels):
        raise LabelError(
            f"the split leaves no {_unit(experiment)} for training or for the test; use smaller blocks (split.block_m)."
        )
    predicted = alive(lambda: predict(train, test, len(experiment.data.label_set)), f"fitting {name}")
    confusions = block_confusions(test.labels, predicted, test.blocks, len(experiment.data.label_set))
    return ConfusionRow(
        name=name,
        kind="probe",
        seeds=(seed,),
        confusions=confusions,
        fitted_on=len(train.labels),
        seconds=time.monotonic() - start,
    )


def _some(features: Features, most: int, seed: int) -> Features:
    if len(features.labels) <= most:
        return features
    return features.take(np.sort(np.random.default_rng(seed).choice(len(features.labels), most, replace=False)))


def _scaled(train: Features, test: Features) -> tuple[np.ndarray, np.ndarray]:
    mean, std = train.mean.mean(0), train.mean.std(0) + 1e-6
    return (train.mean - mean) / std, (test.mean - mean) / std


def _linear(train: Features, test: Features, classes: int) -> np.ndarray:
    inside, outside = _scaled(train, test)
    return ridge(inside, train.labels, outside, classes, device=default_device())


def _neighbours(train: Features, test: Features, classes: int) -> np.ndarray:
    inside, outside = _scaled(train, test)
    return nearest_neighbours(inside, train.labels, outside, classes, NEIGHBOURS, device=default_device())


def _attention(train: Features, test: Features, classes: int) -> np.ndarray:
    return attention_probe(train.tokens, train.labels, test.tokens, classes, device=default_device())


def _confusion(labels: np.ndarray, predicted: np.ndarray, experiment: Experiment) -> np.ndarray:
    return confusion_matrix(labels, predicted, len(experiment.data.label_set))


def _features(
    experiment: Experiment, encoder: AnyEncoder, ranks: Ranks, name: str, folder: Path | None = None
) -> Features:
    slots = None if name == "13" else BAND_SUBSETS[name]
    cache = folder and folder / f"features-{name}.npz"
    return frozen_features(encoder, experiment.data, experiment.chip_px, slots=slots, cache=cache, ranks=ranks)


def _subsets(experiment: Experiment, encoder: AnyEncoder) -> list[str]:
    """Return the subsets that leave out some of the sensor's bands and that the encoder takes, after all of them."""
    sensor, own = experiment.data.sensor, set(experiment.data.sensor.slots)
    fewer = [name for name in SUBSETS[1:] if own & set(BAND_SUBSETS[name]) and own - set(BAND_SUBSETS[name])]
    return ["13", *(name for name in fewer if _takes(encoder, sensor, BAND_SUBSETS[name]))]


def _takes(encoder: AnyEncoder, sensor: Sensor, slots: Sequence[str]) -> bool:
    try:
        encoder.check_sensor(sensor.subset([band.name for band in sensor.bands if band.slot in slots]))
    except CheckpointError:
        return False
    return True


def _untrained(experiment: Experiment, encoder: AnyEncoder) -> AnyEncoder:
    torch.manual_seed(experiment.config.trainer.seed)
    return encoder.untrained().to(experiment.ranks.device)


def _unit(experiment: Experiment) -> str:
    return "token" if experiment.data.answer.per_pixel else "chip"
