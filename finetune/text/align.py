"""An alignment run: shards, captions and a text model in; an encoder that knows words, and what it knows, out."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.console import console, logger
from bandloom.device_batch import DeviceBatch, rng_of
from bandloom.encoder import Encoder, count_parameters
from bandloom.engine import LossOf, make_engine
from bandloom.errors import ConfigError
from bandloom.markers import EXIT_DONE
from bandloom.output import write_json
from bandloom.ranks import Ranks
from bandloom.run_folder import RunFolder
from bandloom.sensors import Sensor
from bandloom.statistics import Statistics
from bandloom.trainer import LoadedStep, Task, Trainer
from finetune.augment import d4
from finetune.lora import merge_lora
from finetune.setting import pretrained_or_random
from finetune.splits import TEST, TRAIN, VAL
from finetune.task_data import pick_sensor
from finetune.text.aligned import Aligned, save_aligned
from finetune.text.captions import Captions, make_captions
from finetune.text.config import SCRATCH, AlignConfig
from finetune.text.contrastive import CONTRASTIVE
from finetune.text.errors import TextError
from finetune.text.model import AlignModel, standardise
from finetune.text.remembered import RememberedImages
from finetune.text.report import alignment_report, report_table
from finetune.text.samples import chip_side, pooled_features, sample_roles
from finetune.text.scratch import write_small_model
from finetune.text.sources import ModelSource, TextSource, open_text
from finetune.text.vectors import KeptVectors
from finetune.text.words import sentences
from shards.loader import Loader, LoaderState
from shards.shard_set import ShardSet

STANDARDISED_ON, LOOKED_AT = 512, 200
KEPT = "text_vectors.safetensors"
PURPOSE_NOISE = 202
TIMEOUT_S = 4 * 3600.0  # the other ranks wait while rank 0 encodes captions and writes the report


@dataclass(frozen=True)
class Alignment:
    """What a run trains on."""

    config: AlignConfig
    ranks: Ranks
    shards: ShardSet
    sensor: Sensor
    captions: Captions
    indices: np.ndarray  # samples of this sensor
    roles: np.ndarray  # of each: 0 train, 1 validation, 2 test
    held_out: tuple[int, ...]
    source: TextSource
    chip_px: int

    def of(self, role: int) -> np.ndarray:
        """Return the samples of a role; those that show a held-out class never train."""
        chosen = self.indices[self.roles == role]
        keys = [self.shards.entries[int(i)].key for i in chosen]
        if role != TRAIN:
            return chosen
        fit = [key in self.captions.of_key and not self.captions.shows(key, self.held_out) for key in keys]
        return chosen[np.array(fit, bool)]


def align(config: AlignConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Align an encoder with captions, or go on from the newest snapshot in ``run``.

    Returns:
        The exit code: 0 done, 75 stopped after a save.

    Raises:
        BandloomError: the shards, the captions, the text model, the config or the run folder cannot be used; nothing
            was written then.
    """
    ranks = Ranks.from_environment()
    ranks.start(TIMEOUT_S)
    try:
        alignment, encoder = prepare(config, ranks)
        if ranks.rank == 0:
            run.start(config, from_scratch=from_scratch)
        ranks.barrier()
        return _train(alignment, encoder, run)
    finally:
        run.close()
        ranks.stop()


def prepare(config: AlignConfig, ranks: Ranks) -> tuple[Alignment, Encoder]:
    """Check everything that can be wrong before the first file is written."""
    shards = ShardSet(config.shards)
    sensor = pick_sensor(shards, config.sensor)
    indices = np.array([i for i, e in enumerate(shards.entries) if e.sensor == sensor.name], np.int64)
    captions = make_captions(config.captions, shards, indices, turned=config.augment, held_out=config.holdout_classes)
    source = _text_source(config, captions)
    _, roles = sample_roles(config.split, shards, indices)
    encoder = pretrained_or_random(config, Statistics.from_mapping(shards.statistics))
    side = chip_side(shards, indices, encoder.config.token_m)
    alignment = Alignment(
        config, ranks, shards, sensor, captions, indices, roles, _held_out(config, captions), source, side
    )
    few = len(alignment.of(TRAIN))
    if few < config.trainer.batch_size:
        raise ConfigError(
            f"{few} samples are left to train on, less than trainer.batch_size of"
            f" {config.trainer.batch_size}; lower it, or use more ground."
        )
    return alignment, encoder


