"""Scores of the objective search: tokens by number of labels, chips by labels a class, one sweep for every row."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from bandloom.closed_form import ridge
from bandloom.finetune.baselines.classifiers import forest
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.token_layout import token_layout
from bandloom.shards.synth import SENSOR
from benchmarks import testbed
from benchmarks.testbed import Chips
from benchmarks.token_baselines import random_conv_tokens

COUNTS, A_CLASS = (100, 300, 1_000, 10_000), (5, 20)
CHOSEN_ON, SCORED_ON = 4_000, 10_000  # tokens of the validation and of the test scenes
MIDDLE = slice(testbed.CHIP_TOKENS // 2 - 1, testbed.CHIP_TOKENS // 2 + 1)

Maps = Callable[[Chips], np.ndarray]  # chips to token features (N, 144, D)


class Split(NamedTuple):
    """Rows of features ``(N, D)`` with classes ``(N,)`` to fit on, to choose on and to score on."""

    fit: tuple[np.ndarray, np.ndarray]
    choose: tuple[np.ndarray, np.ndarray]
    score: tuple[np.ndarray, np.ndarray]


def local_accuracy(name: str, which: range, count: int, seed: int) -> float:
    """Return the test accuracy of features in which nothing is learnt, fitted on ``count`` tokens of the scenes."""
    maps = MAPS[name]
    rows = testbed.draw_tokens(np.concatenate([testbed.tiles(range(s, s + 1)).classes for s in which]), count, seed)
    parts, classes, first = [], [], 0
    for scene in which:  # one at a time: all features of all scenes take gigabytes
        chips = testbed.tiles(range(scene, scene + 1))
        own = rows[(rows >= first) & (rows < first + chips.classes.size)] - first
        parts.append(maps(chips).reshape(chips.classes.size, -1)[own])
        classes.append(chips.classes.ravel()[own])
        first += chips.classes.size
    _, choose, score = _token_split(_tokens_of(maps), 1, seed)
    return swept([Split((np.concatenate(parts), np.concatenate(classes)), choose, score)], seed)[1]


def score_baseline(name: str, seed: int) -> dict[str, float]:
    """Score features in which nothing is learnt."""
    return _scores(MAPS[name], seed)


def score_encoder(encoder: Encoder, seed: int) -> dict[str, float]:
    """Score an encoder's frozen last layer."""
    return _scores(lambda chips: encoder_tokens(encoder, chips), seed)


def _scores(maps: Maps, seed: int) -> dict[str, float]:
    scores: dict[str, float] = {}
    own, raw = _tokens_of(maps), None if maps is raw_tokens else _raw_tokens()
    for count in COUNTS:
        candidates = [_token_split(own, count, seed)]
        if raw is not None:
            candidates.append(_joined(candidates[0], _token_split(raw, count, seed)))
        scores |= _named(f"tokens {count}", swept(candidates, seed))
    parts = _chip_parts(seed)
    features = [maps(chips) for chips, _ in parts]
    for a_class in A_CLASS:
        picks = _balanced(parts[0][1], a_class, seed)
        told = swept(
            [
                Split(
                    (read(features[0])[picks], parts[0][1][picks]),
                    (read(features[1]), parts[1][1]),
                    (read(features[2]), parts[2][1]),
                )
                for read in (middle_and_mean, middle_mean_and_deviation)
            ],
            seed,
        )
        scores |= _named(f"chips {a_class}", told)
    return scores


def _named(name: str, told: tuple[float, float]) -> dict[str, float]:
    return {name: told[1], f"validation {name}": told[0]}


def swept(candidates: list[Split], seed: int) -> tuple[float, float]:
    """Return the validation and the test accuracy of the features and classifier that the validation rows prefer."""
    best = (-1.0, 0.0)
    for split in candidates:
        both = np.concatenate([split.choose[0], split.score[0]])
        for told in (_ridge(split.fit, both), _forest(split.fit, both, seed)):
            chosen, scored = told[: len(split.choose[1])], told[len(split.choose[1]) :]
            hits = float((chosen == split.choose[1]).mean()), float((scored == split.score[1]).mean())
            best = max(best, hits, key=lambda pair: pair[0])
    return round(best[0], 4), round(best[1], 4)


def _ridge(fit: tuple[np.ndarray, np.ndarray], rows: np.ndarray) -> np.ndarray:
    mean, std = fit[0].mean(0), fit[0].std(0) + 1e-6
    return ridge((fit[0] - mean) / std, fit[1].astype(int), (rows - mean) / std, testbed.CLASSES)


def _forest(fit: tuple[np.ndarray, np.ndarray], rows: np.ndarray, seed: int) -> np.ndarray:
    trees = forest(seed)
    trees.fit(*fit)
    return trees.predict(rows)


@torch.no_grad()
def encoder_tokens(encoder: Encoder, chips: Chips) -> np.ndarray:
    """Return the last layer's tokens ``(N, 144, D)``."""
    encoder.eval()
    count = len(chips.classes)
    parts = [{gsd: group[i : i + 64] for gsd, group in chips.groups.items()} for i in range(0, count, 64)]
    return torch.cat([encoder(part, SENSOR) for part in parts]).numpy()


