"""``bandloom pretrain``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.run_options import ConfigOrOverride, FromScratch, Out, Overrides, Resume


def pretrain(
    config: ConfigOrOverride = None,
    overrides: Overrides = None,
    out: Out = Path("runs/pretrain"),
    resume: Resume = None,
    from_scratch: FromScratch = False,
    dry_run: Annotated[bool, typer.Option(help="Print the config, memory and FLOPs; train nothing.")] = False,
    profile: Annotated[bool, typer.Option(help="Write a trace of steps 10 to 20 into RUN/profile.")] = False,
) -> None:
    """Pretrain an encoder by masked autoencoding; the same command resumes it."""
    from bandloom.command_line.config import config_of_run
    from bandloom.pretrain.config import PretrainConfig
    from bandloom.run_state.run_folder import RunFolder

    resolved, folder = config_of_run(PretrainConfig, config, overrides or [], out, resume)
    if dry_run:
        from bandloom.pretrain.dry_run import dry_run as show
        from bandloom.training.ranks import Ranks

        show(resolved, Ranks.from_environment())
        return
    from bandloom.pretrain.train import pretrain as train

    raise typer.Exit(
        train(resolved, RunFolder(folder, goes_on=resume is not None), from_scratch=from_scratch, profile=profile)
    )


def embed(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of an encoder, such as RUN/checkpoint.")],
    source: Annotated[Path, typer.Argument(help="A scene, or a folder of shards.")],
    out: Annotated[Path, typer.Option(help="New file: .tif or .parquet for a scene, .parquet for shards.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Chips a forward pass.")] = 8,
    dims: Annotated[int | None, typer.Option(help="Principal components to keep; by default every dimension.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, or int8: a byte a dimension, with scales.")] = "float32",
    like: Annotated[
        Path | None,
        typer.Option(metavar="OTHER", help="Packed embeddings (.tif, .parquet) whose components and scales to take."),
    ] = None,
) -> None:
    """Write the embeddings of a scene's tokens, or of every sample of a shard set."""
    from bandloom.command_line.console import logger
    from bandloom.pretrain.embed import Packing
    from bandloom.pretrain.embed import embed as write

    packing = Packing(dims, dtype, like)
    logger.info("embeddings are in %s", write(checkpoint, source, out, batch_size=batch_size, packing=packing))
