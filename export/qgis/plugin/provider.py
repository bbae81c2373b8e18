"""The Processing provider, and the plugin that registers it."""

# pyright: reportMissingImports=false
from __future__ import annotations

from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithm import VerbAlgorithm
from .settings import add_settings, remove_settings
from .verbs import VERBS


class BandloomProvider(QgsProcessingProvider):
    """The algorithms ``bandloom:...``."""

    def id(self) -> str:
        """Return the prefix of the algorithms."""
        return "bandloom"

    def name(self) -> str:
        """Return the name in the toolbox and among the settings."""
        return "Bandloom"

    def load(self) -> bool:
        """Add the settings and the algorithms."""
        add_settings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Take the settings out."""
        remove_settings()

    def loadAlgorithms(self) -> None:
        """Make the algorithms."""
        for verb in VERBS:
            self.addAlgorithm(VerbAlgorithm(verb))

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        """Return the endings of maps."""
        return ["tif"]

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        """Return the endings of polygons, points and zones."""
        return ["gpkg", "fgb"]

    def supportsNonFileBasedOutput(self) -> bool:
        """Return False: a command writes files."""
        return False


class Plugin:
    """The plugin: the provider, registered as long as it is loaded."""

    def __init__(self) -> None:
        self.provider: BandloomProvider | None = None

    def initProcessing(self) -> None:
        """Register the provider; all that QGIS calls without a window (``qgis_process``)."""
        self.provider = BandloomProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Register the provider."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the provider out again."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
