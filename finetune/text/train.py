"""An alignment run: shards, captions and a text model in; an image encoder aligned with text, and its scores, out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.command_line.console import console, logger
from bandloom.draws.evenly import evenly
from bandloom.draws.sample_draws import rng_of
from bandloom.files.output import write_json
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from bandloom.finetune.model.lora import merge_lora
from bandloom.finetune.text.aligned_model import save_aligned
from bandloom.finetune.text.captions.words import sentences
from bandloom.finetune.text.config import AlignConfig
from bandloom.finetune.text.contrastive import CONTRASTIVE
from bandloom.finetune.text.image_cache import ImageCache
from bandloom.finetune.text.model import AlignModel, standardise
from bandloom.finetune.text.report import alignment_report, report_table
from bandloom.finetune.text.samples import pooled_features
from bandloom.finetune.text.setting import Alignment, aligned_of, prepare, tower_trains
from bandloom.finetune.text.text_model.tower import TextTower
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.finetune.training.augment import d4
from bandloom.finetune.training.batches import loaded_steps, loader_of
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.encoder import count_parameters
from bandloom.run_state.markers import EXIT_DONE
from bandloom.run_state.pulse import spoken
from bandloom.run_state.run_folder import RunFolder
from bandloom.shards.read.loader import LoaderState
from bandloom.training.attempt import Attempt
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.device_memory import to_device
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import JointLoss
from bandloom.training.trainer import LoadedStep, Task, Trainer

STANDARDISED_ON, LOOKED_AT = 512, 200
KEPT = "text_vectors.safetensors"
PURPOSE_NOISE = 202
TIMEOUT_S = 4 * 3600.0  # the other ranks wait while rank 0 encodes captions and writes the report


def align(config: AlignConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Align an encoder with captions, or go on from the newest snapshot in ``run``.

    Returns:
        The exit code: 0 done, 75 stopped after a save.

    Raises:
        BandloomError: the shards, the captions, the text model, the config or the run folder cannot be used; nothing
            was written then.
    """
    with Attempt(run, TIMEOUT_S) as attempt:
        alignment, encoder = prepare(config, attempt.ranks)
        manifest = alignment.shards.manifest
        attempt.open(config, from_scratch=from_scratch, made_of=manifest, manifest=manifest)
        attempt.code = _train(alignment, encoder, attempt)
    return attempt.code


def caption_batches(alignment: Alignment, state: LoaderState) -> Iterator[LoadedStep]:
    """Yield training images without end; which caption each has is a function of its draw."""
    trained, ranks = alignment.of(TRAIN), alignment.ranks
    more = {"crop_px": alignment.chip_px, "start": state, "augment": False}
    return loaded_steps(loader_of(alignment.shards, trained, alignment.config.trainer, ranks, **more), ranks)


class CaptionLoss(JointLoss):
    """A step's contrastive loss over all images of all ranks: turned images, one caption each."""

    def __init__(self, alignment: Alignment, model: AlignModel, kept: KeptVectors) -> None:
        self.captions, self.config, self.device = alignment.captions, alignment.config, alignment.ranks.device
        self.tower: Any = model.tower
        vectors = None if model.tower is not None else kept.of(self.captions.texts)
        self.table = None if vectors is None else torch.from_numpy(vectors).to(self.device)
        config = alignment.config
        frozen = config.mode == "frozen" and config.trainer.engine.kind == "torch"  # ZeRO parts weights among the ranks
        self.image_cache = ImageCache(model, turned=config.augment) if frozen else None

    def prepare(self, batch: DeviceBatch) -> tuple[Any, Any, Tensor]:
        """Return images or their vectors, texts or theirs, and which caption and class each is of."""
        numbers = [self.captions.draw(key, draw) for key, draw in zip(batch.keys, batch.draws, strict=True)]
        by_label = self.config.positives == "label"
        classes = [self.captions.class_of.get(key, -1) if by_label else -1 for key in batch.keys]
        ids = to_device(torch.tensor([numbers, classes]).T.contiguous(), self.device)
        if self.image_cache is not None:
            return self.image_cache.of(batch), self._text(numbers, batch), ids
        return (d4(batch) if self.config.augment else batch).groups, self._text(numbers, batch), ids

    def parts(self, module: nn.Module, batch: tuple[Any, Any, Tensor]) -> tuple[Tensor, ...]:
        """Return unit vectors of images and texts, their scale and bias ``(1,)``, and the ids."""
        image, words, scale, bias = module(batch[0], batch[1])
        return image, words, scale.float()[None], bias.float()[None], batch[2]

    def whole(self, parts: Sequence[tuple[Tensor, ...]], ranks: Ranks) -> Tensor:
        """Return the config's loss of this rank's images against those of all ranks."""
        image, words, scale, bias, ids = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return CONTRASTIVE[self.config.loss](image, words, scale.mean(), bias.mean(), ids)

    def _text(self, numbers: list[int], batch: DeviceBatch) -> Any:
        if self.table is None:
            tokens, mask = self.tower.tokenize([self.captions.texts[number] for number in numbers])
            return to_device(tokens, self.device), to_device(mask, self.device)
        noisy = noise(batch.draws, self.table.shape[1], self.config.text.noise)
        return self.table[to_device(torch.tensor(numbers), self.device)] + to_device(noisy, self.device)


