"""Parameters of QGIS for each kind of parameter, and how the word that is typed is read out of each."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterExtent,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
)

from .verbs import Parameter

DEGREES = "EPSG:4326"
FIELD_OF = "field of "


def made(parameter: Parameter) -> Any:
    """Return the parameter that QGIS shows."""
    kind = FIELD_OF if parameter.kind.startswith(FIELD_OF) else parameter.kind
    return MAKERS[kind](parameter)


def value_of(algorithm: Any, parameter: Parameter, values: Any, context: Any) -> Any:
    """Return what is typed for a parameter: a word, a number, words, True or False; None where it is left empty.

    Raises:
        QgsProcessingException: it is no file that a command can read.
    """
    if values.get(parameter.name, parameter.default) is None:
        return None
    kind = FIELD_OF if parameter.kind.startswith(FIELD_OF) else parameter.kind
    return READERS.get(kind, _text)(algorithm, parameter.name, values, context)


def _text(algorithm: Any, name: str, values: Any, context: Any) -> str:
    return algorithm.parameterAsString(values, name, context)


def _file(algorithm: Any, name: str, values: Any, context: Any) -> str:
    return algorithm.parameterAsFile(values, name, context)


def _raster(algorithm: Any, name: str, values: Any, context: Any) -> str:
    layer = algorithm.parameterAsRasterLayer(values, name, context)
    source = layer.source() if layer is not None else str(values[name])
    if not Path(source).is_file():
        raise QgsProcessingException(f"the map {source} is no file on this machine; save it as a GeoTIFF first.")
    return source


def _vector(algorithm: Any, name: str, values: Any, context: Any) -> list[str]:
    """Return the file of a layer, and its name in it; a layer that is in no file is written to one."""
    formats = ["gpkg", "geojson", "shp", "csv"]
    path, layer = algorithm.parameterAsCompatibleSourceLayerPathAndLayerName(values, name, context, formats, "gpkg")
    return [path, "--layer", layer] if layer else [path]


def _field(algorithm: Any, name: str, values: Any, context: Any) -> str | None:
    fields = algorithm.parameterAsFields(values, name, context)
    return fields[0] if fields else None


def _box(algorithm: Any, name: str, values: Any, context: Any) -> str | None:
    box = algorithm.parameterAsExtent(values, name, context, QgsCoordinateReferenceSystem(DEGREES))
    if box.isNull() or box.isEmpty():
        return None
    return ",".join(f"{side:.9g}" for side in (box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()))


def _output(algorithm: Any, name: str, values: Any, context: Any) -> str:
    return algorithm.parameterAsOutputLayer(values, name, context)


def _file_output(algorithm: Any, name: str, values: Any, context: Any) -> str:
    return algorithm.parameterAsFileOutput(values, name, context)


def _switch(algorithm: Any, name: str, values: Any, context: Any) -> bool:
    return algorithm.parameterAsBoolean(values, name, context)


def _whole(algorithm: Any, name: str, values: Any, context: Any) -> int:
    return algorithm.parameterAsInt(values, name, context)


def _decimal(algorithm: Any, name: str, values: Any, context: Any) -> float:
    return algorithm.parameterAsDouble(values, name, context)


READERS: dict[str, Callable[[Any, str, Any, Any], Any]] = {
    "map": _raster,
    "features": _vector,
    FIELD_OF: _field,
    "box": _box,
    "path": _file,
    "folder": _file,
    "switch": _switch,
    "count": _whole,
    "number": _decimal,
    "new map": _output,
    "new features": _output,
    "new points": _output,
    "new table": _file_output,
    "new json": _file_output,
    "new folder": _file_output,
}


def _number(parameter: Parameter, kind: Any) -> Any:
    return QgsProcessingParameterNumber(
        parameter.name, parameter.title, kind, parameter.default, parameter.optional, minValue=0
    )


def _file_like(parameter: Parameter, behaviour: Any) -> Any:
    return QgsProcessingParameterFile(parameter.name, parameter.title, behaviour, optional=parameter.optional)


def _new(parameter: Parameter, maker: Any, *more: Any) -> Any:
    """Return an output; one that may be left empty is not made unless asked for."""
    return maker(
        parameter.name,
        parameter.title,
        *more,
        defaultValue=None,
        optional=parameter.optional,
        createByDefault=not parameter.optional,
    )


MAKERS: dict[str, Callable[[Parameter], Any]] = {
    "map": lambda told: QgsProcessingParameterRasterLayer(told.name, told.title, optional=told.optional),
    "features": lambda told: QgsProcessingParameterVectorLayer(told.name, told.title, optional=told.optional),
    FIELD_OF: lambda told: QgsProcessingParameterField(
        told.name, told.title, None, told.kind[len(FIELD_OF) :], optional=told.optional
    ),
    "path": lambda told: _file_like(told, QgsProcessingParameterFile.File),
    "folder": lambda told: _file_like(told, QgsProcessingParameterFile.Folder),
    "box": lambda told: QgsProcessingParameterExtent(told.name, told.title, optional=told.optional),
    "text": lambda told: QgsProcessingParameterString(told.name, told.title, told.default, optional=told.optional),
    "switch": lambda told: QgsProcessingParameterBoolean(told.name, told.title, told.default),
    "count": lambda told: _number(told, QgsProcessingParameterNumber.Integer),
    "number": lambda told: _number(told, QgsProcessingParameterNumber.Double),
    "new map": lambda told: _new(told, QgsProcessingParameterRasterDestination),
    "new features": lambda told: _new(told, QgsProcessingParameterVectorDestination),
    "new points": lambda told: _new(told, QgsProcessingParameterVectorDestination),
    "new table": lambda told: _new(told, QgsProcessingParameterFileDestination, "CSV (*.csv)"),
    "new json": lambda told: _new(told, QgsProcessingParameterFileDestination, "JSON (*.json)"),
    "new folder": lambda told: _new(told, QgsProcessingParameterFolderDestination),
}
