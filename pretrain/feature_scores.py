"""Probes during pretraining: scores of the frozen features on labelled shards, beside baselines and by band subset.

Each rank reads and encodes a share of the samples and fits a share of the probes, on its own device. A share holds
whole batches, so that the features of several ranks are those of one to the bit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from bandloom.band_subsets import BAND_SUBSETS, take_slots
from bandloom.classes.label_set import IGNORE_INDEX, majority_classes
from bandloom.command_line.console import logger
from bandloom.draws.evenly import evenly
from bandloom.errors import ConfigError
from bandloom.model.encoder import Encoder
from bandloom.pretrain.config import ProbeConfig
from bandloom.pretrain.start import ALONE
from bandloom.probes import ProbeScores, probe
from bandloom.run_state.pulse import alive, pulse
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.ranks import Ranks

_BATCH = 16  # samples a forward pass


@dataclass(frozen=True)
class LabelledTokens:
    """A rank's samples of one split, all of one sensor, and a class of each token, or one of a whole sample."""

    groups: dict[int, np.ndarray]  # (N, C, H, W) uint16 by gsd
    sensor: Sensor
    classes: np.ndarray  # (N, T) of tokens or (N, 1) of samples, IGNORE_INDEX where there is none


class FeatureScores:
    """Probes an encoder on labelled shards; the baselines are the same probe on less, and are computed once."""

    def __init__(self, config: ProbeConfig, untrained: Encoder, ranks: Ranks = ALONE) -> None:
        """Read this rank's share of the labelled samples; all ranks call it, and the scores.

        Args:
            config: which shards, and how many tokens of them.
            untrained: the encoder before its first step, which is one of the baselines.
            ranks: who share the work.

        Raises:
            ConfigError: the shards hold no labels in one of the splits.
        """
        shards = ShardSet(config.shards)
        if shards.label_set is None:
            raise ConfigError(
                f"probe.shards: {config.shards} has no labels; build it with --labels or --class-folders."
            )
        self.classes, self.ranks = len(shards.label_set), ranks
        token_m = untrained.config.token_m
        self.train, self.test = (
            read_labelled_tokens(shards, split, config.tokens, token_m, ranks)
            for split in (config.train_split, config.test_split)
        )
        self._known = [ranks.gather_rows(_labelled(part.classes)[:, None])[:, 0] for part in (self.train, self.test)]
        self.floors = self._floors(untrained)

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """Return accuracies by name: ``ridge`` and ``knn`` on all bands, ``ridge_NAME`` on a subset, the baselines."""
        own = set(self.train.sensor.slots)
        subsets = {name: slots for name, slots in BAND_SUBSETS.items() if set(slots) < own}
        scores = self._scores(
            {
                name: self._gathered(partial(token_features, encoder, slots=slots))
                for name, slots in {"": None, **subsets}.items()
            },
            encoder.norm.weight.device,
        )
        everything = scores[""]
        return {
            "ridge": everything.ridge,
            "knn": everything.knn,
            **{f"ridge_{name}": scores[name].ridge for name in subsets},
            **self.floors,
        }

    def _floors(self, untrained: Encoder) -> dict[str, float]:
        scores = self._scores(
            {
                "raw": self._gathered(partial(_raw_samples, untrained)),
                "random": self._gathered(partial(token_features, untrained)),
            },
            untrained.norm.weight.device,
        )
        train, test = self._known
        majority = (test == np.bincount(train).argmax()).mean()
        floors = {f"floor_{name}": score.ridge for name, score in scores.items()}
        return floors | {"floor_majority": float(majority)}

    def _gathered(self, features: Callable[[LabelledTokens], np.ndarray]) -> list[np.ndarray]:
        """Return the features of all training and test tokens, of which this rank computes its share."""
        own = self.ranks.together(lambda: [features(tokens) for tokens in (self.train, self.test)])
        return [self.ranks.gather_rows(part) for part in own]

    def _scores(self, sets: Mapping[str, Sequence[np.ndarray]], device: torch.device) -> dict[str, ProbeScores]:
        """Return the scores of each set of features, of which this rank fits its share."""
        train, test = self._known
        own = {name for place, name in enumerate(sets) if place % self.ranks.world == self.ranks.rank}

        def fitted(name: str) -> list[float]:
            if name not in own:
                return [0.0, 0.0]
            scores = alive(lambda: probe(sets[name][0], train, sets[name][1], test, self.classes, device), "probes")
            return [scores.ridge, scores.knn]

        told = self.ranks.together(lambda: [fitted(name) for name in sets])
        sums = iter(self.ranks.totals([number for pair in told for number in pair]))
        return {name: ProbeScores(next(sums), next(sums)) for name in sets}


