"""Check for non-finite weights: NaN or infinity is refused before it makes every answer NaN."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from bandloom.errors import CheckpointError


def require_finite(weights: Mapping[str, Tensor], file: Path) -> None:
    """Check that every floating-point weight of a file is a finite number.

    Raises:
        CheckpointError: one is not; names the first.
    """
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(
                f"{file} holds NaN or infinite weights (the first in {name}), as a run that diverged or a damaged file"
                " does; take an earlier checkpoint, or fetch it again."
            )
