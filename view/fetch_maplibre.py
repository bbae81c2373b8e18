"""Fetches MapLibre GL (BSD-3) for the map page: ``python -m bandloom.view.fetch_maplibre``, when the wheel is built.

It comes from the npm registry that npm is set to, by name and version, and its checksum is compared; the page itself
loads nothing from outside.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from bandloom.command_line.console import logger
from bandloom.errors import BandloomError
from bandloom.files.output import new_output

VERSION = "5.24.1"
VENDOR = Path(__file__).parent / "vendor"
SHA256 = {
    "maplibre-gl.js": "a9c9e2aa36d4d5b63b131f27c1272f1a28883eeecc0eddd1e0dbfae4033bc7c9",
    "maplibre-gl.css": "ab1e70d59ec40465bae7e7030da2f3ccf28133fd502e62bd598eefbadfd7a732",
}


def fetch(folder: Path = VENDOR) -> None:
    """Put MapLibre's script and style into ``folder``, unless they are there.

    Raises:
        BandloomError: npm is not installed or does not answer, or what it brought has changed.
    """
    if all(is_whole(folder, name) for name in SHA256):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise BandloomError(
            f"the map page needs MapLibre GL {VERSION}, which npm fetches once; npm is not installed: install it, or"
            " install bandloom from a wheel, which holds it."
        )
    logger.info("fetching MapLibre GL %s with npm, once", VERSION)
    with TemporaryDirectory() as place:
        command = [npm, "pack", "--silent", "--pack-destination", place, f"maplibre-gl@{VERSION}"]
        asked = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if asked.returncode:
            raise BandloomError(f"npm could not fetch MapLibre GL {VERSION}: {asked.stderr.strip()[-300:]}; try again.")
        with tarfile.open(next(Path(place).glob("*.tgz"))) as package:
            for name in SHA256:
                member = package.extractfile(f"package/dist/{name}")
                with new_output(folder / name, overwrite=True) as temporary:
                    temporary.write_bytes(member.read() if member else b"")
    changed = [name for name in SHA256 if not is_whole(folder, name)]
    if changed:
        raise BandloomError(f"{changed[0]} of MapLibre GL {VERSION} differs from its known checksum; do not use it.")


def is_whole(folder: Path, name: str) -> bool:
    """Tell whether a file is there with the checksum it had when this version was chosen."""
    path = folder / name
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[name]


if __name__ == "__main__":
    fetch()
    sys.stdout.write(f"maplibre-gl {VERSION} is in {VENDOR}\n")
