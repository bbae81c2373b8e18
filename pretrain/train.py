"""A pretraining run: shards in, an encoder in Hugging Face's layout out."""

from collections.abc import Iterator
from typing import Any

import torch

from bandloom.checkpoint import save_encoder
from bandloom.console import logger
from bandloom.device_batch import DeviceBatch
from bandloom.encoder import Encoder, count_parameters
from bandloom.engine import make_engine
from bandloom.errors import ShardError
from bandloom.markers import EXIT_DONE
from bandloom.ranks import Ranks
from bandloom.run_folder import RunFolder, commit
from bandloom.statistics import Statistics
from bandloom.trainer import LoadedStep, Task, Trainer
from pretrain.config import PretrainConfig
from pretrain.mae import MaskedAutoencoder
from pretrain.pictures import save_reconstructions
from shards.loader import Loader, LoaderState
from shards.shard_set import ShardSet


def pretrain(config: PretrainConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Train, or go on from the newest snapshot in ``run``; returns the exit code (0 done, 75 stopped after a save).

    Raises:
        BandloomError: the shards, the config or the run folder cannot be used.
    """
    ranks = Ranks.from_environment()
    ranks.start()
    try:
        if ranks.rank == 0:
            run.start(config, from_scratch=from_scratch)
        ranks.barrier()
        return _train(config, run, ranks)
    finally:
        run.close()
        ranks.stop()


def _train(config: PretrainConfig, run: RunFolder, ranks: Ranks) -> int:
    shards = ShardSet(config.shards)
    model = build_model(config, shards)
    engine = make_engine(model, config.trainer.engine, ranks, config.trainer.steps, model.encoder.config.depth)
    loaders = _Loaders(config, shards, ranks)
    fixed = next(iter(loaders.fixed())) if ranks.rank == 0 else None

    def draw(step: int) -> None:
        if fixed is not None:
            save_reconstructions(model, fixed, run.pictures / f"reconstruction-{step:07d}.png")

    task = Task(_loss_of, loaders.open, [(config.pictures_every, draw)])
    trainer = Trainer(run, config.trainer, engine, task)
    if ranks.rank == 0:
        logger.info("encoder %s: %s parameters, decoder and head %s more", config.size,
                    f"{count_parameters(model.encoder):,}",
                    f"{count_parameters(model) - count_parameters(model.encoder):,}")  # fmt: skip
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    if ranks.rank == 0:
        provenance = {"shards": str(config.shards), "steps": trainer.step, "seed": config.trainer.seed,
                      "commit": commit(), "config": config.model_dump(mode="json")}  # fmt: skip
        save_encoder(run.checkpoint, model.encoder, list(shards.sensors.values()), provenance, overwrite=True)
    return trainer.finish()


def build_model(config: PretrainConfig, shards: ShardSet) -> MaskedAutoencoder:
    """Return the autoencoder with weights drawn from the config's seed, the same on all ranks."""
    torch.manual_seed(config.trainer.seed)
    encoder = Encoder(config.encoder(), Statistics.from_mapping(shards.statistics))
    return MaskedAutoencoder(encoder, config.decoder_or_default(), config.objective)


def _loss_of(module: torch.nn.Module, batch: DeviceBatch) -> torch.Tensor:
    return module(batch)


class _Loaders:
    def __init__(self, config: PretrainConfig, shards: ShardSet, ranks: Ranks) -> None:
        self.config, self.shards, self.ranks = config, shards, ranks
        self.indices = shards.indices(config.split)
        if not len(self.indices):
            raise ShardError(
                f"{config.shards} has no sample in the split {config.split!r}; pass split=null to train on all of them."
            )

    def _loader(self, batch_size: int, **options: Any) -> Loader:
        return Loader(self.shards, self.indices, batch_size, seed=self.config.trainer.seed,
                      crop_px=self.config.crop_px, workers=self.config.trainer.workers, **options)  # fmt: skip

    def open(self, state: dict[str, int] | None) -> Iterator[LoadedStep]:
        """Yield steps from a loader's state on."""
        start = LoaderState(**state) if state else LoaderState(epoch=0, position=0)
        loader = self._loader(self.config.trainer.batch_size, rank=self.ranks.rank, world=self.ranks.world, start=start)
        for batch in loader:
            after = {"epoch": batch.state.epoch, "position": batch.state.position}
            yield LoadedStep(DeviceBatch.of(batch, self.ranks.device), after)

    def fixed(self) -> Iterator[DeviceBatch]:
        """Yield the few samples whose reconstructions are drawn all along."""
        count = min(4, len(self.indices))
        for batch in self._loader(count, shuffle=False, augment=False):
            yield DeviceBatch.of(batch, self.ranks.device)
