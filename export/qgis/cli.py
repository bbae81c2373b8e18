"""Command ``qgis``: write the QGIS plugin."""

from pathlib import Path
from typing import Annotated

import typer


def qgis(
    out: Annotated[Path, typer.Option(help="The zip to write; must not exist.")] = Path("bandloom_qgis.zip"),
) -> None:
    """Write the QGIS plugin: this command's verbs as Processing algorithms."""
    import shutil

    from bandloom.export.qgis.plugin_zip import write_plugin

    write_plugin(out)
    typer.echo(f"{out}: install it in QGIS by Plugins > Manage and Install Plugins > Install from ZIP")
    command = shutil.which("bandloom") or "the path of the command bandloom"
    typer.echo(f"then set {command} at Settings > Options > Processing > Providers > Bandloom")
