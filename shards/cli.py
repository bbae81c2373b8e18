"""The verbs of ``bandloom shards``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)
Out = Annotated[Path, typer.Option("--out", help="Where to write; must not exist.")]


@app.callback()
def shards() -> None:
    """Turn scenes into WebDataset shards, and look at them."""


@app.command()
def synth(
    out: Out,
    scenes: Annotated[int, typer.Option(help="How many places.")] = 12,
    size: Annotated[int, typer.Option(help="Side in pixels of 10 m, a multiple of 6.")] = 480,
    seed: Annotated[int, typer.Option(help="The first place; the next ones follow.")] = 0,
    acquisitions: Annotated[int, typer.Option(help="How many days each place is seen.")] = 1,
    clouds: Annotated[float, typer.Option(help="Share of each scene under cloud.")] = 0.02,
    chips: Annotated[int | None, typer.Option(help="Write class folders of chips of this side instead.")] = None,
) -> None:
    """Write synthetic 13-band Sentinel-2 scenes with land-cover labels: OUT/scenes, OUT/labels, OUT/label_set.yaml."""
    from bandloom.console import logger
    from shards.synth.chips import write_chips
    from shards.synth.write import write_scenes

    if chips is not None:
        counts = write_chips(out, scenes, size, seed, chips)
        logger.info("%d chips of %d classes in %s", sum(counts.values()), len(counts), out)
        return
    write_scenes(out, scenes, size, seed, acquisitions=acquisitions, cloud_fraction=clouds)
    logger.info("%d scenes of %d x %d pixels in %s", scenes * acquisitions, size, size, out)
