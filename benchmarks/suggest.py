"""Whether suggested labels pay: five rounds of 20 suggested pixels against five rounds of 20 random ones.

All ways begin with the same 20 random labels. After every round three small networks of a pixel and its surroundings
are fitted from three seeds; their mean is scored on other ground, and their disagreement or entropy suggests the next
pixels, by the functions behind ``bandloom labels suggest``. Three seeds, each with ground, first labels and networks of
its own; of generated scenes (land cover), and of HLS chips split by place (``BANDLOOM_DATA``; left out where absent).
"""

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import rasterio

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.export.suggest.choose import POOL, far_from, spread, thinned
from bandloom.finetune.baselines.features import context_bands
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.rasters.values import dn_to_reflectance
from bandloom.shards.synth import SENSOR, label_set, synthesise
from benchmarks.harness import Figure

DATA = Path(os.environ.get("BANDLOOM_DATA", Path(__file__).parents[2] / "shared" / "data"))
ROUNDS, A_ROUND, SEEDS, MEMBERS = 5, 20, 3, 3
MOST = 8_000  # pixels to choose from, and to score on
EVERY_PX = 4  # of a scene's pixels every fourth in each direction is a candidate, or scores
APART_M = 200.0
FAR_M = 1e6  # between two scenes
WAYS = (
    "random",
    "spread alone",
    "entropy alone",
    "disagreement alone",
    "suggest, entropy",
    "suggest, disagreement",
    "clusters, entropy",  # tried beside it: the middles of clusters of spectra, weighted by entropy
    "half and half",  # tried beside it: ten of suggest, disagreement and ten random ones
)


@dataclass(frozen=True)
class Pixels:
    """Features ``(N, F)``, spectra ``(N, C)``, classes ``(N,)`` and places in metres ``(N, 2)`` of some ground."""

    features: np.ndarray
    spectra: np.ndarray
    classes: np.ndarray
    xy: np.ndarray


Ground = Callable[[int], tuple[Pixels, Pixels, int]]  # of a seed: to choose from, to score on, how many classes


def run() -> list[Figure]:
    """Return macro F1 after the last round, and over all rounds, of every way beside random labels."""
    grounds: dict[str, Ground] = {"generated": generated}
    if (DATA / "hls_landcover_water" / "places.json").exists():
        grounds["hls by place"] = partial(hls, DATA / "hls_landcover_water")
    return [
        figure
        for name, ground in grounds.items()
        for figure in figures_of(name, np.array([_curves(*ground(seed), seed) for seed in range(SEEDS)]))
    ]


def figures_of(name: str, curves: np.ndarray) -> list[Figure]:
    """Return the figures of macro F1 by seed, way and round, ``(seeds, ways, rounds + 1)``."""
    figures = []
    for number, way in enumerate(WAYS[1:], 1):
        for what, scores in (("last round", curves[..., -1]), ("mean of rounds", curves[..., 1:].mean(axis=-1))):
            gains = scores[:, number] - scores[:, 0]
            curve, beside = (" ".join(f"{value:.3f}" for value in way) for way in curves[:, [number, 0]].mean(axis=0))
            by_seed = " ".join(f"{gain:+.3f}" for gain in gains)
            note = f"gain {gains.mean():+.3f}, by seed {by_seed}; curve {curve}, of random labels {beside}"
            value, rival = float(scores[:, number].mean()), float(scores[:, 0].mean())
            figures.append(Figure(f"suggest: {name}, {way}, {what}", value, "", "random", rival, note=note))
    return figures


def _curves(pool: Pixels, test: Pixels, classes: int, seed: int) -> list[list[float]]:
    """Return macro F1 of every way before the first round and after each."""
    first = np.random.default_rng([seed, 1]).choice(len(pool.classes), A_ROUND, replace=False)
    return [_curve(way, first, pool, test, classes, seed) for way in WAYS]


def _curve(way: str, first: np.ndarray, pool: Pixels, test: Pixels, classes: int, seed: int) -> list[float]:
    labelled, scores = first, []
    for number in range(ROUNDS + 1):
        networks = [_fit(pool, labelled, seed * 100 + number * 10 + member) for member in range(MEMBERS)]
        mean = np.mean([network(test, classes) for network in networks], axis=0)
        scores.append(_macro_f1(mean.argmax(axis=1), test.classes, classes))
        if number < ROUNDS:
            shares = np.stack([network(pool, classes) for network in networks])
            labelled = np.concatenate([labelled, _next(way, shares, pool, labelled, seed * 100 + number)])
    return scores


