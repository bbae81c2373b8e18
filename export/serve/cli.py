"""``bandloom serve``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.options import Only, fills
from bandloom.export.predict.options import PredictOptions


@fills
def serve(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    options: Annotated[PredictOptions, Only("precision", "runtime", "batch", "threads")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback want a proxy in front.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    layer: Annotated[list[str] | None, typer.Option(help="NAME=MAP.tif: draw tiles of it; may be repeated.")] = None,
    scene: Annotated[list[str] | None, typer.Option(help="NAME=SCENE: draw its true colours; may be repeated.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--limit", help="One bound, such as upload_mb=64; may be repeated.")
    ] = None,
) -> None:
    """Answer map requests over HTTP: POST /predict, tiles, /health, /ready, /metrics. Loopback by default."""
    from bandloom.command_line.config import load_config
    from bandloom.export.serve.limits import Limits
    from bandloom.export.serve.server import parse_names
    from bandloom.export.serve.server import serve as run

    limits = load_config(Limits, None, set_ or [])
    layers = {name: Path(path) for name, path in parse_names(layer or [], "--layer").items()}
    run(bundle, options, limits, host=host, port=port, layers=layers, scenes=parse_names(scene or [], "--scene"))
