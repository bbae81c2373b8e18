"""``bandloom caption train``: shards, captions and questions in; a captioner and what it knows out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.command_line.console import console, logger
from bandloom.errors import ConfigError
from bandloom.files.output import write_json
from bandloom.finetune.captioner.answers import answer_report, answer_table
from bandloom.finetune.captioner.checkpoint import save_captioner
from bandloom.finetune.captioner.config import CaptionerConfig
from bandloom.finetune.captioner.language import describe, open_language
from bandloom.finetune.captioner.model import IGNORED, Captioner
from bandloom.finetune.captioner.pairs import Pairs, make_pairs
from bandloom.finetune.data.labelled import pick_sensor
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.experiment import pretrained_or_random
from bandloom.finetune.text.samples import chip_side, sample_roles
from bandloom.finetune.training.augment import d4
from bandloom.finetune.training.batches import loaded_steps, loader_of
from bandloom.model.encoder import count_parameters
from bandloom.model.statistics import Statistics
from bandloom.run_state.markers import EXIT_DONE
from bandloom.run_state.pulse import spoken
from bandloom.run_state.run_folder import RunFolder
from bandloom.sensors import Sensor
from bandloom.shards.read.loader import LoaderState
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.attempt import Attempt
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.device_memory import to_device
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import LossSums, MeanLoss
from bandloom.training.trainer import LoadedStep, Task, Trainer

TIMEOUT_S = 4 * 3600.0


@dataclass(frozen=True)
class Conversation:
    """What a run trains on."""

    config: CaptionerConfig
    ranks: Ranks
    shards: ShardSet
    sensor: Sensor
    pairs: Pairs
    indices: np.ndarray
    roles: np.ndarray
    chip_px: int

    def of(self, role: int) -> np.ndarray:
        """Return the samples of a role that have something to say."""
        chosen = self.indices[self.roles == role]
        return chosen[np.array([self.shards.entries[int(i)].key in self.pairs.of_key for i in chosen], bool)]


def train_captioner(config: CaptionerConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Train a captioner, or go on from the newest snapshot in ``run``.

    Returns:
        The exit code: 0 done, 75 stopped after a save.

    Raises:
        BandloomError: the shards, the texts, the language model, the config or the run folder cannot be used; nothing
            was written then.
    """
    with Attempt(run, TIMEOUT_S) as attempt:
        conversation, model = prepare(config, attempt.ranks)
        manifest = conversation.shards.manifest
        attempt.open(config, from_scratch=from_scratch, made_of=manifest, manifest=manifest)
        attempt.code = _train(conversation, model, attempt)
    return attempt.code


def prepare(config: CaptionerConfig, ranks: Ranks) -> tuple[Conversation, Captioner]:
    """Check everything that can be wrong before the first file is written."""
    if config.trainer.engine.zero_stage == 3 and config.language.mode != "full":
        raise ConfigError(
            "trainer.engine.zero_stage is 3, which cannot shard a language model that does not train; use"
            " 0, 1 or 2, or language.mode=full."
        )
    shards = ShardSet(config.shards)
    sensor = pick_sensor(shards, config.sensor)
    indices = np.array([i for i, entry in enumerate(shards.entries) if entry.sensor == sensor.name], np.int64)
    pairs = make_pairs(config, shards, indices)
    _, roles = sample_roles(config.split, shards, indices)
    encoder = pretrained_or_random(config, Statistics.from_mapping(shards.statistics))
    side = chip_side(shards, indices, encoder)
    conversation = Conversation(config, ranks, shards, sensor, pairs, indices, roles, side)
    few = len(conversation.of(TRAIN))
    if few < config.trainer.batch_size:
        raise ConfigError(
            f"{few} samples are left to train on, less than trainer.batch_size of"
            f" {config.trainer.batch_size}; lower it, or use more ground."
        )
    torch.manual_seed(config.trainer.seed + 1)
    language, tokenizer = open_language(config.language)
    model = Captioner(encoder, sensor, side, language, tokenizer, config.image_tokens, config.most_tokens)
    return conversation, model


class AnswerLoss(MeanLoss):
    """The mean loss of a step's answer tokens: one exchange an image, drawn by the sample and the epoch."""

    def __init__(self, conversation: Conversation, model: Captioner) -> None:
        self.pairs, self.config, self.device = conversation.pairs, conversation.config, conversation.ranks.device
        self.encode = model.encode

    def prepare(self, batch: DeviceBatch) -> tuple[dict[int, Tensor], Tensor, Tensor]:
        """Return images, and ids and targets of what is said about them."""
        drawn = [self.pairs.draw(key, draw) for key, draw in zip(batch.keys, batch.draws, strict=True)]
        ids, targets, _ = self.encode([(pair.prompt, pair.answer) for pair in drawn])
        batch = d4(batch) if self.config.augment else batch
        return batch.groups, to_device(ids, self.device), to_device(targets, self.device)

    def sums(self, module: nn.Module, batch: tuple[dict[int, Tensor], Tensor, Tensor]) -> LossSums:
        """Return the summed loss of the answers' tokens, and their number."""
        return LossSums(module(*batch)[None], self.counts(batch))

    def counts(self, batch: tuple[dict[int, Tensor], Tensor, Tensor]) -> Tensor:
        """Return the number of the answers' tokens."""
        return (batch[2] != IGNORED).sum()[None]


def image_steps(conversation: Conversation, state: LoaderState) -> Iterator[LoadedStep]:
    """Yield training images without end."""
    trained, ranks = conversation.of(TRAIN), conversation.ranks
    more = {"crop_px": conversation.chip_px, "start": state, "augment": False}
    return loaded_steps(loader_of(conversation.shards, trained, conversation.config.trainer, ranks, **more), ranks)


def _train(conversation: Conversation, model: Captioner, attempt: Attempt) -> int:
    config, ranks, run = conversation.config, conversation.ranks, attempt.run
    said = describe(config.language.model, model.language)
    if ranks.rank == 0:
        _say_sizes(conversation, model)
    engine = make_engine(model, config.trainer.engine, ranks, config.trainer.steps, model.encoder.config.depth)
    model.train()
    task = Task(AnswerLoss(conversation, model), lambda state: image_steps(conversation, state))
    trainer = Trainer(run, config.trainer, engine, task)
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    trained = cast(Captioner, engine.whole_model()).eval()
    attempt.alone(lambda: _finish(conversation, trained, run, said))
    return trainer.finish()


def _finish(conversation: Conversation, trained: Captioner, run: RunFolder, said: dict[str, Any]) -> None:
    """Save the captioner and write what it knows."""
    config = conversation.config
    report = answer_report(
        trained,
        conversation.shards,
        conversation.of(TEST),
        conversation.pairs,
        conversation.of(TRAIN),
        config.test_pairs,
    )
    with spoken("saving the model"):
        save_captioner(run.checkpoint, trained, config, said)
    write_json(run.path / "metrics.json", report | {"language_model": said, "seed": config.trainer.seed})
    console.print(answer_table(report))


def _say_sizes(conversation: Conversation, model: Captioner) -> None:
    every = [(pair.prompt, pair.answer) for own in conversation.pairs.of_key.values() for pair in own]
    cut = model.encode(every)[2]
    if cut:
        logger.warning(
            "%d of %d prompts and answers are longer than %d tokens and are cut", cut, len(every), model.most_tokens
        )
    inside: Any = model.language
    logger.info(
        "%s exchanges; %s parameters train beside the language model's %s",
        f"{len(every):,}",
        f"{count_parameters(model, trainable=True):,}",
        f"{count_parameters(inside):,}",
    )
