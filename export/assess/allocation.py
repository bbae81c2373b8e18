"""Allocates the points of a sample to strata: equally, in proportion, or with a minimum and the rest in proportion."""

import math
from collections.abc import Sequence

from bandloom.errors import ConfigError

FEWEST = 2  # points a stratum: one has no variance
DEFAULT_PER_CLASS = 50


def allocate(pixels: Sequence[int], per_class: int | None, total: int | None) -> list[int]:
    """Return how many points each stratum gets, never more than it has pixels.

    ``per_class`` alone gives every class as many; ``total`` alone is shared in proportion to the pixels, two at least;
    both: rare classes get ``per_class`` and the rest of ``total`` is shared in proportion among the others (Olofsson et
    al. 2014, section 5.1.1). Neither is 50 a class.

    Raises:
        ConfigError: too few a class for an error to be known, or more a class than ``total`` holds.
    """
    least = per_class if per_class is not None else FEWEST if total is not None else DEFAULT_PER_CLASS
    if least < FEWEST:
        raise ConfigError(f"--per-class {least} is too few for a standard error; give {FEWEST} or more.")
    wanted = [min(least, count) for count in pixels]
    if total is None:
        return wanted
    if total < sum(wanted):
        raise ConfigError(
            f"--total {total} is less than {least} points in each of {len(pixels)} classes ({sum(wanted)}); raise it,"
            " or lower --per-class."
        )
    return _with_minimum(pixels, least, total)


def _with_minimum(pixels: Sequence[int], least: int, total: int) -> list[int]:
    if total >= sum(pixels):
        return list(pixels)
    quota: dict[int, int] = {}
    while True:
        free = [h for h in range(len(pixels)) if h not in quota]
        left, size = total - sum(quota.values()), sum(pixels[h] for h in free)
        rare = {h: min(least, pixels[h]) for h in free if left * pixels[h] < min(least, pixels[h]) * size}
        if not rare:
            break
        quota |= rare
    exact = {h: left * pixels[h] / size for h in free}
    quota |= {h: math.floor(share) for h, share in exact.items()}
    remainders = sorted(exact, key=lambda h: (quota[h] - exact[h], h))
    for h in remainders[: total - sum(quota.values())]:
        quota[h] += 1
    return [quota[h] for h in range(len(pixels))]
