"""Arguments and options that every command shares that trains: its config, where it runs, and how it goes on."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOrOverride = Annotated[
    Path | None, typer.Argument(help="YAML config; `shards` is the one key it must have. Not with --resume.")
]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.sub=value, each wins over the file.")]
Out = Annotated[Path, typer.Option(help="Run folder; an unfinished run in it goes on.")]
Resume = Annotated[
    Path | None, typer.Option(help="A run folder: go on with its config; learning rate, steps and the like may change.")
]
FromScratch = Annotated[bool, typer.Option(help="Throw away what the run folder holds.")]