def caption_batches(alignment: Alignment, state: dict[str, int] | None) -> Iterator[LoadedStep]:
    """Yield training images without end; which caption each has is a function of its draw."""
    config, ranks = alignment.config.trainer, alignment.ranks
    start = LoaderState(**state) if state else LoaderState(epoch=0, position=0)
    loader = Loader(
        alignment.shards,
        alignment.of(TRAIN),
        config.batch_size,
        seed=config.seed,
        rank=ranks.rank,
        world=ranks.world,
        crop_px=alignment.chip_px,
        workers=config.workers,
        start=start,
        augment=False,
    )
    for batch in loader:
        yield LoadedStep(
            DeviceBatch.of(batch, ranks.device), {"epoch": batch.state.epoch, "position": batch.state.position}
        )


def make_loss(alignment: Alignment, model: AlignModel, kept: KeptVectors) -> LossOf:
    """Return ``(module, batch) -> scalar``: turned images, one caption each, the config's loss over all ranks."""
    captions, config, device = alignment.captions, alignment.config, alignment.ranks.device
    table = None if model.tower is not None else torch.from_numpy(kept.of(captions.texts)).to(device)
    contrastive = CONTRASTIVE[config.loss]
    frozen = config.mode == "frozen" and config.trainer.engine.kind == "torch"  # ZeRO parts weights among the ranks
    remembered = RememberedImages(model, turned=config.augment) if frozen else None

    def loss_of(module: nn.Module, batch: DeviceBatch) -> Tensor:
        numbers = [captions.draw(key, draw) for key, draw in zip(batch.keys, batch.draws, strict=True)]
        classes = [captions.class_of.get(key, -1) if config.positives == "label" else -1 for key in batch.keys]
        ids = torch.tensor([numbers, classes], device=device).T.contiguous()
        if table is None:
            tower: Any = model.tower
            tokens, mask = tower.tokenize([captions.texts[number] for number in numbers])
            text: Any = (tokens.to(device), mask.to(device))
        else:
            text = table[ids[:, 0]] + noise(batch.draws, table.shape[1], config.text.noise).to(device)
        if remembered is not None:
            seen: Any = remembered.of(batch)
        else:
            seen = (d4(batch) if config.augment else batch).groups
        image, words, scale, bias = module(seen, text)
        return contrastive(image, words, scale.float(), bias.float(), ids)

    return loss_of


def noise(draws: np.ndarray, dim: int, length: float) -> Tensor:
    """Return noise of about a length for each of draws ``(B,)``, ``(B, dim)`` float32: a function of the draw alone."""
    rows = [rng_of(draw, PURPOSE_NOISE).standard_normal(dim, np.float32) for draw in draws]
    return torch.from_numpy(np.stack(rows) * np.float32(length / dim**0.5))


