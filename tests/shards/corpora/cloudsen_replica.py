"""A small CloudSEN12+ in TACO files, written by the container's own rules: a header, items, a Parquet table."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from tests.shards.corpora.replica import L1C, L2A, copied, native, stored

SIDE, EXTRA = 30, 2  # pixels that were measured, and lines of zeros on the left and at the bottom
CORNER = (399_960.0, 5_200_020.0)


def geotiff(stack: np.ndarray, corner, **more) -> bytes:
    """Return a GeoTIFF of 10 m as Earth Engine writes it: no nodata, no descriptions."""
    profile = {"driver": "GTiff", "count": len(stack), "height": stack.shape[1], "width": stack.shape[2]}
    profile |= {
        "dtype": stack.dtype,
        "crs": "EPSG:32633",
        "compress": "deflate",
        "transform": from_origin(*corner, 10, 10),
    } | more
    with MemoryFile() as file:
        with file.open(**profile) as raster:
            raster.write(stack)
        return file.read()


def tortilla(items: list[tuple[dict, bytes]], magic=b"#y", collection=b"") -> bytes:
    """Return the bytes of a container: 200 bytes of header, the items, their table, and a TACO's description."""
    at, rows = 200, []
    for told, content in items:
        rows.append(told | {"tortilla:offset": at, "tortilla:length": len(content)})
        at += len(content)
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), table, compression="zstd", use_dictionary=False)
    numbers = (at, len(table.getvalue()), 1, *((at + len(table.getvalue()), len(collection)) if collection else ()))
    head = magic + b"".join(number.to_bytes(8, "little") for number in numbers)
    return head.ljust(200, b"\0") + b"".join(content for _, content in items) + table.getvalue() + collection


def patch(seed: int, level: str, side: int = SIDE, left: int = EXTRA, bottom: int = EXTRA, how=copied, label=None):
    """Return the stored image and label of a patch with its padding, native bands and labels without it."""
    names = L1C if level == "l1c" else L2A
    bands = native(seed, side, names)
    planes = [stored(how(plane, name), 0)[:side, :side] for name, plane in bands.items()]
    if level == "l2a":
        planes += [np.full((side, side), 77, np.uint16), np.full((side, side), 1234, np.uint16)]
    label = np.random.default_rng(seed).integers(0, 4, (side, side)).astype(np.uint8) if label is None else label
    around = [(0, bottom), (left, 0)]
    return np.pad(np.stack(planes), [(0, 0), *around]), np.pad(label, around), bands, label


def packed(name: str, image: np.ndarray, label: np.ndarray, corner=CORNER) -> bytes:
    parts = [("s2", geotiff(image, corner)), ("target", geotiff(label[None], corner))]
    return tortilla([({"tortilla:id": part, "tortilla:file_format": "GTiff"}, content) for part, content in parts])


def row(name: str, number: int, kind="high", split="train", side=SIDE, **more) -> dict:
    return {
        "tortilla:id": name,
        "tortilla:file_format": "TORTILLA",
        "tortilla:data_split": split,
        "stac:crs": "EPSG:32633",
        "stac:time_start": 1591249599.0 + 86_400 * number,
        "rai:admin0": "Austria",
        "roi_id": f"ROI_{number // 2:05d}",
        "s2_id": f"COPERNICUS/S2/202006{1 + number:02d}T054639_202006{1 + number:02d}T054831_T33UWP",
        "real_proj_shape": side,
        "label_type": kind,
    } | more


def write(folder: Path, level: str = "l1c", kinds=("high", "high", "high", "scribble", "nolabel")) -> dict:
    """Write two parts and an ``extra`` beside them; return (native bands, labels, corner) by patch."""
    folder.mkdir(parents=True, exist_ok=True)
    truth, items = {}, []
    for number, kind in enumerate(kinds):
        split, name = ("train", "validation", "test")[number % 3], f"ROI_{number:05d}__{level}"
        label = None
        if kind == "scribble":
            label = np.full((SIDE, SIDE), 99, np.uint8)
            label[4:6] = 1
        image, padded, bands, label = patch(number, level, label=label)
        corner = (CORNER[0] + 900 * (number // 2), CORNER[1])
        items.append((row(name, number, kind, split), packed(name, image, padded, corner)))
        truth[name] = bands, label, (corner[0] + 10 * EXTRA, corner[1])
    for part, own in enumerate((items[:3], items[3:])):
        magic, told = (b"WX", b'{"id": "cloudsen12"}') if part == 0 else (b"#y", b"")
        (folder / f"cloudsen12-{level}.{part:04d}.part.taco").write_bytes(tortilla(own, magic, told))
    (folder / "cloudsen12-extra.0000.part.taco").write_bytes(tortilla(items[:1]))
    return truth


def vsi(path: Path) -> dict[str, list[str]]:
    """Return GDAL's names for the files in every patch of a part: an independent way to its bytes."""

    def read(begin: int):
        content = path.read_bytes()[begin:]
        at, length = (int.from_bytes(content[i : i + 8], "little") for i in (2, 10))
        return pq.read_table(io.BytesIO(content[at : at + length])).to_pylist()

    names = {}
    for patch_row in read(0):
        begin = patch_row["tortilla:offset"]
        names[patch_row["tortilla:id"]] = [
            f"/vsisubfile/{begin + one['tortilla:offset']}_{one['tortilla:length']},{path}" for one in read(begin)
        ]
    return names


def pixels(name: str) -> np.ndarray:
    with rasterio.open(name) as raster:
        return raster.read()
