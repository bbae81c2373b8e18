"""TerraMind 1.0 on thirteen bands of Level-1C; the files are those of ``terramind``."""

from pathlib import Path

from bandloom.public_encoders.terramind import TerraMind, read_modality


class TerraMindL1C(TerraMind):
    """TerraMind tiny to large on Level-1C; see the record ``terramind_l1c.yaml``."""

    family_name = "terramind_l1c"


def is_folder(folder: Path) -> bool:
    """Tell that no folder is this family's by its files alone: they are those of ``terramind``, which comes first."""
    return False


def read(folder: Path, patch_px: int | None = None, month: int | None = None) -> TerraMindL1C:
    """Read the encoder of Level-1C from the published file; see :func:`bandloom.public_encoders.terramind.read`.

    Raises:
        CheckpointError: the file cannot be read or does not fit, or a patch or month was asked for that it has not.
    """
    return read_modality(TerraMindL1C, folder, patch_px, month)