@torch.no_grad()
def raw_tokens(chips: Chips) -> np.ndarray:
    """Return the normalised native samples of tokens ``(N, 144, 201)``."""
    return _reader().samples(chips.groups, SENSOR)[0].numpy()


def token_statistics(chips: Chips) -> np.ndarray:
    """Return mean and deviation of each band over a token ``(N, 144, 23)``; a single sample has no deviation."""
    raw = raw_tokens(chips)
    columns = []
    for slot in token_layout(SENSOR, testbed.TOKEN_M).slots:
        own = raw[..., slot.start : slot.stop]
        columns += [own.mean(-1)] + ([own.std(-1)] if slot.side > 1 else [])
    return np.stack(columns, -1)


def random_conv_maps(chips: Chips) -> np.ndarray:
    """Return 512 random convolutional features: 128 filters by sign, over a token and over 3 x 3 tokens."""
    statistics = testbed.statistics()
    slots = [slot for group in SENSOR.groups for slot in group.slots]
    mean, std = (np.array([values[slot] for slot in slots]) for values in (statistics.mean, statistics.std))
    pixels = {gsd: group.numpy().astype(np.uint16) for gsd, group in chips.groups.items()}
    return random_conv_tokens(pixels, SENSOR, mean, std, testbed.TOKEN_M // 10).reshape(*chips.classes.shape, -1)


def wide_random_conv_maps(chips: Chips) -> np.ndarray:
    """Return 768: the 512 and the same filters over 7 x 7 tokens, which reach the ground that decides."""
    from scipy import ndimage

    near = random_conv_maps(chips)
    side = testbed.CHIP_TOKENS
    own = near[..., : near.shape[-1] // 2].reshape(-1, side, side, near.shape[-1] // 2)
    far = ndimage.uniform_filter(own, (0, 7, 7, 0), mode="nearest").reshape(*near.shape[:2], -1)
    return np.concatenate([near, far], -1)


MAPS: dict[str, Maps] = {
    "raw": raw_tokens,
    "statistics": token_statistics,
    "random conv": random_conv_maps,
    "wide random conv": wide_random_conv_maps,
}


def middle_and_mean(tokens: np.ndarray) -> np.ndarray:
    """Read chips ``(N, 144, D)`` by the mean of the four tokens in the middle and the mean of all: ``(N, 2 D)``."""
    return np.concatenate([_middle(tokens), tokens.mean(1)], -1)


def middle_mean_and_deviation(tokens: np.ndarray) -> np.ndarray:
    """Read chips by the middle, the mean and the deviation of all tokens: ``(N, 3 D)``."""
    return np.concatenate([middle_and_mean(tokens), tokens.std(1)], -1)


def _middle(tokens: np.ndarray) -> np.ndarray:
    square = tokens.reshape(len(tokens), testbed.CHIP_TOKENS, testbed.CHIP_TOKENS, -1)
    return square[:, MIDDLE, MIDDLE].mean((1, 2))


@cache
def _reader() -> Encoder:
    return Encoder(EncoderConfig.of_size("demo"), testbed.statistics())


@cache
def _tiles() -> tuple[Chips, Chips, Chips]:
    labelled, validation, test = (testbed.tiles(w) for w in (testbed.LABELLED, testbed.VALIDATION, testbed.TEST))
    return labelled, validation, test


@cache
def _chip_parts(seed: int) -> tuple[tuple[Chips, np.ndarray], ...]:
    most = max(A_CLASS)
    return tuple(
        testbed.chips_of_classes(which, most, seed) for which in (testbed.LABELLED, testbed.VALIDATION, testbed.TEST)
    )


@cache
def _raw_tokens() -> tuple[np.ndarray, ...]:
    return _tokens_of(raw_tokens)


def _tokens_of(maps: Maps) -> tuple[np.ndarray, ...]:
    """Return features of the labelled tokens, and of some of the validation and test scenes, the same for every row."""
    labelled, validation, test = _tiles()
    found = [maps(labelled).reshape(labelled.classes.size, -1)]
    for chips, count in ((validation, CHOSEN_ON), (test, SCORED_ON)):
        rows = testbed.draw_tokens(chips.classes, count, 0)
        found.append(maps(chips).reshape(chips.classes.size, -1)[rows])
    return tuple(found)


def _token_split(tokens: tuple[np.ndarray, ...], count: int, seed: int) -> Split:
    labelled, validation, test = _tiles()
    rows = testbed.draw_tokens(labelled.classes, count, seed)
    held = [
        chips.classes.ravel()[testbed.draw_tokens(chips.classes, most, 0)]
        for chips, most in ((validation, CHOSEN_ON), (test, SCORED_ON))
    ]
    return Split((tokens[0][rows], labelled.classes.ravel()[rows]), (tokens[1], held[0]), (tokens[2], held[1]))


def _joined(one: Split, two: Split) -> Split:
    fit, choose, score = ((np.concatenate([a[0], b[0]], -1), a[1]) for a, b in zip(one, two, strict=True))
    return Split(fit, choose, score)


def _balanced(classes: np.ndarray, a_class: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 5, a_class])
    own = [np.flatnonzero(classes == index) for index in np.unique(classes)]
    return np.concatenate([rng.choice(rows, min(a_class, len(rows)), replace=False) for rows in own])
