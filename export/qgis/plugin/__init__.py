"""The plugin as QGIS loads it: a Processing provider; runs in QGIS's Python (3.9 or later), imports no bandloom."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """Return the plugin, which QGIS starts by ``initGui`` or, without a window, by ``initProcessing``."""
    from .provider import Plugin

    return Plugin()
