"""What the drill's builder processes run: a build of many small units."""

from pathlib import Path


def build_small_units(scenes: str, out: str, workers: int) -> None:
    """Build ``scenes`` into ``out``, four samples a unit, so that a build has many moments to be killed at."""
    from bandloom.shards.build import plan
    from bandloom.shards.build.build import build

    plan.UNIT_SAMPLES = 4
    build([scenes], Path(out), plan.BuildOptions(120), workers=workers)
