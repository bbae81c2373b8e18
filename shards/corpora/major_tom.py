"""Major TOM Core-S2L1C and Core-S2L2A: GeoTIFFs inside Parquet, one row group at a time, or the folders made of them.

Every band is at its own sampling. Corners are fractions of a metre and the same for all groups: a window of the product
was read, so pixels are the product's own and the stated place is off by up to half a pixel of each group. Nothing is
resampled. Level-1C and Level-2A cells of one name may be of different days.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bandloom.errors import SceneError, said
from bandloom.sensors import SLOTS
from bandloom.shards.corpora.chip import Chip, chip_scene
from bandloom.shards.corpora.corpus import INNER, Asked, Container, Corpus, Member, broken
from bandloom.shards.corpora.parquet import BROKEN, parquet
from bandloom.shards.corpora.product_name import PRODUCT, read_product_name
from bandloom.shards.corpora.rasters_in_memory import Pixels, one_place, read_raster_bytes, read_raster_file
from bandloom.shards.scenes.in_memory import ArrayScene

SIDE_PX = 216  # five of them cover the 1068 pixels of a cell and 12 more
SQUARES = 25  # so many to a cell
_ROWS = 400  # about, to a file of 5 GB
_CELL = re.compile(r"\d+[UD]_\d+[LR]")
_ROW = re.compile(r"\d+[UD]")
_COLUMNS = ("product_id", "grid_cell", "timestamp", "cloud_mask", *SLOTS)
_CORNER = "as stated, up to half a pixel of each group off"


def containers(path: Path) -> list[Container] | None:
    """Return the Parquet files, rows of cells, or cells that a path is, or that lie right inside."""
    if path.is_file():
        return [Container(str(path), samples=_ROWS * SQUARES)] if path.suffix == ".parquet" and _is_part(path) else None
    if not path.is_dir():
        return None
    if _CELL.fullmatch(path.name) and _products(path):
        return [Container(str(path), samples=SQUARES * len(_products(path)))]
    files, rows = [], []
    for child in sorted(path.iterdir()):
        if child.suffix == ".parquet" and child.is_file():
            if not files and not _is_part(child):
                continue
            files.append(child)
        elif _ROW.fullmatch(child.name) or _CELL.fullmatch(child.name):
            rows.append(child)
    if files:
        return [Container(str(child), samples=_ROWS * SQUARES) for child in files if child.name != "metadata.parquet"]
    if rows and any(_cells(child) for child in rows[:8]):
        return [Container(str(child), samples=SQUARES * 16) for child in rows]
    return None


def _is_part(path: Path) -> bool:
    """Tell by its schema alone whether a file holds cells; no row is read."""
    try:
        schema = parquet().read_schema(path)
    except BROKEN:
        return False
    return {"product_id", "grid_cell", "B02"} <= set(schema.names) and str(schema.field("B02").type).endswith("binary")


def _products(cell: Path) -> list[Path]:
    return [child for child in sorted(cell.iterdir()) if PRODUCT.fullmatch(child.name)] if cell.is_dir() else []


def _cells(folder: Path) -> list[Path]:
    if _CELL.fullmatch(folder.name):
        return [folder] if _products(folder) else []
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [child for child in inside if _CELL.fullmatch(child.name) and child.is_dir()]


def members(container: Container, asked: Asked) -> Iterator[Member]:
    """Yield every cell of a file or folder.

    Raises:
        SceneError: the file cannot be read.
    """
    path = Path(container.path)
    if path.is_dir():
        for cell in _cells(path):
            for product in _products(cell):
                inner = product.relative_to(path).as_posix().replace("/", INNER)
                origin = {"place": cell.name, "product": product.name}
                yield Member(inner, partial(_open_folder, product, f"{path}{INNER}{inner}", asked.offset), origin)
        return
    yield from _rows(path, asked)


def _rows(path: Path, asked: Asked) -> Iterator[Member]:
    pq = parquet()
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except BROKEN as cause:
        raise SceneError(f"{path} cannot be read ({said(cause)}); it was cut short: fetch it again.") from cause
    with file:
        columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            try:
                rows = file.read_row_group(group, columns=columns).to_pylist()
            except BROKEN as cause:
                error = SceneError(f"{path}: row group {group} cannot be read ({said(cause)}); fetch it again.")
                yield broken(f"{group}", error)
                continue
            if not rows:
                yield broken(
                    f"{group}", SceneError(f"{path}: row group {group} is empty; expected one cell: fetch it again.")
                )
            for number, row in enumerate(rows):
                place = str(row.get("grid_cell"))
                inner = f"{group}{INNER}{place}" if len(rows) == 1 else f"{group}-{number}{INNER}{place}"
                origin = {"place": place, "product": str(row.get("product_id"))}
                yield Member(inner, partial(_open_row, row, f"{path}{INNER}{inner}", asked.offset), origin)


def _open_row(row: Mapping[str, Any], name: str, told: int | None) -> ArrayScene:
    bands = {
        band: read_raster_bytes(content, f"{name}{INNER}{band}")
        for band in SLOTS
        if (content := row.get(band)) is not None
    }
    cloud = row.get("cloud_mask")
    pixels = None if cloud is None else read_raster_bytes(cloud, f"{name}{INNER}cloud_mask")
    return _scene(str(row.get("product_id")), bands, pixels, name, told)


def _open_folder(product: Path, name: str, told: int | None) -> ArrayScene:
    bands = {band: read_raster_file(file) for band in SLOTS if (file := product / f"{band}.tif").exists()}
    mask = product / "cloud_mask.tif"
    return _scene(product.name, bands, read_raster_file(mask) if mask.exists() else None, name, told)


def _scene(product: str, bands: Mapping[str, Pixels], cloud: Pixels | None, name: str, told: int | None) -> ArrayScene:
    if not bands:
        raise SceneError(f"{name} holds no band; it is incomplete: fetch it again.")
    named = read_product_name(product)
    if named is None:
        raise SceneError(f"{name} names the product {product!r}, which is none of Sentinel-2: leave it out.")
    crs, corner = one_place(name, bands)
    if ("B10" in bands) != (named.level == "l1c"):
        raise SceneError(
            f"{name} is level {named.level} by its product and {'has' if 'B10' in bands else 'lacks'} B10."
        )
    arrays = {band: pixels.values[0] for band, pixels in bands.items()}
    clouds = None if cloud is None else cloud.values[0]
    chip = Chip(name, arrays, crs, corner, named.time, named.offset, clouds, {"corner": _CORNER})
    return chip_scene(chip, told)


MAJOR_TOM = Corpus(
    name="major-tom",
    title="Major TOM Core-S2L1C and Core-S2L2A",
    licence="CC-BY-SA-4.0",
    side_px=SIDE_PX,
    looks_like="images/part_00001.parquet with grid_cell, product_id and B02, or 199U/199U_1099R/PRODUCT/B02.tif",
    containers=containers,
    members=members,
    repository="Major-TOM/Core-S2L2A",
    wanted=("images/*.parquet", "metadata.parquet"),
)
