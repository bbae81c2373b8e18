"""Probes during pretraining: scores of the frozen features on labelled shards, beside baselines and by band subset."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bandloom.band_subsets import BAND_SUBSETS, take_slots
from bandloom.console import logger
from bandloom.errors import ConfigError
from bandloom.evenly import evenly
from bandloom.label_set import IGNORE_INDEX, majority_classes
from bandloom.model.encoder import Encoder
from bandloom.pretrain.config import ProbeConfig
from bandloom.probes import ProbeScores, probe
from bandloom.pulse import alive, pulse
from bandloom.sensors import Sensor
from bandloom.shards.read.shard_set import ShardSet

_BATCH = 16  # samples a forward pass


@dataclass(frozen=True)
class LabelledTokens:
    """Samples of one split, all of one sensor, and a class for each token, or one for the whole of a sample."""

    groups: dict[int, np.ndarray]  # (N, C, H, W) uint16 by gsd
    sensor: Sensor
    classes: np.ndarray  # (N, T) of tokens or (N, 1) of samples, IGNORE_INDEX where there is none


class FeatureScores:
    """Probes an encoder on labelled shards; the baselines are the same probe on less, and are computed once."""

    def __init__(self, config: ProbeConfig, untrained: Encoder) -> None:
        """Read the labelled samples.

        Args:
            config: which shards, and how many tokens of them.
            untrained: the encoder before its first step, which is one of the baselines.

        Raises:
            ConfigError: the shards hold no labels in one of the splits.
        """
        shards = ShardSet(config.shards)
        if shards.label_set is None:
            raise ConfigError(
                f"probe.shards: {config.shards} has no labels; build it with --labels or --class-folders."
            )
        self.classes = len(shards.label_set)
        token_m = untrained.config.token_m
        self.train, self.test = (
            read_labelled_tokens(shards, split, config.tokens, token_m)
            for split in (config.train_split, config.test_split)
        )
        self.floors = self._floors(untrained)

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """Return accuracies by name: ``ridge`` and ``knn`` on all bands, ``ridge_NAME`` on a subset, the baselines."""
        everything = self._probe(*(token_features(encoder, tokens) for tokens in (self.train, self.test)))
        scores = {"ridge": everything.ridge, "knn": everything.knn}
        for name, slots in BAND_SUBSETS.items():
            if set(slots) < set(self.train.sensor.slots):
                found = self._probe(*(token_features(encoder, tokens, slots) for tokens in (self.train, self.test)))
                scores[f"ridge_{name}"] = found.ridge
        return scores | self.floors

    def _floors(self, untrained: Encoder) -> dict[str, float]:
        raw = self._probe(*(_raw_samples(untrained, tokens) for tokens in (self.train, self.test)))
        random = self._probe(*(token_features(untrained, tokens) for tokens in (self.train, self.test)))
        labels = _labelled(self.train.classes)
        majority = (_labelled(self.test.classes) == np.bincount(labels).argmax()).mean()
        return {"floor_raw": raw.ridge, "floor_random": random.ridge, "floor_majority": float(majority)}

    def _probe(self, train: np.ndarray, test: np.ndarray) -> ProbeScores:
        known = _labelled(self.train.classes), _labelled(self.test.classes)
        return alive(lambda: probe(train, known[0], test, known[1], self.classes), "probes")


def read_labelled_tokens(shards: ShardSet, split: str, tokens: int, token_m: int) -> LabelledTokens:
    """Read samples of ``split``, evenly spread over it, until they hold ``tokens`` tokens (or chips).

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
    some = indices[evenly(len(indices), wanted)]
    samples = [sample for sample in map(shards.read, some) if sample.sensor == sensor]
    classes = []
    for sample in samples:
        if sample.class_index is not None:
            classes.append(np.array([sample.class_index]))
        elif sample.label is not None:
            classes.append(majority_classes(sample.label, token_m // 10).ravel())
        else:
            classes.append(np.full(1 if by_chip else side**2, IGNORE_INDEX))
    found = np.stack(classes)
    if not (found != IGNORE_INDEX).any():
        raise ConfigError(f"probe: the split {split!r} of {shards.path} has no labelled token; build it with labels.")
    groups = {gsd: np.stack([sample.groups[gsd] for sample in samples]) for gsd in samples[0].groups}
    return LabelledTokens(groups, sensor, found)


@torch.no_grad()
def token_features(encoder: Encoder, tokens: LabelledTokens, slots: tuple[str, ...] | None = None) -> np.ndarray:
    """Return the features of labelled tokens, ``(N, D)`` float32, from the bands of ``slots`` (None: all).

    A class of a whole sample goes with the mean of its tokens.
    """
    was_training = encoder.training
    encoder.eval()
    groups, sensor = tokens.groups, tokens.sensor
    if slots is not None:
        groups, sensor = take_slots(groups, sensor, slots)
    parts = []
    for batch in _batches(groups, encoder):
        features = encoder.forward_features(batch, sensor).float()
        parts.append((features if tokens.classes.shape[1] > 1 else features.mean(1, keepdim=True)).cpu())
    encoder.train(was_training)
    return torch.cat(parts).numpy()[tokens.classes != IGNORE_INDEX]


@torch.no_grad()
def _raw_samples(encoder: Encoder, tokens: LabelledTokens) -> np.ndarray:
    parts = []
    for batch in _batches(tokens.groups, encoder):
        samples = encoder.samples(batch, tokens.sensor)[0].float()
        parts.append((samples if tokens.classes.shape[1] > 1 else samples.mean(1, keepdim=True)).cpu())
    return torch.cat(parts).numpy()[tokens.classes != IGNORE_INDEX]


def _batches(groups: Mapping[int, np.ndarray], encoder: Encoder) -> Iterator[dict[int, torch.Tensor]]:
    device = encoder.norm.weight.device
    count = len(next(iter(groups.values())))
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
