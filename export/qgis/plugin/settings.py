"""The one setting: the path of the command."""

# pyright: reportMissingImports=false
from __future__ import annotations

from processing.core.ProcessingConfig import ProcessingConfig, Setting

COMMAND = "BANDLOOM_COMMAND"
GROUP = "Bandloom"


def add_settings() -> None:
    """Show the setting among those of Processing, and read what was set before."""
    ProcessingConfig.addSetting(Setting(GROUP, COMMAND, "Path of the command bandloom", "bandloom"))
    ProcessingConfig.readSettings()


def remove_settings() -> None:
    """Hide the setting again; its value is kept."""
    ProcessingConfig.removeSetting(COMMAND)


def command_path() -> str:
    """Return the path, or the name, of the command."""
    return ProcessingConfig.getSetting(COMMAND) or "bandloom"
