"""Read-outs of a frozen encoder on real sets: its last layer, what surrounds a token, its stem's filters beside it.

``python -m benchmarks.readouts OUT --runs RUNS --sets SETS --data DATA`` reads the students and sets of
:mod:`benchmarks.distillation` and appends one JSON line a set, row and seed to ``OUT``; what is there is done once.
Every row has several read-outs, each scored by itself, and four folds of the training ground choose among them by
macro-F1; random convolutional features choose likewise, alone or with samples beside them. Folds, labels and the ridge
classifier, with a strength by leave-one-out, are those of the other tables. ``ROW+filters`` is 512 random convolutional
features with a row's beside them.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import f1_score

from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import load_encoder
from bandloom.model.encoder import Encoder
from benchmarks.distillation import BATCH, SEEDS, Ground, random_filters, read_ground, samples_of, scores

FILTERS, BESIDE = "filters", "+filters"
INNER_FOLDS = 4
ROWS = (FILTERS, "random_stem", "words_stem", "both_stem", "words_stem+filters", "both_stem+filters")

Parts = Sequence[np.ndarray]  # features (rows, F) that lie side by side, each part standardised


@torch.no_grad()
def token_maps(encoder: AnyEncoder, ground: Ground) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the last layer's tokens ``(N, T, D)``, and the stem's responses ``(N, T, F)`` where there is one."""
    stem, given = encoder.embed.stem if isinstance(encoder, Encoder) else None, []
    hook = None if stem is None else stem.register_forward_pre_hook(lambda _, samples: given.append(samples))
    last, said = [], []
    for at in range(0, len(ground.classes), BATCH):
        groups = {gsd: group[at : at + BATCH] for gsd, group in ground.groups.items()}
        last.append(encoder.eval().forward_features(groups, ground.sensor).float())
        if stem is not None:
            said.append(stem.responses(*given.pop()).reshape(*last[-1].shape[:2], -1))
    if hook is not None:
        hook.remove()
    return torch.cat(last).numpy(), torch.cat(said).numpy() if said else None


def around(tokens: np.ndarray) -> np.ndarray:
    """Return the mean of 3 x 3 tokens about each of square maps ``(N, T, D)``."""
    count, places, width = tokens.shape
    side = round(places**0.5)
    maps = tokens.reshape(count, side, side, width)
    return ndimage.uniform_filter(maps, (0, 3, 3, 0), mode="nearest").reshape(count, places, width)


def read(tokens: np.ndarray, ground: Ground, *, wide: bool) -> np.ndarray:
    """Return features of rows: of chips the mean token, of tokens themselves; wide: deviation, or surroundings, too."""
    if ground.of_chips:
        return np.concatenate([tokens.mean(1), tokens.std(1)], 1) if wide else tokens.mean(1)
    own = tokens.reshape(-1, tokens.shape[-1])
    return np.concatenate([own, around(tokens).reshape(own.shape)], 1) if wide else own


def read_outs(row: str, ground: Ground, seed: int, runs: Path) -> dict[str, Parts]:
    """Return the read-outs of a row."""
    filters = random_filters(ground, seed) if FILTERS in row else np.zeros((0, 0))
    if row == FILTERS:
        return {"filters": [filters], "filters, samples": [filters, samples_of(ground, _any(runs))]}
    last, stem = token_maps(encoder_of(row.removesuffix(BESIDE), seed, runs), ground)
    narrow, wide = read(last, ground, wide=False), read(last, ground, wide=True)
    if row.endswith(BESIDE):
        return {"filters": [filters], "filters, last": [filters, narrow], "filters, wide": [filters, wide]}
    found: dict[str, Parts] = {"last": [narrow], "wide": [wide]}
    if stem is not None:
        own = read(stem, ground, wide=True)
        found |= {"last, stem": [narrow, read(stem, ground, wide=False)], "wide, stem wide": [wide, own], "stem": [own]}
    return found


def encoder_of(name: str, seed: int, runs: Path) -> AnyEncoder:
    """Return a student, or for ``random_stem`` the same network with weights drawn anew."""
    if name == "random_stem":
        torch.manual_seed(seed)
        return _any(runs).untrained()
    return load_encoder(runs / f"{name}-{seed}" / "checkpoint")


def _any(runs: Path) -> AnyEncoder:
    return load_encoder(runs / "words_stem-0" / "checkpoint")


def fitted(parts: Parts, labels: np.ndarray, train: np.ndarray, test: np.ndarray, _: int = 0) -> np.ndarray:
    """Return classes of ``test`` rows by a ridge classifier on ``train`` rows."""
    scaled = [(part - part[train].mean(0)) / (part[train].std(0) + 1e-6) for part in parts]
    rows = np.concatenate(scaled, 1)
    return RidgeClassifierCV(alphas=np.logspace(-2, 5, 15)).fit(rows[train], labels[train]).predict(rows[test])


def chosen(
    found: Mapping[str, Parts],
    labels: np.ndarray,
    blocks: np.ndarray,
    picks: list[str],
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Return classes by the read-out that folds of the training ground's blocks like best; its name joins ``picks``."""
    names = np.unique(blocks[train])
    fold = np.random.default_rng([seed, 11]).permutation(len(names)) % INNER_FOLDS
    fold = fold[np.searchsorted(names, blocks[train])]
    best = (-1.0, "")
    for name, parts in found.items():
        told = np.full(len(train), -1)
        for number in range(INNER_FOLDS):
            inside, held = train[fold != number], train[fold == number]
            if len(held) and len(np.unique(labels[inside])) > 1:
                told[fold == number] = fitted(parts, labels, inside, held)
        kinds = np.unique(labels[train])
        score = f1_score(labels[train], told, average="macro", labels=kinds, zero_division=0)
        best = max(best, (float(score), name), key=lambda pair: pair[0])
    picks.append(best[1])
    return fitted(found[best[1]], labels, train, test)


def main() -> None:
    """Append what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--names", default="chips16,chips32,433D,282D")
    parser.add_argument("--rows", default=",".join(ROWS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line)["key"] for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for name in options.names.split(","):
        ground = read_ground(name, options.sets, options.data)
        labels, blocks = ground.classes.ravel(), np.repeat(ground.blocks, ground.classes.shape[1])
        for seed in SEEDS:
            for row in options.rows.split(","):
                student = options.runs / f"{row.removesuffix(BESIDE)}-{seed}"
                if [name, row, seed] in done or not (row in (FILTERS, "random_stem") or (student / "DONE").exists()):
                    continue
                picks: list[str] = []
                found = read_outs(row, ground, seed, options.runs)
                record = {"key": [name, row, seed]}
                record |= scores(ground, partial(chosen, found, labels, blocks, picks), None, seed)
                record["picks"] = picks
                record["each"] = {
                    key: round(scores(ground, partial(fitted, parts, labels), None, seed)["macro_f1"], 4)
                    for key, parts in found.items()
                }
                with options.out.open("a") as file:
                    file.write(json.dumps(record) + "\n")
                print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