def read_labelled_tokens(
    shards: ShardSet, split: str, tokens: int, token_m: int, ranks: Ranks = ALONE
) -> LabelledTokens:
    """Read samples of ``split``, evenly spread over it, until all ranks hold ``tokens`` tokens (or chips) together.

    Raises:
        ConfigError: the split has no labelled sample.
    """
    indices = shards.indices(split)
    if not len(indices):
        held = sorted({entry.split for entry in shards.entries})
        raise ConfigError(
            f"probe: {shards.path} has no sample in the split {split!r}; it holds {', '.join(held)}: set"
            " probe.train_split and probe.test_split."
        )
    sensor = shards.sensors[shards.entries[indices[0]].sensor]
    side = shards.side_px * 10 // token_m
    by_chip = shards.entries[indices[0]].class_index is not None
    wanted = tokens if by_chip else max(1, tokens // side**2)
    chosen = [
        index
        for index in indices[evenly(len(indices), wanted)]
        if shards.sensors[shards.entries[index].sensor] == sensor
    ]
    samples = [shards.read(index) for index in chosen[own_batches(len(chosen), ranks)]]
    classes = np.empty((len(samples), 1 if by_chip else side**2), np.int64)
    for place, sample in enumerate(samples):
        if sample.class_index is not None:
            classes[place] = sample.class_index
        elif sample.label is not None:
            classes[place] = majority_classes(sample.label, token_m // 10).ravel()
        else:
            classes[place] = IGNORE_INDEX
    if not ranks.any(bool((classes != IGNORE_INDEX).any())):
        raise ConfigError(f"probe: the split {split!r} of {shards.path} has no labelled token; build it with labels.")
    groups = {gsd: np.stack([sample.groups[gsd] for sample in samples]) for gsd in samples[0].groups} if samples else {}
    return LabelledTokens(groups, sensor, classes)


def own_batches(count: int, ranks: Ranks) -> slice:
    """Return which of ``count`` samples are this rank's: whole batches, those of all ranks in the ranks' order."""
    batches = -(-count // _BATCH)
    first, last = (batches * rank // ranks.world * _BATCH for rank in (ranks.rank, ranks.rank + 1))
    return slice(first, min(last, count))


@torch.no_grad()
def token_features(encoder: Encoder, tokens: LabelledTokens, slots: tuple[str, ...] | None = None) -> np.ndarray:
    """Return the features of labelled tokens, ``(N, D)`` float32, from the bands of ``slots`` (None: all).

    A class of a whole sample goes with the mean of its tokens.
    """
    was_training = encoder.training
    encoder.eval()
    groups, sensor = tokens.groups, tokens.sensor
    if slots is not None and groups:
        groups, sensor = take_slots(groups, sensor, slots)
    parts = []
    for batch in _batches(groups, encoder):
        features = encoder.forward_features(batch, sensor).float()
        parts.append((features if tokens.classes.shape[1] > 1 else features.mean(1, keepdim=True)).cpu())
    encoder.train(was_training)
    return _of_labelled(parts, tokens)


@torch.no_grad()
def _raw_samples(encoder: Encoder, tokens: LabelledTokens) -> np.ndarray:
    parts = []
    for batch in _batches(tokens.groups, encoder):
        samples = encoder.samples(batch, tokens.sensor)[0].float()
        parts.append((samples if tokens.classes.shape[1] > 1 else samples.mean(1, keepdim=True)).cpu())
    return _of_labelled(parts, tokens)


def _of_labelled(parts: Sequence[torch.Tensor], tokens: LabelledTokens) -> np.ndarray:
    """Return the rows of tokens that have a class; a rank that has no sample has none."""
    return torch.cat(list(parts)).numpy()[tokens.classes != IGNORE_INDEX] if parts else np.empty((0, 0), np.float32)


def _batches(groups: Mapping[int, np.ndarray], encoder: Encoder) -> Iterator[dict[int, torch.Tensor]]:
    device = encoder.norm.weight.device
    count = len(next(iter(groups.values()))) if groups else 0
    for start in range(0, count, _BATCH):
        pulse("features for probes")
        yield {
            gsd: torch.from_numpy(np.ascontiguousarray(g[start : start + _BATCH])).to(device)
            for gsd, g in groups.items()
        }


def _labelled(classes: np.ndarray) -> np.ndarray:
    return classes[classes != IGNORE_INDEX]


def say(step: int, scores: Mapping[str, float]) -> None:
    """Say the scores in a line of the log."""
    bands = ", ".join(
        f"{name.removeprefix('ridge_')} {value:.3f}" for name, value in scores.items() if name.startswith("ridge_")
    )
    logger.info(
        "step %d, frozen features: ridge %.3f, kNN %.3f (raw samples %.3f, random weights %.3f, majority %.3f);"
        " by bands: %s",
        step,
        scores["ridge"],
        scores["knn"],
        scores["floor_raw"],
        scores["floor_random"],
        scores["floor_majority"],
        bands,
    )
