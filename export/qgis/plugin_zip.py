"""The QGIS plugin as a zip: the files of ``plugin/``, its version filled in; the same bytes wherever it is written."""

import zipfile
from pathlib import Path

from bandloom import __version__
from bandloom.errors import OutputError
from bandloom.files.output import new_output

PLUGIN = Path(__file__).parent / "plugin"
NAME = "bandloom_qgis"  # of the plugin's package: QGIS imports it by this name, beside an installed bandloom
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of a zip's calendar


def plugin_files() -> dict[str, bytes]:
    """Return the plugin's files by their names in the zip."""
    files = {path.name: path.read_bytes() for path in sorted(PLUGIN.iterdir()) if path.suffix in (".py", ".txt")}
    files["metadata.txt"] = files["metadata.txt"].replace(b"version=VERSION", f"version={__version__}".encode())
    return {f"{NAME}/{name}": content for name, content in files.items()}


def write_plugin(out: Path) -> None:
    """Write the zip that QGIS installs by Plugins > Manage and Install Plugins > Install from ZIP.

    Raises:
        OutputError: ``out`` exists, is no .zip, or cannot be written.
    """
    if out.suffix.lower() != ".zip":
        raise OutputError(f"--out {out} is no zip; QGIS installs plugins from a .zip, such as {NAME}.zip.")
    with new_output(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in plugin_files().items():
            info = zipfile.ZipInfo(name, _BEGINNING)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content)
