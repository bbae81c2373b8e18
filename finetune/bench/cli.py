"""Command ``bandloom bench``."""

from typing import Annotated

import typer

from bandloom.command_line.options import fills
from bandloom.finetune.bench.config import BenchConfig


@fills
def bench(
    config: BenchConfig,
    part: Annotated[str, typer.Option(help="i/n: only every n-th unit of work, for n machines.")] = "",
) -> None:
    """Score encoders on all label sets of a folder, frozen and fine-tuned, beside baselines: one table."""
    from bandloom.finetune.bench.run import bench as run
    from bandloom.shards.build.build import parse_part

    raise typer.Exit(run(config, parse_part(part)))
