"""The space of training tokens: how far a token lies from the training ground, as part of the exported graph.

A token is the encoder's features beside its bands' mean values. Tokens are whitened with a shrunk covariance (Ledoit
and Wolf 2004), and the distance is that to the nearest of a few k-means centres of training tokens: Mahalanobis
distances to classes as in Lee et al. 2018 (1807.03888), without the classes, so that an encoder that no label taught
has them too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.command_line.console import logger
from bandloom.errors import BundleError
from bandloom.export.bundle.record import Contract, Familiar
from bandloom.export.from_torch.held_chips import Chips, Ground, chips_of_roles
from bandloom.finetune.model.native_bands import PIXEL_M, native_bands, repeated
from bandloom.finetune.model.task_model import TaskModel

TILES = 64  # of the training part, and half as many of the validation part
CENTRES = 64
FEWEST = 4  # tokens a dimension; with fewer a covariance says little even when it is shrunk
QUANTILES = 101


class TokenSpace(nn.Module):
    """The whitening and the centres; its distances are those of a model's tokens.

    Args:
        mean: of training tokens, ``(F,)``.
        whitening: ``(F, F)``; ``(x - mean) @ whitening`` has unit covariance.
        centres: of whitened training tokens, ``(N, F)``.
    """

    mean: Tensor
    whitening: Tensor
    centres: Tensor

    def __init__(self, mean: np.ndarray, whitening: np.ndarray, centres: np.ndarray) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("whitening", whitening), ("centres", centres)):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))

    def distances(self, tokens: Tensor) -> Tensor:
        """Return the distance of tokens ``(..., F)`` from the nearest centre, ``(...)``."""
        white = (tokens - self.mean) @ self.whitening
        squared = (white**2).sum(-1, keepdim=True) - 2 * white @ self.centres.T + (self.centres**2).sum(-1)
        return squared.amin(-1).clamp(min=0.0).sqrt()

    def forward(self, model: TaskModel, groups: Mapping[int, Tensor]) -> Tensor:
        """Return the distance of every 10 m pixel's token, ``(B, 1, H, W)``."""
        distances = self.distances(tokens_of(model, groups))[:, None]
        return repeated(distances, model.encoder.config.token_m // PIXEL_M)


def tokens_of(model: TaskModel, groups: Mapping[int, Tensor]) -> Tensor:
    """Return features beside the normalised mean of every band, ``(B, rows, columns, D + C)`` fp32."""
    rows, columns = model.encoder.grid(groups)
    tokens = model.features(groups).float().unflatten(1, (rows, columns))
    embed, token_px = model.encoder.embed, model.encoder.config.token_m // PIXEL_M
    means = [
        functional.avg_pool2d(group.values.float(), token_px // group.factor)
        for group in native_bands(groups, model.sensor, embed.mean.float(), embed.std.float())
    ]
    return torch.cat([tokens, torch.cat(means, 1).permute(0, 2, 3, 1)], -1)


def fit_token_space(model: TaskModel, contract: Contract, ground: Ground) -> tuple[TokenSpace, Familiar]:
    """Fit the space on training tokens, and take quantiles of how far validation tokens lie from it.

    Raises:
        BundleError: the model maps nothing, or its training and validation ground is not there.
    """
    if not contract.makes_map or contract.dates > 1:
        raise BundleError(f"--ood is of maps of one date, and this model's task is {contract.task}; leave it out.")
    train = chips_of_roles(contract, ground, ("train",), TILES)
    held = chips_of_roles(contract, ground, ("val", "test"), TILES // 2)
    if train is None or held is None:
        missing = "training" if train is None else "validation"
        raise BundleError(
            f"--ood needs the run's {missing} ground, which is not there; name its shards with --shards, or leave --ood"
            " out."
        )
    logger.info("learning the space of training tokens from %d tiles", len(train))
    tokens = _known_tokens(model, train)
    if len(tokens) < FEWEST * tokens.shape[1]:
        raise BundleError(
            f"the training ground has {len(tokens):,} tokens, and --ood needs {FEWEST * tokens.shape[1]:,} of this"
            " model; leave it out."
        )
    space = _fitted(tokens)
    others = _known_tokens(model, held)
    with torch.inference_mode():
        distances = space.distances(torch.from_numpy(others)).numpy()
    quantiles = np.quantile(distances.astype(np.float64), np.linspace(0, 1, QUANTILES))
    return space, Familiar(
        quantiles=tuple(float(value) for value in quantiles), tokens=len(tokens), held_tokens=len(others)
    )


@torch.inference_mode()
def _known_tokens(model: TaskModel, chips: Chips) -> np.ndarray:
    """Return the measured tokens of chips, ``(N, F)``; where there are labels those with a label of their part."""
    given = ({g: torch.from_numpy(dn.astype(np.int32)) for g, dn in groups.items()} for groups in chips.batches())
    tokens = np.concatenate([tokens_of(model, groups).numpy() for groups in given])
    finest = min(chips.groups)
    measured = np.any((chips.groups[finest] > 0), axis=1)
    known = _of_tokens(measured, tokens.shape[1:3])
    if chips.labels is not None:
        known &= _of_tokens(chips.labels != IGNORE_INDEX, tokens.shape[1:3])
    return tokens[known]


def _of_tokens(pixels: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Tell which tokens have one of the pixels ``(B, H, W)``, ``(B, rows, columns)``."""
    down, across = pixels.shape[1] // grid[0], pixels.shape[2] // grid[1]
    return np.any(pixels.reshape(len(pixels), grid[0], down, grid[1], across), axis=(2, 4))


def _fitted(tokens: np.ndarray) -> TokenSpace:
    from sklearn.cluster import KMeans
    from sklearn.covariance import ledoit_wolf

    wide = tokens.astype(np.float64)
    mean = wide.mean(axis=0)
    covariance, _ = ledoit_wolf(wide - mean, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(np.maximum(values, values[-1] * 1e-9))
    white = (wide - mean) @ whitening
    kmeans: Any = KMeans(min(CENTRES, len(white) // FEWEST), n_init=1, random_state=0)  # pyright: ignore[reportArgumentType]
    centres = kmeans.fit(white).cluster_centers_
    return TokenSpace(mean, whitening, centres)
