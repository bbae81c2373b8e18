"""``bandloom finetune``."""

from pathlib import Path
from typing import Annotated

import typer


def finetune(
    config: Annotated[Path, typer.Argument(help="YAML config; `shards` is the one key it must have.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, each wins over the file.")] = None,
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it goes on.")] = Path("runs/finetune"),
    from_scratch: Annotated[bool, typer.Option(help="Throw away what the run folder holds.")] = False,
) -> None:
    """Train a segmenter or classifier on labels, and score it beside its floors."""
    from bandloom.config import load_config
    from bandloom.run_folder import RunFolder
    from finetune.config import FinetuneConfig
    from finetune.train import finetune as train

    resolved = load_config(FinetuneConfig, config, overrides or [])
    raise typer.Exit(train(resolved, RunFolder(out), from_scratch=from_scratch))
