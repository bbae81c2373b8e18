"""Opens the labels of a scene, whatever their form, by one reader."""

from pathlib import Path

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.shards.labels.label_mask import LabelMask
from bandloom.shards.labels.label_polygons import LabelPolygons
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, LabelReading, Labels
from bandloom.shards.labels.vector_file import OTHER_VECTORS, VECTOR_SUFFIXES
from bandloom.shards.scenes.grid import zarr_advice

RASTER_SUFFIXES = (".tif", ".tiff", ".TIF")


def open_labels(path: Path, ground: Ground, taxonomy: Taxonomy, reading: LabelReading, problems: Problems) -> Labels:
    """Open a file of labels for one scene: polygons and points by their suffix, anything else as a raster of codes.

    Raises:
        LabelError: it cannot be read; what is wrong with single features goes to ``problems``.
        SceneError: a raster cannot be opened.
    """
    reading.check()
    if path.suffix.lower() in VECTOR_SUFFIXES:
        if reading.nodata is not None:
            raise LabelError(f"{path} is a vector file, which --label-nodata is not for; leave it out.")
        return LabelPolygons(path, ground, taxonomy, reading, problems)
    if path.suffix.lower() in OTHER_VECTORS:
        raise LabelError(
            f"{path} is no raster, and of vector files {', '.join(VECTOR_SUFFIXES)} are read; convert it (ogr2ogr"
            f" {path.stem}.gpkg {path.name})."
        )
    return LabelMask(path, ground, taxonomy, reading)


def label_path(pattern: str, source: str, name: str) -> Path:
    """Return a scene's label file.

    Args:
        pattern: a folder of NAME.tif (or NAME.geojson, NAME.gpkg, NAME.csv), one file, which all scenes may share, or
            a path with {name}, {parent}, {folder}.
        source: the scene's path.
        name: the scene's name.

    Raises:
        LabelError: there is no such file, or there are two.
    """
    parent = Path(source).parent
    if "{" in pattern:
        try:
            paths = [Path(pattern.format(name=name, parent=parent.name, folder=parent))]
        except (KeyError, IndexError, ValueError) as cause:
            raise LabelError(
                f"--labels {pattern!r} is not understood; between braces stand name, parent or folder alone."
            ) from cause
    elif Path(pattern).is_dir():
        if (told := zarr_advice(Path(pattern))) is not None:
            raise LabelError(told)
        paths = [Path(pattern) / f"{name}{suffix}" for suffix in (*RASTER_SUFFIXES, *VECTOR_SUFFIXES)]
    else:
        paths = [Path(pattern)]
    files = [path for path in paths if path.is_file()]
    if len(files) > 1 and not files[0].samefile(files[1]):
        raise LabelError(f"scene {name} has the labels {' and '.join(map(str, files))}; keep one of them.")
    if not files:
        raise LabelError(
            f"scene {name} has no labels at {paths[0]}; --labels takes a folder of NAME.tif, NAME.geojson, NAME.gpkg or"
            " NAME.csv, one file, or a path with {name}, {parent} (the name of the scene's folder) or {folder} (its"
            " path)."
        )
    return files[0]
