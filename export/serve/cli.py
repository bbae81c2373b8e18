"""``bandloom serve``."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback want a proxy in front.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    layer: Annotated[list[str] | None, typer.Option(help="NAME=MAP.tif: draw tiles of it; may be repeated.")] = None,
    scene: Annotated[list[str] | None, typer.Option(help="NAME=SCENE: draw its true colours; may be repeated.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8, where the bundle has it.")] = None,
    runtime: Annotated[
        str, typer.Option(help="auto, tensorrt, tensorrt-rtx, onnxruntime-cuda, openvino, ...")
    ] = "auto",
    batch: Annotated[int, typer.Option(help="Tiles an engine call.")] = 8,
    threads: Annotated[int, typer.Option(help="Threads of the engine; 0: its own choice.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--limit", help="One bound, such as upload_mb=64; may be repeated.")
    ] = None,
) -> None:
    """Answer map requests over HTTP: POST /predict, tiles, /health, /ready, /metrics. Loopback by default."""
    from bandloom.config import load_config
    from bandloom.export.predict.options import PredictOptions
    from bandloom.export.serve.limits import Limits
    from bandloom.export.serve.server import parse_names
    from bandloom.export.serve.server import serve as run

    limits = load_config(Limits, None, set_ or [])
    options = PredictOptions(precision=precision, runtime=runtime, batch=batch, threads=threads)
    layers = {name: Path(path) for name, path in parse_names(layer or [], "--layer").items()}
    run(bundle, options, limits, host=host, port=port, layers=layers, scenes=parse_names(scene or [], "--scene"))
