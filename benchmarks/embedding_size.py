"""What smaller embeddings lose: nearest neighbours on real ground, beside features as they are.

Galileo-nano's tokens (128 dimensions, real weights) of four scenes of Sentinel-2 level 1C with ESRI's land cover, each
token with the class that covers most of it. The 20 nearest neighbours by cosine, five folds of 640 m blocks, three
assignments of blocks. The basis is fitted, without labels, on the tokens of all four scenes, on means of 7 x 7 of them
(as ``embed --like SHARDS.parquet`` does), or on the first scene alone, and used for all. ``BANDLOOM_DATA`` names the
folder of real data.
"""

import os
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from bandloom.embeddings.basis import Basis, Moments
from bandloom.pretrain.features import FrozenEncoder, load_encoder
from benchmarks.harness import HERE, Figure

DATA = Path(os.environ.get("BANDLOOM_DATA", HERE.parents[1] / "shared" / "data"))
FOLDS, SEEDS, NEIGHBOURS, BLOCK_M, CHIP = 5, (0, 1, 2), 20, 640, 7
FORMS: tuple[tuple[int | None, str], ...] = (
    (None, "int8"),
    (64, "float32"),
    (64, "int8"),
    (32, "int8"),
    (16, "int8"),
    (8, "int8"),
)


def run() -> list[Figure]:
    """Return macro-F1 of each form, beside that of features as they are; bytes a token are in the notes."""
    encoder = load_encoder(str(DATA / "public_encoders" / "galileo_nano"))
    scenes = [_tokens(encoder, folder) for folder in sorted((DATA / "lulc_seg").iterdir())]
    labels = np.concatenate([labels for _, labels, *_ in scenes])
    blocks = np.concatenate([blocks + 1000 * number for number, (_, _, blocks, _) in enumerate(scenes)])
    full = [features for features, *_ in scenes]
    plain = _scores(np.concatenate(full), labels, blocks)
    figures = []
    means = [means for *_, means in scenes]
    for fitted_on, features in (("all scenes", full), ("means of chips", means), ("the first scene", full[:1])):
        for dims, dtype in FORMS:
            basis = _fit(features, dims, dtype)
            scores = _scores(np.concatenate([_through(basis, part) for part in full]), labels, blocks)
            gains = ", ".join(f"{a - b:+.3f}" for a, b in zip(scores, plain, strict=True))
            size = basis.dims * (1 if dtype == "int8" else 4)
            note = f"macro-F1 of 20-NN; {size} bytes a token for {full[0].shape[1] * 4}; by seed {gains}"
            figures.append(
                Figure(
                    f"embedding_size: {dims or full[0].shape[1]} dimensions, {dtype}, fitted on {fitted_on}",
                    float(np.mean(scores)),
                    "",
                    "128 dimensions, float32",
                    float(np.mean(plain)),
                    note=f"{note}; {basis.explained:.1%} of variance",
                )
            )
    return figures


def _tokens(encoder: FrozenEncoder, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return features ``(N, D)``, classes and blocks ``(N,)`` of a scene's labelled tokens; and means of chips."""
    made = encoder.features(folder / "S2L1C.tif")
    dims, rows, columns = made.values.shape
    chips = made.values[:, : rows // CHIP * CHIP, : columns // CHIP * CHIP]
    means = np.nanmean(chips.reshape(dims, rows // CHIP, CHIP, columns // CHIP, CHIP), axis=(2, 4)).reshape(dims, -1).T
    with rasterio.open(folder / "LULC.tif") as file:
        labels = file.read(1, out_shape=(rows, columns), resampling=Resampling.mode).ravel()
    row, column = np.divmod(np.arange(rows * columns), columns)
    side = max(1, round(BLOCK_M / made.transform.a))
    kept = (labels > 0) & np.isfinite(made.values).all(0).ravel()
    blocks = row // side * 100 + column // side
    return made.values.reshape(dims, -1).T[kept], labels[kept], blocks[kept], means


def _fit(parts: list[np.ndarray], dims: int | None, dtype: str) -> Basis:
    moments = Moments()
    for part in parts:
        moments.add(part.T)
    return moments.basis(dims, dtype)


def _through(basis: Basis, features: np.ndarray) -> np.ndarray:
    return basis.decode(basis.encode(features.T)).T


def _scores(features: np.ndarray, labels: np.ndarray, blocks: np.ndarray) -> list[float]:
    """Return macro-F1 over five folds of blocks, by seed."""
    scores = []
    for seed in SEEDS:
        names = np.unique(blocks)
        fold = dict(zip(names.tolist(), np.random.default_rng(seed).permutation(len(names)) % FOLDS, strict=True))
        of = np.array([fold[block] for block in blocks.tolist()])
        found = np.empty_like(labels)
        for number in range(FOLDS):
            neighbours = KNeighborsClassifier(NEIGHBOURS, metric="cosine").fit(
                features[of != number], labels[of != number]
            )
            found[of == number] = neighbours.predict(features[of == number])
        scores.append(float(f1_score(labels, found, average="macro")))
    return scores


if __name__ == "__main__":
    for figure in run():
        print(figure)
