"""An algorithm of the toolbox: it types a verb of the command, shows what that says, and loads what it writes."""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsProcessingAlgorithm, QgsProcessingContext, QgsProcessingException, QgsProcessingOutputString

from .command import CommandError, found, run
from .parameters import made, value_of
from .settings import command_path
from .style import style_when_loaded
from .verbs import Verb, words_of


class VerbAlgorithm(QgsProcessingAlgorithm):
    """One verb."""

    def __init__(self, verb: Verb) -> None:
        super().__init__()
        self.verb = verb

    def createInstance(self) -> VerbAlgorithm:
        """Return an algorithm that has not run yet."""
        return VerbAlgorithm(self.verb)

    def name(self) -> str:
        """Return the name for scripts."""
        return self.verb.name

    def displayName(self) -> str:
        """Return the name in the toolbox."""
        return self.verb.title

    def shortHelpString(self) -> str:
        """Return the help of the dialog."""
        return self.verb.help

    def initAlgorithm(self, configuration: Any = None) -> None:
        """Declare the parameters."""
        for parameter in self.verb.parameters:
            self.addParameter(made(parameter))
        self.addOutput(QgsProcessingOutputString("SAID", "What the command said"))

    def canExecute(self) -> tuple[bool, str]:
        """Tell whether the command is there, and what to do if it is not."""
        try:
            found(command_path())
        except CommandError as error:
            return False, str(error)
        return True, ""

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Run the command and return the outputs that were asked for.

        Raises:
            QgsProcessingException: the command's own sentence.
        """
        values = {told.name: value_of(self, told, parameters, context) for told in self.verb.parameters}
        try:
            words = [found(command_path()), *words_of(self.verb, values)]
            feedback.pushCommandInfo(" ".join(f'"{word}"' if " " in word else word for word in words))
            said = run(words, feedback)
        except CommandError as error:
            raise QgsProcessingException(str(error)) from error
        outputs = {told.name: values[told.name] for told in self.verb.parameters if told.kind.startswith("new ")}
        self._style(outputs, values, context)
        return {name: path for name, path in outputs.items() if path} | {"SAID": said}

    def _style(self, outputs: dict[str, Any], values: dict[str, Any], context: Any) -> None:
        for told in self.verb.parameters:
            path = outputs.get(told.name)
            if told.kind == "new folder" and path:
                _load_maps(Path(path), told.name, context)
            elif path:
                source = path if told.kind == "new map" else values.get("MAP") or values["OUT"]
                style_when_loaded(path, Path(str(source)).with_suffix(".qml"), context)


def _load_maps(folder: Path, output: str, context: Any) -> None:
    """Let QGIS load the map of a folder: the mosaic, or else those with a style beside them."""
    if context.project() is None:
        return
    for qml in sorted(folder.glob("mosaic.qml")) or sorted(folder.glob("*.qml")):
        path = str(qml.with_suffix(".tif"))
        details = QgsProcessingContext.LayerDetails(qml.stem, context.project(), output)
        context.addLayerToLoadOnCompletion(path, details)
        style_when_loaded(path, qml, context)