def _train(alignment: Alignment, encoder: Encoder, run: RunFolder) -> int:
    config, ranks = alignment.config, alignment.ranks
    kept = _kept_vectors(alignment, run)
    model = _model(alignment, encoder)
    if ranks.rank == 0:
        logger.info(
            "%s captions; %s of %s parameters train",
            f"{len(alignment.captions.texts):,}",
            f"{count_parameters(model, trainable=True):,}",
            f"{count_parameters(model):,}",
        )
    engine = make_engine(model, config.trainer.engine, ranks, config.trainer.steps, encoder.config.depth)
    hooks = []
    if config.curve_points and len(alignment.captions.words) > 1:
        hooks = [(max(1, config.trainer.steps // config.curve_points), _look(alignment, kept, run, engine))]
    task = Task(make_loss(alignment, model, kept), lambda state: caption_batches(alignment, state), hooks)
    trainer = Trainer(run, config.trainer, engine, task)
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    model = cast(AlignModel, engine.whole_model())
    merge_lora(model.encoder)
    if ranks.rank == 0:
        _finish(alignment, model, kept, run)
    ranks.barrier()
    return trainer.finish()


def _finish(alignment: Alignment, model: AlignModel, kept: KeptVectors, run: RunFolder) -> None:
    """Save the model and write what it knows."""
    aligned = aligned_of(alignment, model.eval(), kept)
    report = alignment_report(alignment, aligned, alignment.of(TEST))
    prompts = [text for each in alignment.captions.words for text in sentences([*each.seen, *each.unseen])]
    aligned.text(prompts) if prompts else None
    aligned.kept = KeptVectors(aligned.kept.digest, {text: aligned.kept.vectors[text] for text in prompts})
    scores = {name: str(row.get("mean_recall")) for name, row in report["three_numbers"].items()}
    config = alignment.config
    aligned.record["provenance"] = {"shards": str(config.shards), "checkpoint": str(config.checkpoint), **scores}
    save_aligned(run.checkpoint, aligned, overwrite=True)
    write_json(run.path / "metrics.json", report)
    console.print(report_table(report))


def aligned_of(alignment: Alignment, model: AlignModel, kept: KeptVectors) -> Aligned:
    """Return a model under training as one that can be asked for words."""
    label_set = alignment.shards.label_set
    tower: Any = model.tower
    pooling = alignment.config.text.pooling if tower is None else tower.pooling
    record = {
        "text": alignment.source.describe() | {"pooling": pooling},
        "label_set": label_set.to_dict() if label_set else None,
        "held_out": [alignment.captions.words[i].name for i in alignment.held_out],
    }
    if model.tower is None:
        return Aligned(model, kept, alignment.source, record)
    return Aligned(model, KeptVectors("training"), _Tower(model.tower), record)


class _Tower:
    """A text model under training as a source; its vectors hold for this moment alone."""

    digest = "training"

    def __init__(self, tower: Any) -> None:
        self.tower, self.dim = tower, tower.dim

    def encode(self, texts: Any) -> np.ndarray:
        training = self.tower.training
        vectors = self.tower.encode(texts)
        self.tower.train(training)
        return vectors

    def describe(self) -> dict[str, Any]:
        return {}


def _look(alignment: Alignment, kept: KeptVectors, run: RunFolder, engine: Any) -> Callable[[int], float | None]:
    """Return a hook that classifies validation samples by training words."""
    from finetune.text.report import seen_score

    few = alignment.of(VAL)
    few = few[np.unique(np.linspace(0, len(few) - 1, min(len(few), LOOKED_AT)).astype(int))] if len(few) else few

    def look(step: int) -> float | None:
        model = cast(AlignModel, engine.whole_model())
        score = None
        if alignment.ranks.rank == 0 and len(few):
            model.eval()
            score = seen_score(alignment, aligned_of(alignment, model, kept), few)
            model.train()
            if score is not None:
                run.log(step, "score", validation_mean_recall=score)
        alignment.ranks.barrier()
        return score

    return look


def _kept_vectors(alignment: Alignment, run: RunFolder) -> KeptVectors:
    """Encode the captions once, on rank 0, and read them on the others; a text model that trains keeps none."""
    if _tower_trains(alignment.config):
        return KeptVectors("training")
    path = run.path / KEPT
    kept = KeptVectors.read(path, alignment.source.digest)
    if alignment.ranks.rank == 0 and kept.missing(alignment.captions.texts):
        kept.of(alignment.captions.texts, alignment.source)
        kept.write(path)
    alignment.ranks.barrier()
    return KeptVectors.read(path, alignment.source.digest)


def _model(alignment: Alignment, encoder: Encoder) -> AlignModel:
    config = alignment.config
    torch.manual_seed(config.trainer.seed + 1)
    source: Any = alignment.source
    model = AlignModel(
        encoder,
        alignment.sensor,
        alignment.chip_px,
        source.dim,
        config.text.projection,
        config.loss,
        source.tower if _tower_trains(config) else None,
        config.image,
    )
    train = alignment.of(TRAIN)
    some = train[np.unique(np.linspace(0, len(train) - 1, min(len(train), STANDARDISED_ON)).astype(int))]
    standardise(model, pooled_features(model, alignment.shards, some.tolist()))
    model.set_trainable(config.mode, config.lora_rank)
    return model


def _tower_trains(config: AlignConfig) -> bool:
    return config.text.mode == "full" or config.text.model == SCRATCH


def _text_source(config: AlignConfig, captions: Captions) -> TextSource:
    """Open the text model; one from scratch is made of the captions' words, the same on every rank."""
    if config.text.model == SCRATCH:
        words = [t for each in captions.words for t in sentences([*each.seen, *each.unseen], config.captions.templates)]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "small"
            write_small_model(
                place,
                [*captions.texts, *words],
                width=config.text.width,
                depth=config.text.depth,
                seed=config.trainer.seed,
            )
            source = ModelSource(place, config.text.pooling, "made from the captions")
            _ = source.tower  # read while the folder is there
            return source
    source = open_text(config.text.model, config.text.pooling)
    if config.text.mode == "full" and not isinstance(source, ModelSource):
        raise TextError(
            f"text.mode=full trains a text model, but {config.text.model} is a file of vectors; use text.mode=frozen."
        )
    _ = source.dim  # a model that cannot be loaded is said now
    return source


def _held_out(config: AlignConfig, captions: Captions) -> tuple[int, ...]:
    names = [each.name for each in captions.words]
    unknown = [name for name in config.holdout_classes if name not in names]
    if unknown:
        raise ConfigError(
            f"holdout_classes names {unknown[0]!r}, which is no class of the shards"
            f" ({', '.join(names) or 'they have none'})."
        )
    return tuple(names.index(name) for name in config.holdout_classes)
