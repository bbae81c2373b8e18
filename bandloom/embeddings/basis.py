"""The basis of stored embeddings: principal components and scales, from features to codes and back."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from bandloom.errors import ConfigError

DTYPES = ("float32", "int8")
ABSENT = -128  # int8 where nothing was measured
HIGHEST = 127
TAIL = 0.999  # quantile of a dimension's size that the highest code stands for; what lies beyond is cut
UNTURNED = "identity"  # in the place of components that are the dimensions themselves
MOST_KEPT = 1 << 16  # feature vectors from which quantiles are taken


@dataclass(frozen=True)
class Basis:
    """How features became codes: ``codes = (features - mean) @ components.T / scale``.

    Args:
        dtype: ``float32``, where scale is 1, or ``int8``, where codes are rounded and cut at 127.
        mean: ``(D,)`` mean of the features that it was fitted on.
        components: ``(d, D)`` orthonormal, by falling variance.
        scale: ``(d,)`` of one step of a code.
        explained: the share of those features' variance that the dimensions hold.
        encoder: which weights made those features, as :func:`bandloom.model.checkpoint.encoder_digest` or the name of a
            bundle's file tells; empty: not known.
    """

    dtype: str
    mean: np.ndarray
    components: np.ndarray
    scale: np.ndarray
    explained: float
    encoder: str = ""

    @property
    def dims(self) -> int:
        """Dimensions that are stored, d."""
        return len(self.components)

    @property
    def absent(self) -> float:
        """The stored value where nothing was measured."""
        return ABSENT if self.dtype == "int8" else float("nan")

    def encode(self, features: np.ndarray) -> np.ndarray:
        """Return codes ``(d, ...)`` of features ``(D, ...)``; :attr:`absent` where any of them is NaN."""
        flat = features.reshape(len(features), -1).T - self.mean  # (N, D)
        known = np.isfinite(flat).all(axis=1)
        codes = np.full((len(flat), self.dims), self.absent, self.dtype)
        values = flat[known] @ self.components.T / self.scale
        codes[known] = values if self.dtype == "float32" else np.clip(np.rint(values), -HIGHEST, HIGHEST)
        return codes.T.reshape(self.dims, *features.shape[1:])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return features ``(D, ...)`` float32 of codes ``(d, ...)``; NaN where nothing was measured."""
        flat = codes.reshape(self.dims, -1).T.astype(np.float32)  # (N, d)
        known = (flat != ABSENT).all(axis=1) if self.dtype == "int8" else np.isfinite(flat).all(axis=1)
        features = np.full((len(flat), len(self.mean)), np.nan, np.float32)
        features[known] = flat[known] * self.scale @ self.components + self.mean
        return features.T.reshape(len(self.mean), *codes.shape[1:])

    def record(self) -> dict[str, Any]:
        """Return plain JSON types; arrays are float32, little-endian, in base64."""
        arrays = {name: _packed(getattr(self, name)) for name in ("mean", "components", "scale")}
        if self.dims == len(self.mean) and np.array_equal(self.components, np.eye(self.dims)):
            arrays["components"] = UNTURNED
        size = {"dims": self.dims, "embed_dim": len(self.mean)}
        told = {"encoder": self.encoder} if self.encoder else {}
        return {"format": 1, "dtype": self.dtype, **size, "explained": self.explained, **told, **arrays}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the basis that :meth:`record` described.

        Raises:
            ConfigError: it is of another format, or damaged.
        """
        try:
            mean, scale = _unpacked(record["mean"]), _unpacked(record["scale"])
            turned = record["components"] != UNTURNED
            components = _unpacked(record["components"]) if turned else np.eye(len(mean), dtype=np.float32)
            components = components.reshape(record["dims"], record["embed_dim"])
            if record["format"] != 1 or record["dtype"] not in DTYPES or len(scale) != len(components):
                raise ValueError(f"format {record['format']} of {record['dtype']}")
        except (KeyError, ValueError, TypeError) as cause:
            raise ConfigError(f"the record of stored embeddings cannot be read ({cause}); write them again.") from cause
        known = str(record.get("encoder", ""))
        return cls(str(record["dtype"]), mean, components, scale, float(record["explained"]), known)


@dataclass
class Moments:
    """What is added up over features to fit a basis: exact means and covariances, and a few features themselves.

    Of the features every n-th is kept for quantiles, where n doubles whenever there are too many.
    """

    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(0))
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    kept: list[np.ndarray] = field(default_factory=list)
    step: int = 1

    def add(self, features: np.ndarray) -> None:
        """Add features ``(D, ...)``; those with NaN are left out."""
        flat = features.reshape(len(features), -1).T.astype(np.float64)  # (N, D)
        flat = flat[np.isfinite(flat).all(axis=1)]
        if not self.count and not len(self.total):
            self.total, self.products = np.zeros(flat.shape[1]), np.zeros((flat.shape[1],) * 2)
        self.kept.append(flat[-self.count % self.step :: self.step].astype(np.float32))
        self.count += len(flat)
        self.total += flat.sum(axis=0)
        self.products += flat.T @ flat
        while sum(map(len, self.kept)) > MOST_KEPT:
            self.kept, self.step = [np.concatenate(self.kept)[::2]], self.step * 2

    def basis(self, dims: int | None, dtype: str) -> Basis:
        """Fit principal components and scales.

        Args:
            dims: how many to keep; None: all, unturned.
            dtype: of the codes.

        Raises:
            ConfigError: the type is not known, or there are fewer dimensions than asked for, or nothing was measured.
        """
        embed_dim = len(self.total)
        if dtype not in DTYPES:
            raise ConfigError(f"--dtype {dtype!r} is not known; use one of {', '.join(DTYPES)}.")
        if self.count < 2:
            raise ConfigError(f"a basis of embeddings wants two measured tokens at least, and there are {self.count}.")
        if dims is not None and not 1 <= dims <= embed_dim:
            raise ConfigError(f"--dims {dims} is refused; the embeddings have 1 to {embed_dim}.")
        mean = self.total / self.count
        covariance = self.products / self.count - np.outer(mean, mean)
        components, explained = np.eye(embed_dim), 1.0
        if dims is not None:
            variance, vectors = np.linalg.eigh(covariance)
            components = vectors.T[::-1][:dims]
            components *= np.sign(components[np.arange(dims), np.abs(components).argmax(axis=1)])[:, None]
            explained = float(variance[::-1][:dims].sum() / max(variance.sum(), np.finfo(float).tiny))
        scale = np.ones(len(components))
        if dtype == "int8":
            size = np.quantile(np.abs((np.concatenate(self.kept) - mean) @ components.T), TAIL, axis=0)
            scale = np.maximum(size, np.finfo(np.float32).tiny) / HIGHEST
        mean, components, scale = (array.astype(np.float32) for array in (mean, components, scale))
        return Basis(dtype, mean, components, scale, min(explained, 1.0))


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
