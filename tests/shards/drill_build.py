"""What the drill's builder processes run: a build of many small units."""

from pathlib import Path


def build_small_units(scenes: str, out: str, workers: int) -> None:
    """Build ``scenes`` into ``out``, four samples a unit, so that a build has many moments to be killed at."""
    import shards.plan
    from shards.build import build

    shards.plan.UNIT_SAMPLES = 4
    build([scenes], Path(out), shards.plan.BuildOptions(120), workers=workers)
