"""A fusion run: chips, words about them, and every control that tells a gain from a leak, in one table."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import console, logger, track
from bandloom.errors import LabelError
from bandloom.files.output import new_output, write_json
from bandloom.finetune.baselines.classic import check_names
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.experiment import open_data
from bandloom.finetune.fusion.checkpoint import save_fusion
from bandloom.finetune.fusion.config import FusionConfig
from bandloom.finetune.fusion.context import context_vectors, read_context, shuffled
from bandloom.finetune.fusion.fit import Chips, Images, chips_of, fit, image_and_head, predict
from bandloom.finetune.fusion.leaks import Leaks, find_leaks
from bandloom.finetune.fusion.model import Kind
from bandloom.finetune.fusion.table import IMAGE, fusion_table, gains, rows_of, seed_scores, summed_row, verdict
from bandloom.finetune.report.record import metrics_record, write_report
from bandloom.finetune.scores.confusion import ConfusionRow
from bandloom.finetune.scores.row import Row
from bandloom.finetune.tasks.classify import CLASSIFY
from bandloom.finetune.text.captions.words import class_words
from bandloom.finetune.text.text_model.sources import TextSource, open_text
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.model.statistics import Statistics
from bandloom.run_state.pulse import alive
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import ScoreRecord
from bandloom.training.attempt import SCORING_TIMEOUT_S, Attempt

KEPT = "text_vectors.safetensors"


@dataclass(frozen=True)
class Study:
    """What all rows of a run share."""

    config: FusionConfig
    data: TaskData
    chips: Chips
    source: TextSource
    texts: list[str]
    sentences: np.ndarray
    leaks: Leaks


def fusion(config: FusionConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Fit and score every row over the seeds, or go on with the rows that ``run`` lacks.

    Returns:
        The exit code: 0 done, 75 stopped.

    Raises:
        BandloomError: the shards, the labels, the context, the text model or the split cannot be used; nothing was
            written then.
    """
    with Attempt(run, SCORING_TIMEOUT_S) as attempt:
        study = prepare(config)
        attempt.open(config, from_scratch=from_scratch, made_of=study.data.shards.manifest)
        attempt.alone(lambda: _fit_and_score(study, run, attempt.ranks.device))
        attempt.code = attempt.finish()
    return attempt.code


def _fit_and_score(study: Study, run: RunFolder, device: torch.device) -> None:
    config = study.config
    _keep(run.path, study)
    images = Images(config, study.data, Statistics.from_mapping(study.data.shards.statistics), device)
    rows, seeds = _rows(study, images, run.path)
    baselines = CLASSIFY.run_baselines(config.baselines, study.data, 0, CLASSIFY.baselines)
    record = alive(lambda: fusion_record(study, rows, baselines, seeds), "intervals")
    write_report(run.path, record)
    console.print(fusion_table(record))
    for line in (*study.leaks.warnings, *record.verdicts):
        logger.info("%s", line)


def prepare(config: FusionConfig) -> Study:
    """Check everything that can be wrong before the first file is written."""
    check_names(config.baselines, CLASSIFY.name, CLASSIFY.baselines)
    data = open_data(FinetuneConfig(shards=config.shards, task="classify", sensor=config.sensor, split=config.split))
    data.check()
    chips = chips_of(data)
    if len({entry.side_px for entry in (data.shards.entries[int(i)] for i in data.indices)}) > 1:
        raise LabelError(f"the chips of {config.shards} have different sides; build the shards with one --side.")
    texts = read_context(config.context, data.shards, data.indices.tolist())
    source = open_text(config.text.model, config.text.pooling)
    sentences = context_vectors(texts, KeptVectors(source.digest), source)
    words = class_words(data.label_set, config.context.words)
    leaks = find_leaks(texts, sentences, chips.labels, chips.rows(TRAIN), chips.rows(TEST), words)
    return Study(config, data, chips, source, texts, sentences, leaks)


