"""Editions of corpora that are not read: pictures of 8 bits, JPEG, LMDB and pickles, each with the edition to take."""

from pathlib import Path

from bandloom.errors import SceneError

_DEEPEST, _WIDEST = 4, 4  # levels and folders of each that are looked into
_SATLAS = ("tci", "b05", "b06", "b07", "b08", "b11", "b12")


def refuse_edition(path: Path) -> None:
    """Refuse a path that is an edition whose values are lost, or that would run code when it is read.

    Raises:
        SceneError: it is one; the edition to take is named.
    """
    folders = [path]
    for _ in range(_DEEPEST):
        for folder in folders:
            _refuse(folder)
        folders = [child for folder in folders if folder.is_dir() for child in _first_folders(folder)]


def _first_folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != ".")[:_WIDEST]


def _refuse(path: Path) -> None:
    names = {child.name for child in path.iterdir()} if path.is_dir() else {path.name}
    lower = {name.lower() for name in names}
    if "data.mdb" in lower or any(name.endswith((".lmdb", ".mdb")) for name in lower):
        raise SceneError(
            f"{path} is an LMDB edition, of pickles or lossy 8-bit values; take the GeoTIFFs (SSL4EO-S12"
            " v1: s2_l1c.tar.gz, s2_l2a.tar.gz; BigEarthNet: BigEarthNet-S2.tar.zst) or SSL4EO-S12 v1.1."
        )
    if len(lower & set(_SATLAS)) >= 3 and "tci" in lower:
        raise SceneError(
            f"{path} is SatlasPretrain, whose Sentinel-2 images are 8-bit PNGs without B01, B8A, B09 and B10: the"
            " values are lost; take SSL4EO-S12 v1.1 or Major TOM Core-S2L2A."
        )
    if any(name.endswith((".taco", ".tortilla")) for name in lower):
        raise SceneError(
            f"{path} holds .taco files that are not CloudSEN12+'s images in TACO version 1; take"
            " cloudsen12-l1c.*.part.taco or cloudsen12-l2a.*.part.taco of tacofoundation/cloudsen12."
        )
    if any(name.endswith((".tar.zst", ".tar.gz.partaa", ".tzst")) for name in lower):
        raise SceneError(
            f"{path} holds packed parts of a set; unpack them (cat PART* | tar -xz, or tar --zstd -xf FILE) and"
            " name the folder."
        )
    if any(name.endswith(".pth") for name in lower):
        raise SceneError(f"{path} holds tensors as pickles (.pth); take the set's GeoTIFF edition.")