def _next(way: str, shares: np.ndarray, pool: Pixels, labelled: np.ndarray, seed: int) -> np.ndarray:
    """Return the pixels of the next round."""
    if way == "random":
        left = np.setdiff1d(np.arange(len(pool.classes)), labelled)
        return np.random.default_rng([seed, 2]).choice(left, A_ROUND, replace=False)
    if way == "half and half":
        half = _next("suggest, disagreement", shares, pool, labelled, seed)[: A_ROUND // 2]
        left = np.setdiff1d(np.arange(len(pool.classes)), np.concatenate([labelled, half]))
        return np.concatenate([half, np.random.default_rng([seed, 3]).choice(left, A_ROUND // 2, replace=False)])
    whole = _entropy(shares.mean(axis=0))
    if way.startswith("clusters"):
        return _middles(whole, pool, labelled, seed)
    worth = whole if "entropy" in way else whole - _entropy(shares).mean(axis=0)
    worth = np.ones(len(worth)) if way == "spread alone" else np.maximum(worth, 1e-9)
    kept = thinned(pool.xy, worth, APART_M)
    kept = kept[far_from(pool.xy[kept], pool.xy[labelled], APART_M)]
    if way.endswith("alone") and way != "spread alone":
        chosen: list[int] = []
        for candidate in kept.tolist():
            if far_from(pool.xy[[candidate]], pool.xy[chosen], APART_M)[0]:
                chosen.append(candidate)
            if len(chosen) == A_ROUND:
                break
        return np.array(chosen)
    if way != "spread alone":
        kept = kept[: POOL * A_ROUND]
    given = pool.xy[kept], worth[kept], pool.spectra[kept], A_ROUND, APART_M
    return kept[spread(*given, seed, pool.spectra[labelled])]


def _middles(worth: np.ndarray, pool: Pixels, labelled: np.ndarray, seed: int) -> np.ndarray:
    """Return the pixel nearest to the middle of each of as many clusters of spectra, weighted by ``worth``."""
    from sklearn.cluster import KMeans

    scaled = (pool.spectra - pool.spectra.mean(axis=0)) / (pool.spectra.std(axis=0) + 1e-9)
    left = np.setdiff1d(np.arange(len(scaled)), labelled)
    fit = KMeans(A_ROUND, n_init=1, random_state=seed).fit(scaled[left], sample_weight=worth[left] + 1e-6)
    off = ((scaled[left] - fit.cluster_centers_[fit.labels_]) ** 2).sum(axis=1)
    members = [np.flatnonzero(fit.labels_ == cluster) for cluster in range(A_ROUND)]
    return np.array([left[rows[off[rows].argmin()]] for rows in members])


def _entropy(shares: np.ndarray) -> np.ndarray:
    return -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=-1)


def _fit(pool: Pixels, labelled: np.ndarray, seed: int) -> Callable[[Pixels, int], np.ndarray]:
    """Fit a small network; return what gives probabilities ``(N, K)``."""
    from sklearn.neural_network import MLPClassifier

    mean, deviation = pool.features.mean(axis=0), pool.features.std(axis=0) + 1e-9
    network = MLPClassifier((64,), alpha=1e-2, max_iter=200, random_state=seed)
    with warnings.catch_warnings(action="ignore"):
        network.fit((pool.features[labelled] - mean) / deviation, pool.classes[labelled])

    def shares(pixels: Pixels, classes: int) -> np.ndarray:
        found = np.zeros((len(pixels.classes), classes))
        found[:, network.classes_] = network.predict_proba((pixels.features - mean) / deviation)
        return found

    return shares


def _macro_f1(predicted: np.ndarray, truth: np.ndarray, classes: int) -> float:
    counts = np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)
    total = counts.sum(axis=0) + counts.sum(axis=1)
    there = counts.sum(axis=1) > 0
    return float((2 * counts.diagonal() / np.maximum(total, 1))[there].mean())


def generated(seed: int) -> tuple[Pixels, Pixels, int]:
    """Return pixels of six generated scenes to choose from and of six others to score on."""
    made = []
    for place in range(12):
        scene = synthesise(240, 50_000 + seed * 12 + place, cloud_fraction=0.0)
        made.append((pixel_bands(scene.groups, SENSOR), label_set("land-cover").index_of(scene.label)))
    return _pixels(made[:6], 10, seed), _pixels(made[6:], 10, seed), len(label_set("land-cover"))


def hls(folder: Path, seed: int) -> tuple[Pixels, Pixels, int]:
    """Return pixels of chips of half of the places to choose from, and of the other half to score on."""
    places = json.loads((folder / "places.json").read_text())
    order = np.random.default_rng([seed, 7]).permutation(sorted(set(places.values()))).tolist()
    chosen = set(order[: len(order) // 2])
    parts: tuple[list[tuple[np.ndarray, np.ndarray]], ...] = ([], [])
    codes_seen: set[int] = set()
    for name, place in places.items():
        with rasterio.open(folder / "images" / f"{name}.tif") as raster:
            values = raster.read(range(1, 8)).astype(np.int32)
        with rasterio.open(folder / "worldcover" / f"{name}.tif") as raster:
            codes = raster.read(1)
        dn = np.where(values > -1000, np.clip(values + 1000, 1, 65534), 0).astype(np.uint16)
        codes_seen |= set(np.unique(codes).tolist())
        parts[place not in chosen].append((dn_to_reflectance(dn), codes))
    known = sorted(codes_seen - {0})
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[known] = np.arange(len(known))
    pool, test = ([(bands, table[codes]) for bands, codes in part] for part in parts)
    return _pixels(pool, 30, seed), _pixels(test, 30, seed), len(known)


def _pixels(scenes: list[tuple[np.ndarray, np.ndarray]], pixel_m: int, seed: int) -> Pixels:
    """Cut scenes ``(C, H, W)`` with classes ``(H, W)`` into pixels, at most :data:`MOST`."""
    rows: list[list[np.ndarray]] = [[], [], [], []]
    for number, (bands, classes) in enumerate(scenes):
        filled = np.nan_to_num(bands, nan=0.0)
        where = np.zeros(classes.shape, bool)
        where[EVERY_PX // 2 :: EVERY_PX, EVERY_PX // 2 :: EVERY_PX] = True
        where &= (classes != IGNORE_INDEX) & np.isfinite(bands).any(axis=0)
        xy = np.argwhere(where)[:, ::-1] * float(pixel_m) + number * FAR_M
        for column, values in zip(
            rows, (context_bands(bands)[:, where].T, filled[:, where].T, classes[where], xy), strict=True
        ):
            column.append(values)
    features, spectra, classes, xy = (np.concatenate(column) for column in rows)
    few = np.random.default_rng([seed, 5]).permutation(len(classes))[:MOST]
    return Pixels(np.nan_to_num(features[few]), spectra[few], classes[few].astype(np.int64), xy[few])