def fusion_record(
    study: Study, rows: list[ConfusionRow], baselines: list[Row], seeds: dict[str, list[float]]
) -> ScoreRecord:
    """Return what ``metrics.json`` holds: the rows, their gains over the image alone, the leaks and the verdicts."""
    config, by_name = study.config, {row.name: row for row in rows}
    gained = gains(by_name, config)
    record = metrics_record(
        [*rows, *baselines],
        study.data,
        CLASSIFY.scorer,
        config.bootstrap,
        task="fusion",
        gains=gained,
        leaks=study.leaks.to_dict(),
        verdicts=[verdict(gain, study.leaks.warnings) for gain in gained],
        text=study.source.describe(),
        image={
            "network": config.image.network,
            "mode": config.image.mode,
            "weights": "checkpoint" if config.image.checkpoint else "random",
        },
        context={
            "source": config.context.source,
            "texts": len(set(study.texts)),
            "example": study.texts[0],
            "empty": sum(not text for text in study.texts),
        },
    )
    image = by_name[IMAGE]
    told = [
        held.model_copy(
            update={
                "by_seed": {"macro_f1": tuple(seeds[row.name])} if row.name in seeds else {},
                "over_image_95": None if row is image else _pair(row.margins(image, config.bootstrap)),
            }
        )
        for row, held in zip([*rows, *baselines], record.rows, strict=True)
    ]
    return record.model_copy(update={"rows": tuple(told)})


def _pair(margins: dict[str, list[float]]) -> tuple[float, float] | None:
    return (margins["macro_f1"][0], margins["macro_f1"][1]) if margins else None


def _rows(study: Study, images: Images, folder: Path) -> tuple[list[ConfusionRow], dict[str, list[float]]]:
    """Fit every row over the seeds; what an earlier call predicted is read."""
    chips, classes = study.chips, len(study.data.label_set)
    test, fitted_on = chips.rows(TEST), len(chips.rows(TRAIN))
    kinds: tuple[Kind, ...] = (*study.config.fusion, "text", "image")
    said: dict[str, list[np.ndarray]] = {name: [] for kind in kinds for name in rows_of(kind)}
    spent = dict.fromkeys(said, 0.0)
    jobs: list[tuple[Kind, int]] = [(kind, seed) for seed in range(study.config.seeds) for kind in kinds]
    for kind, seed in track(jobs, "fits"):
        began = time.monotonic()
        predictions = _predictions(study, images, folder, kind, seed)
        for name in rows_of(kind):
            said[name].append(predictions[name])
            spent[name] += (time.monotonic() - began) / len(predictions)
    truth, blocks = chips.labels[test], chips.blocks[test]
    rows = [summed_row(name, said[name], truth, blocks, classes, fitted_on, spent[name]) for name in said]
    names = study.data.label_set.names
    return rows, {name: seed_scores(own, truth, names) for name, own in said.items()}


def _predictions(study: Study, images: Images, folder: Path, kind: Kind, seed: int) -> dict[str, np.ndarray]:
    """Return the test predictions of a kind's rows of one seed; what an earlier call kept is read."""
    path = folder / "fits" / f"{kind}-{seed}.npz"
    if path.is_file():
        with np.load(path) as held:
            return {name: held[name] for name in held.files}
    model, rows = _fitted_rows(study, images, kind, seed)
    if kind == study.config.fusion[0] and seed == 0:
        save_fusion(folder / "checkpoint", image_and_head(model, images), study.config, study.data, study.source)
    with new_output(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **rows)  # pyright: ignore[reportArgumentType]
    return rows


def _fitted_rows(study: Study, images: Images, kind: Kind, seed: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the model that was told the truth, and what it and its controls say of the test chips."""
    test, real = study.chips.rows(TEST), study.sentences

    def fitted(told: np.ndarray) -> Any:
        return fit(study.config, kind, seed, study.chips, images, told, len(study.data.label_set))

    model = fitted(real)
    if kind in ("image", "text"):
        return model, dict(zip(rows_of(kind), [predict(model, images, real, test)], strict=True))
    dealt, empty = real[shuffled(study.chips.roles, seed)], np.zeros_like(real)
    said = [
        predict(model, images, real, test),
        predict(fitted(dealt), images, dealt, test),
        predict(fitted(empty), images, empty, test),
        predict(model, images, dealt, test),
    ]
    return model, dict(zip(rows_of(kind), said, strict=True))


def _keep(folder: Path, study: Study) -> None:
    """Keep what was said of each sample, so that a reader can look at it."""
    keys = [study.data.shards.entries[int(i)].key for i in study.data.indices]
    write_json(folder / "context.json", dict(zip(keys, study.texts, strict=True)))