def noise(draws: np.ndarray, dim: int, length: float) -> Tensor:
    """Return noise of about a length for each of draws ``(B,)``, ``(B, dim)`` float32: a function of the draw alone."""
    rows = [rng_of(draw, PURPOSE_NOISE).standard_normal(dim, np.float32) for draw in draws]
    return torch.from_numpy(np.stack(rows) * np.float32(length / dim**0.5))


def _train(alignment: Alignment, encoder: AnyEncoder, attempt: Attempt) -> int:
    config, ranks, run = alignment.config, alignment.ranks, attempt.run
    kept = _kept_vectors(alignment, attempt)
    model = _model(alignment, encoder)
    if ranks.rank == 0:
        logger.info(
            "%s captions; %s of %s parameters train",
            f"{len(alignment.captions.texts):,}",
            f"{count_parameters(model, trainable=True):,}",
            f"{count_parameters(model):,}",
        )
        if model.tower is not None:  # one that is frozen says it when it encodes them
            cast(TextTower, model.tower).say_cut(alignment.captions.texts)
    engine = make_engine(model, config.trainer.engine, ranks, config.trainer.steps, encoder.config.depth)
    hooks = []
    if config.curve_points and len(alignment.captions.words) > 1:
        hooks = [(max(1, config.trainer.steps // config.curve_points), _look(alignment, kept, run, engine))]
    task = Task(CaptionLoss(alignment, model, kept), lambda state: caption_batches(alignment, state), hooks)
    trainer = Trainer(run, config.trainer, engine, task)
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    model = cast(AlignModel, engine.whole_model())
    merge_lora(model.encoder)
    attempt.alone(lambda: _finish(alignment, model, kept, run))
    return trainer.finish()


def _finish(alignment: Alignment, model: AlignModel, kept: KeptVectors, run: RunFolder) -> None:
    """Save the model and write what it knows."""
    aligned = aligned_of(alignment, model.eval(), kept)
    report = alignment_report(alignment, aligned, alignment.of(TEST))
    prompts = [text for word in alignment.captions.words for text in sentences([*word.seen, *word.unseen])]
    aligned.text(prompts) if prompts else None
    aligned.kept = KeptVectors(aligned.kept.digest, {text: aligned.kept.vectors[text] for text in prompts})
    scores = {name: str(row.get("mean_recall")) for name, row in report["three_numbers"].items()}
    config = alignment.config
    aligned.record["provenance"] = {"shards": str(config.shards), "checkpoint": str(config.checkpoint), **scores}
    with spoken("saving the model"):
        save_aligned(run.checkpoint, aligned, overwrite=True)
    write_json(run.path / "metrics.json", report)
    console.print(report_table(report))


def _look(alignment: Alignment, kept: KeptVectors, run: RunFolder, engine: Any) -> Callable[[int], float | None]:
    """Return a hook that classifies validation samples by training words."""
    from bandloom.finetune.text.report import seen_score

    few = alignment.of(VAL)
    few = few[evenly(len(few), LOOKED_AT)]

    def look(step: int) -> float | None:
        model = cast(AlignModel, engine.whole_model())
        score = None
        if alignment.ranks.rank == 0 and len(few):
            model.eval()
            score = seen_score(alignment, aligned_of(alignment, model, kept), few)
            model.train()
            if score is not None:
                run.log(step, "score", validation_mean_recall=score)
        return score

    return look


def _kept_vectors(alignment: Alignment, attempt: Attempt) -> KeptVectors:
    """Encode the captions once, on rank 0, and read them on the others; a text model that trains keeps none.

    What was encoded when a stop comes is kept.
    """
    if tower_trains(alignment.config):
        return KeptVectors("training")
    path = attempt.run.path / KEPT
    kept = KeptVectors.read(path, alignment.source.digest)

    def encode() -> None:
        if kept.missing(alignment.captions.texts):
            try:
                kept.of(alignment.captions.texts, alignment.source)
            finally:
                kept.write(path)

    attempt.alone(encode)
    return KeptVectors.read(path, alignment.source.digest)


def _model(alignment: Alignment, encoder: AnyEncoder) -> AlignModel:
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
        source.tower if tower_trains(config) else None,
        config.image,
    )
    train = alignment.of(TRAIN)
    sampled = train[evenly(len(train), STANDARDISED_ON)]
    standardise(model, pooled_features(model, alignment.shards, sampled.tolist()))
    model.set_trainable(config.mode, config.lora_rank)
    return model
