"""Runs in QGIS's own Python: installs the plugin from its zip, runs algorithms as scripts do, and prints what came.

``in_qgis.py TASK.json`` reads the zip, the command, and a list of runs (algorithm, parameters, when to cancel).
"""

import json
import os
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


class Feedback(QgsProcessingFeedback):
    """Keeps what is shown; a thread cancels once a file or folder is there."""

    def __init__(self, cancel_when):
        super().__init__(False)
        self.told = []
        self.progress = []
        self.progressChanged.connect(self.progress.append)
        if cancel_when:
            threading.Thread(target=self.wait_for, args=(cancel_when,), daemon=True).start()

    def wait_for(self, pattern):
        folder, _, name = pattern.rpartition("/")
        while not list(Path(folder).glob(name)):
            time.sleep(0.02)
        self.cancel()

    def pushInfo(self, line):
        self.told.append(line)

    def pushConsoleInfo(self, line):
        self.told.append(line)

    def pushWarning(self, line):
        self.told.append(line)


def run(processing, asked):
    feedback = Feedback(asked.get("cancel_when"))
    context = QgsProcessingContext()
    context.setFeedback(feedback)
    context.setProject(QgsProject.instance())
    for path in asked.get("show", []):  # as the window does for results that are to be opened
        details = QgsProcessingContext.LayerDetails("result", context.project())
        context.addLayerToLoadOnCompletion(path, details)
    try:
        given = processing.run(asked["algorithm"], asked["parameters"], context=context, feedback=feedback)
    except Exception as error:
        return {"error": str(error), "told": feedback.told}
    told = {name: str(value) for name, value in given.items()}
    opens = {path: details.postProcessor() is not None for path, details in context.layersToLoadOnCompletion().items()}
    return {"given": told, "told": feedback.told, "styles": styles(asked, context, feedback), "opens": opens}


def styles(asked, context, feedback):
    """Load results as the window does, with the plugin's own step after it; return their classes, and draw them."""
    shown = {}
    for path in [*asked.get("show", []), *asked.get("draw", [])]:
        layer = QgsProcessingUtils.mapLayerFromString(path, context)
        context.layerToLoadOnCompletionDetails(path).postProcessor().postProcessLayer(layer, context, feedback)
        renderer = layer.renderer()
        if hasattr(renderer, "classes"):
            shown[path] = [[entry.label, entry.color.name()] for entry in renderer.classes()]
        else:
            shown[path] = [[entry.label(), entry.symbol().color().name()] for entry in renderer.categories()]
        draw(layer, path + ".png")
    return shown


def draw(layer, path):
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(480, 480))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path)


def main(task):
    application = QgsApplication([], False)
    application.initQgis()
    import processing
    import qgis.utils
    from processing.core.Processing import Processing
    from processing.core.ProcessingConfig import ProcessingConfig

    Processing.initialize()
    with zipfile.ZipFile(task["zip"]) as archive:
        archive.extractall(task["plugins"])
    sys.path.insert(0, task["plugins"])
    qgis.utils.plugin_paths.append(task["plugins"])
    qgis.utils.updateAvailablePlugins()
    assert qgis.utils.loadPlugin("bandloom_qgis")
    qgis.utils.plugins["bandloom_qgis"] = plugin = sys.modules["bandloom_qgis"].classFactory(None)
    plugin.initProcessing()
    ProcessingConfig.setSettingValue("BANDLOOM_COMMAND", task["command"])
    provider = QgsApplication.processingRegistry().providerById("bandloom")
    result = {
        "algorithms": {
            algorithm.id(): [definition.name() for definition in algorithm.parameterDefinitions()]
            for algorithm in provider.algorithms()
        },
        "available": "bandloom_qgis" in qgis.utils.available_plugins,
        "runs": [run(processing, asked) for asked in task["runs"]],
    }
    ProcessingConfig.setSettingValue("BANDLOOM_COMMAND", "/none/bandloom")
    result["without"] = list(provider.algorithm("polygons").canExecute())
    plugin.unload()
    result["unloaded"] = QgsApplication.processingRegistry().providerById("bandloom") is None
    Path(task["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    os.environ.setdefault("XDG_DATA_HOME", tempfile.mkdtemp())
    main(json.loads(Path(sys.argv[1]).read_text()))
    os._exit(0)  # QGIS without a window may crash while it is taken down
