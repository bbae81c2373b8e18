"""Reads the files of a public encoder: finds the published one in a folder, its weights, and says what does not fit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bandloom.errors import CheckpointError
from bandloom.model.finite_weights import require_finite
from bandloom.public_encoders.family import Family, get_family
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder

Encoder = TypeVar("Encoder", bound=PublicEncoder)
_RANKS = "module."  # what torch's DistributedDataParallel puts before every name


def published_file(folder: Path, family: str) -> tuple[Path, str] | None:
    """Return the published file of weights that lies in a folder and the size that it is of, or None."""
    for size, download in get_family(family).sizes.items():
        weights = next(iter(download.files))  # a record names the weights first
        if (folder / weights).is_file():
            return folder / weights, size
    return None


def require_file(folder: Path, family: str) -> tuple[Path, str]:
    """Return the published file and its size.

    Raises:
        CheckpointError: the folder holds none of them.
    """
    published = published_file(folder, family)
    if published is None:
        raise CheckpointError(f"{folder} holds none of the files of {family}; see `bandloom encoder show {family}`.")
    return published


def require_fixed(family: Family, patch_px: int | None, month: int | None) -> None:
    """Check that nothing was asked for that a family of one patch and no month does not have.

    Raises:
        CheckpointError: another patch or a month was asked for.
    """
    if patch_px is not None and patch_px not in family.patches_px:
        takes = ", ".join(map(str, family.patches_px))
        raise CheckpointError(f"{family.family} takes patches of {takes} pixels, not of {patch_px}; leave it out.")
    if month is not None and family.month is None:
        raise CheckpointError(f"{family.family} takes no month; leave it out.")


def read_weights(path: Path, wrappers: tuple[str, ...] = ("model", "state_dict", "teacher")) -> dict[str, Tensor]:
    """Return the weights of a file, whatever they were saved in, by the names of the file, in float32.

    Args:
        path: of torch's format or safetensors.
        wrappers: keys that may hold the weights.

    Raises:
        CheckpointError: the file cannot be read, holds no tensors by name, or some that are not finite.
    """
    if path.is_file() and not path.stat().st_size:
        raise CheckpointError(f"the weights {path} are an empty file; fetch them again.")
    try:
        held: Any = _load(path)
    except Exception as cause:
        raise CheckpointError(
            f"the weights {path} cannot be read ({_reason(path, cause)}); fetch them again."
        ) from cause
    for wrapper in wrappers:
        held = held[wrapper] if isinstance(held, Mapping) and isinstance(held.get(wrapper), Mapping) else held
    named = held.items() if isinstance(held, Mapping) else ()
    weights = {name: value.float() for name, value in named if isinstance(name, str) and isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(
            f"{path} holds no weights by name, but a {type(held).__name__}; fetch the published file."
        )
    if all(name.startswith(_RANKS) for name in weights):
        weights = {name.removeprefix(_RANKS): value for name, value in weights.items()}
    require_finite(weights, path)
    return weights


def _reason(path: Path, cause: Exception) -> str:
    """Return why a file cannot be read, in a line; torch's own words advise to run the code that it may hold."""
    if "weights_only" not in str(cause):
        return str(cause).partition("\n")[0].partition(". This is")[0]
    with path.open("rb") as file:
        begins = file.read(2)
    return "it holds more than tensors" if begins in (b"PK", b"\x80\x02") else "it is no file of torch"


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def without_prefix(weights: Mapping[str, Tensor], mark: str, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the weights below the first prefix that stands before ``mark``, without it."""
    prefix = next((prefix for prefix in prefixes if f"{prefix}{mark}" in weights), "")
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def depth_of(weights: Mapping[str, Tensor], prefix: str = "blocks.") -> int:
    """Return how many blocks there are, by the numbers after ``prefix``.

    Raises:
        ValueError: there is none.
    """
    place = prefix.count(".")
    return 1 + max(int(name.split(".")[place]) for name in weights if name.startswith(prefix))


def fixed_config(family: Family, size: str, width: int, depth: int, heads: int, **more: Any) -> PublicConfig:
    """Return the shape of an encoder whose patch and normalisation are the record's (mean and deviation)."""
    given = {"patch_px": family.patch_px, "shift": family.mean, "divide": family.std} | more
    return PublicConfig(
        family=family.family,
        size=size,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        gsd_m=family.gsd_m,
        mean=family.mean,
        std=family.std,
        **given,
    )


def build(path: Path, what: str, make: Callable[[], tuple[Encoder, Mapping[str, Tensor]]]) -> Encoder:
    """Return an encoder with the weights of a file, every one of them.

    Args:
        path: of the file.
        what: it should be, in words.
        make: returns the encoder with random weights, and the file's under our names.

    Raises:
        CheckpointError: a weight is missing, left over or of another shape.
    """
    try:
        encoder, weights = make()
        encoder.load_state_dict(dict(weights), strict=True)
    except (KeyError, ValueError, RuntimeError, IndexError) as cause:
        first = str(cause).strip().partition("\n")[2].strip() or str(cause)
        raise CheckpointError(f"{path} is no {what} ({first}).") from cause
    return encoder
