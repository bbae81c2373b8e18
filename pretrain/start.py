"""What a pretraining starts from: random weights, an encoder's checkpoint, or the newest snapshot of another run."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bandloom.command_line.console import logger
from bandloom.errors import CheckpointError
from bandloom.model.checkpoint import checkpoint_folder, load_encoder
from bandloom.model.encoder import Encoder
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives import Distillation
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.ranks import Ranks
from bandloom.training.snapshots import Snapshots
from bandloom.training.torch_engine import model_state

ALONE = Ranks(0, 0, 1, torch.device("cpu"))


@dataclass(frozen=True)
class Start:
    """An autoencoder before its first step, and the optimiser's state where that is kept."""

    model: MaskedAutoencoder
    state: dict[str, Tensor] | None = None


def start_of(config: PretrainConfig, shards: ShardSet) -> Start:
    """Return the autoencoder that ``config.checkpoint`` names, or one of random weights; the same on all ranks.

    Raises:
        CheckpointError: the checkpoint's encoder is of another shape, lacks a band of the shards, or brings no
            optimiser's state where that is to be kept.
    """
    if config.checkpoint is None:
        return Start(random_model(config, Statistics.from_mapping(shards.statistics)))
    snapshot = Snapshots(config.checkpoint / "snapshots", ALONE).latest()
    encoder = _encoder(
        config, shards, snapshot.folder / "encoder" if snapshot else checkpoint_folder(config.checkpoint)
    )
    model = random_model(config, encoder.statistics)
    model.encoder.load_state_dict(encoder.state_dict())
    model.encoder.owe(encoder.licence())
    model.objective.follow(model.encoder)
    if snapshot is None:
        if config.keep_optimizer:
            raise CheckpointError(
                f"{config.checkpoint} holds no optimiser's state; leave keep_optimizer out, or pass a pretraining run."
            )
        logger.info("starting from the encoder %s; the decoder is drawn anew", config.checkpoint)
        return Start(model)
    state = snapshot.load()
    try:
        model.load_state_dict(model_state(state))
    except RuntimeError as cause:
        raise CheckpointError(
            f"{snapshot.folder} was trained with another decoder or objective than this config's; set decoder and"
            f" objective as in {config.checkpoint / 'config.yaml'}, or pass {snapshot.folder / 'encoder'}."
        ) from cause
    logger.info("starting from step %d of %s", snapshot.step, config.checkpoint)
    return Start(model, state if config.keep_optimizer else None)


def random_model(config: PretrainConfig, statistics: Statistics) -> MaskedAutoencoder:
    """Return the autoencoder with weights drawn from the config's seed, the same on all ranks."""
    torch.manual_seed(config.trainer.seed)
    encoder = Encoder(config.encoder(), statistics)
    model = MaskedAutoencoder(encoder, config.decoder_or_default(), config.objective)
    if isinstance(model.objective, Distillation):
        encoder.owe(model.objective.teacher.licence())
    return model


def _encoder(config: PretrainConfig, shards: ShardSet, folder: Path) -> Encoder:
    encoder = load_encoder(folder)
    if not isinstance(encoder, Encoder):
        raise CheckpointError(f"{folder} is a public encoder, which is not pretrained here; pass one of bandloom's.")
    held, wanted = encoder.config, config.encoder().with_changes(drop_path=encoder.config.drop_path)
    if held != wanted:
        told, own = held.model_dump(), wanted.model_dump()
        differing = [f"{key}={value}" for key, value in told.items() if value != own[key]]
        raise CheckpointError(
            f"the encoder of {folder} has {', '.join(differing)}, unlike size={config.size} and"
            f" token_m={config.token_m}; set these to the checkpoint's."
        )
    missing = sorted(
        {slot for sensor in shards.sensors.values() for slot in sensor.slots} - set(encoder.statistics.mean)
    )
    if missing:
        raise CheckpointError(
            f"the encoder of {folder} was trained without {', '.join(missing)}, which {config.shards} brings; start"
            " from random weights, or from an encoder that knows these bands."
        )
    return encoder
