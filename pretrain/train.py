"""A pretraining run: shards in, an encoder in Hugging Face's layout out."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import logger
from bandloom.errors import ConfigError, ShardError
from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import count_parameters
from bandloom.model.statistics import Statistics
from bandloom.pretrain.codebook import prepare_codebook
from bandloom.pretrain.config import PretrainConfig, ProbeConfig
from bandloom.pretrain.cost import cost_of
from bandloom.pretrain.feature_scores import FeatureScores, say
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives import Distillation, VisualWords
from bandloom.pretrain.pictures import save_reconstructions
from bandloom.pretrain.start import Start, random_model, start_of
from bandloom.pretrain.teacher_statistics import prepare_teacher, taught_share
from bandloom.run_state.markers import EXIT_DONE
from bandloom.run_state.pulse import spoken
from bandloom.run_state.run_folder import RunFolder, commit
from bandloom.shards.read.loader import Loader, LoaderState
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.attempt import Attempt
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.device_memory import page_locked
from bandloom.training.engine import Engine
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.side_stream import SideStream
from bandloom.training.snapshots import step_of
from bandloom.training.trainer import LoadedStep, Task, Trainer


def pretrain(config: PretrainConfig, run: RunFolder, *, from_scratch: bool = False, profile: bool = False) -> int:
    """Train, or go on from the newest snapshot in ``run``; returns the exit code (0 done, 75 stopped after a save).

    Args:
        config: what to train.
        run: where; an unfinished run in it goes on.
        from_scratch: throw away what the run folder holds.
        profile: write a trace of a few steps into the run folder.

    Raises:
        BandloomError: the shards, the config or the run folder cannot be used.
    """
    with Attempt(run) as attempt:
        loaders, start = _prepare(config, attempt.ranks)
        attempt.open(config, from_scratch=from_scratch, manifest=loaders.shards.manifest)
        attempt.code = _train(config, loaders, start, attempt, profile=profile)
    return attempt.code


def _prepare(config: PretrainConfig, ranks: Ranks) -> tuple["_Loaders", Start]:
    """Check everything that can be wrong before the first file is written."""
    shards = ShardSet(config.shards)
    return _Loaders(config, shards, ranks), start_of(config, shards)


def _train(config: PretrainConfig, loaders: "_Loaders", start: Start, attempt: Attempt, *, profile: bool) -> int:
    run, ranks = attempt.run, attempt.ranks
    shards, model = loaders.shards, start.model
    if ranks.rank == 0:
        inside, whole = count_parameters(model.encoder), count_parameters(model)
        logger.info(
            "encoder %s: %s parameters, decoder and head %s more", config.size, f"{inside:,}", f"{whole - inside:,}"
        )
    if isinstance(model.objective, VisualWords):
        with spoken("finding the visual words"):
            prepare_codebook(model.objective, model.encoder, shards, loaders.indices)
    depth = model.encoder.config.depth
    engine = make_engine(model, config.trainer.engine, ranks, config.trainer.steps, depth)
    if start.state is not None:
        engine.load_state(start.state)
    if isinstance(model.objective, Distillation):
        with spoken("reading the teacher's tokens"):
            prepare_teacher(model.objective, shards, loaders.indices, config.crop_px)
    saver = _Saver(config, shards)
    hooks: list[tuple[int, Callable[[int], float | None]]] = [
        (config.pictures_every, _Reconstructions(engine, loaders, run))
    ]
    if config.probe is not None:
        hooks.append((config.probe.every, _Probes(engine, config, config.probe, shards, run)))
    task = Task(
        MaskedLoss(model, list(shards.sensors.values())),
        loaders.open,
        hooks,
        save_beside=lambda folder, whole: saver.save(folder / "encoder", whole, step_of(folder)),
        flops_per_sample=_flops_per_sample(config, shards, loaders.indices),
    )
    trainer = Trainer(run, config.trainer, engine, task, profile=profile)
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    whole_model = engine.whole_model()
    with spoken("saving the encoder"):
        attempt.alone(lambda: saver.save(run.checkpoint, whole_model, trainer.step))
    return trainer.finish()


class _Reconstructions:
    """Draws a few fixed samples, what the model makes of them and what is true."""

    def __init__(self, engine: Engine, loaders: "_Loaders", run: RunFolder) -> None:
        self.engine, self.run = engine, run
        self.fixed = next(iter(loaders.fixed())) if engine.ranks.rank == 0 else None

    def __call__(self, step: int) -> None:
        model = self.engine.whole_model()
        if self.fixed is not None and isinstance(model, MaskedAutoencoder):
            save_reconstructions(model, self.fixed, self.run.pictures / f"reconstruction-{step:07d}.png")


class _Probes:
    """Scores the frozen features on labels; the best snapshot is kept by it."""

    def __init__(
        self, engine: Engine, config: PretrainConfig, probe: ProbeConfig, shards: ShardSet, run: RunFolder
    ) -> None:
        self.engine, self.run = engine, run
        statistics = Statistics.from_mapping(shards.statistics)
        untrained = random_model(config, statistics).encoder.to(engine.ranks.device)
        self.scores = FeatureScores(probe, untrained, engine.ranks)

    def __call__(self, step: int) -> float | None:
        model = self.engine.whole_model()
        if not isinstance(model, MaskedAutoencoder):
            return None
        scores = self.scores(model.encoder)
        if self.engine.ranks.rank == 0:
            self.run.log(step, "score", **{name: round(value, 4) for name, value in scores.items()})
            say(step, scores)
        return scores["ridge"]


class _Saver:
    """Writes the encoder as a folder that fine-tuning reads."""

    def __init__(self, config: PretrainConfig, shards: ShardSet) -> None:
        self.config, self.sensors = config, list(shards.sensors.values())

    def save(self, folder: Path, model: torch.nn.Module, step: int) -> None:
        """Write the encoder of ``model`` after ``step`` steps."""
        if not isinstance(model, MaskedAutoencoder):
            raise TypeError(f"a masked autoencoder is expected, not {type(model).__name__}")
        provenance = {
            "shards": str(self.config.shards),
            "steps": step,
            "seed": self.config.trainer.seed,
            "commit": commit(),
            "config": self.config.model_dump(mode="json"),
        }
        more = None
        if isinstance(model.objective, Distillation):
            provenance["teacher"] = model.objective.teacher.title()
            more = {"centre": model.objective.centre, "whiten": model.objective.whiten}
        save_encoder(folder, model.encoder, self.sensors, provenance, overwrite=True, teacher=more)


def _flops_per_sample(config: PretrainConfig, shards: ShardSet, indices: np.ndarray) -> float:
    sensor = max(shards.sensors.values(), key=lambda sensor: len(sensor.slots))
    taught = taught_share(config, shards, indices)
    return cost_of(config, sensor, shards.side_px, taught=taught).train_flops


def check_hidden(config: PretrainConfig, side_px: int) -> None:
    """Check that a chip has tokens to hide, and some to see.

    Raises:
        ConfigError: its tokens are so few that there is nothing to learn.
    """
    tokens = ((config.crop_px or side_px) * 10 // config.token_m) ** 2
    hidden = tokens - max(1, round(tokens * (1 - config.objective.mask_ratio)))
    least = 2 if config.objective.kind == "latent" else 1  # a single one has nothing to be told apart from
    if hidden < least:
        raise ConfigError(
            f"a chip of {config.crop_px or side_px} pixels is {tokens} tokens of {config.token_m} m, of which {hidden}"
            f" would be hidden, and {least} must be; use larger chips (crop_px), smaller tokens (token_m), or a higher"
            " objective.mask_ratio."
        )


class _Loaders:
    def __init__(self, config: PretrainConfig, shards: ShardSet, ranks: Ranks) -> None:
        self.config, self.shards, self.ranks = config, shards, ranks
        self.indices = shards.indices(config.split)
        check_hidden(config, shards.side_px)
        if not len(self.indices):
            raise ShardError(
                f"{config.shards} has no sample in the split {config.split!r}; pass split=null to train on all of them."
            )

    def _loader(self, batch_size: int, **options: Any) -> Loader:
        return Loader(
            self.shards,
            self.indices,
            batch_size,
            seed=self.config.trainer.seed,
            crop_px=self.config.crop_px,
            workers=self.config.trainer.workers,
            allocate=page_locked(self.ranks.device),
            **options,
        )

    def open(self, state: LoaderState) -> Iterator[LoadedStep]:
        """Yield steps from a loader's state on."""
        loader = self._loader(
            self.config.trainer.batch_size,
            rank=self.ranks.rank,
            world=self.ranks.world,
            start=state,
            micro_batches=self.config.trainer.engine.accumulate,
            crops=self.config.crops,
        )
        to_device = SideStream(self.ranks.device)
        for batch in loader:
            yield LoadedStep(to_device(batch), batch.state)

    def fixed(self) -> Iterator[DeviceBatch]:
        """Yield the few samples whose reconstructions are drawn all along."""
        count = min(4, len(self.indices))
        for batch in self._loader(count, shuffle=False, augment=False):
            yield DeviceBatch.of(batch, self.ranks.device)
