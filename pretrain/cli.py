"""``bandloom pretrain``."""

from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    config: Annotated[Path, typer.Argument(help="YAML config; `shards` is the one key it must have.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, each wins over the file.")] = None,
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it goes on.")] = Path("runs/pretrain"),
    from_scratch: Annotated[bool, typer.Option(help="Throw away what the run folder holds.")] = False,
) -> None:
    """Pretrain an encoder by masked autoencoding; the same command resumes it."""
    from bandloom.config import load_config
    from bandloom.run_folder import RunFolder
    from pretrain.config import PretrainConfig
    from pretrain.train import pretrain as train

    resolved = load_config(PretrainConfig, config, overrides or [])
    raise typer.Exit(train(resolved, RunFolder(out), from_scratch=from_scratch))
