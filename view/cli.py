"""The verbs of what people see."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.console import logger


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, shards, bundles or maps; several: side by side.")],
    out: Annotated[Path, typer.Option(help="The page to write; must not exist.")] = Path("report.html"),
) -> None:
    """Write one self-contained page about what a stage left."""
    from view.report import write_report

    logger.info("%s: open it in a browser, or send it", write_report(runs, out))
