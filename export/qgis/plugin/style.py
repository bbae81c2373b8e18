"""Styles of results: a map by the .qml that lies beside it, polygons in the colours of their map's classes."""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFillSymbol,
    QgsProcessingLayerPostProcessorInterface,
    QgsRendererCategory,
)


class _StyledByMap(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer the style of a map once QGIS has loaded it."""

    def __init__(self, qml: Path) -> None:
        super().__init__()
        self.qml = qml

    def postProcessLayer(self, layer: Any, context: Any, feedback: Any) -> None:
        """Style a layer; without a style beside the map it stays as QGIS shows it."""
        style_layer(layer, self.qml)


_KEPT: list[_StyledByMap] = []  # QGIS does not own them, and would be left with none


def style_when_loaded(path: str, qml: Path, context: Any) -> None:
    """Style a result as soon as QGIS has loaded it, if it will."""
    if qml.is_file() and context.willLoadLayerOnCompletion(path):
        _KEPT.append(_StyledByMap(qml))
        context.layerToLoadOnCompletionDetails(path).setPostProcessor(_KEPT[-1])


def style_layer(layer: Any, qml: Path) -> None:
    """Style a raster by a map's .qml, or polygons with a column ``class`` by the colours in it."""
    if not hasattr(layer, "fields"):
        layer.loadNamedStyle(str(qml))
    elif layer.fields().indexOf("class") >= 0 and layer.geometryType() == 2:
        categories = [QgsRendererCategory(name, _fill(colour), name) for name, colour in _classes(qml)]
        layer.setRenderer(QgsCategorizedSymbolRenderer("class", categories))
    layer.triggerRepaint()


def _classes(qml: Path) -> list[tuple[str, str]]:
    """Return names and colours of a map's classes."""
    entries = ElementTree.parse(qml).getroot().iter("paletteEntry")
    return [(entry.get("label", ""), entry.get("color", "#888888")) for entry in entries]


def _fill(colour: str) -> Any:
    return QgsFillSymbol.createSimple({"color": colour, "outline_color": "#ffffff", "outline_width": "0.1"})
