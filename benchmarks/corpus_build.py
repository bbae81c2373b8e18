"""Building shards from public corpora against reading the same containers with their own usual readers.

Per core: samples over the processor seconds of all threads of the process, in turns in one run; of five pairs of turns
that with the median ratio. The reader decodes every pixel once and does nothing with it (xarray over zarr, pyarrow and
rasterio); the build settles offsets, takes native groups back, counts histograms, encodes, indexes and writes.
``BANDLOOM_PLACES`` sets the size.
"""

import io
import os
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

from bandloom.sensors import SLOT_GSD_M, SLOTS
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from benchmarks.harness import Figure
from benchmarks.process_peak import run_bandloom

PLACES = int(os.environ.get("BANDLOOM_PLACES", 64))
SIDE, CELL_PX, TURNS = 264, 1068, 5
LIMIT_MIB = 1.5e9 / 2**20


def run() -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, write, read, how in _cases():
            container, samples = write(Path(folder) / name)
            figures += _figures(name, container, samples, read, how, Path(folder))
    return figures


def _cases() -> Iterator[tuple[str, Callable, Callable, str]]:
    yield "ssl4eo-s12-v1.1", _write_ssl4eo, _read_ssl4eo, "xarray+zarr, a season of all places at once"
    yield "terramesh", _write_terramesh, _read_terramesh, "tarfile, xarray+zarr, a sample at a time"
    yield "major-tom", _write_major_tom, _read_major_tom, "pyarrow+rasterio, a cell at a time"


def _figures(name: str, container: Path, samples: int, read: Callable, how: str, folder: Path) -> list[Figure]:
    pairs = []
    for turn in range(TURNS):
        began = time.process_time()
        if read(container) != samples:
            raise RuntimeError(f"the reader of {name} does not see all samples")
        read_s = time.process_time() - began
        began = time.process_time()
        build([str(container)], folder / f"{name}-{turn}", BuildOptions())
        pairs.append((read_s, time.process_time() - began))
    reading, building = sorted(pairs, key=lambda pair: pair[0] / pair[1])[TURNS // 2]
    needed = run_bandloom("shards", "build", container, "--out", folder / f"{name}-peak")
    size = container.stat().st_size / 1e6
    note = f"{samples} samples, {size:.0f} MB; the build decodes, settles, encodes and writes, the reader decodes alone"
    return [
        Figure(
            f"corpus_build {name}",
            samples / building,
            "samples/s a core",
            how,
            samples / reading,
            ">= 1",
            note,
        ),
        Figure(f"corpus_build {name} memory", needed.mib, "MiB", "1.5 GB", LIMIT_MIB, "<= 1", "one process, peak"),
    ]


def _planes(seed: int, side: int) -> dict[str, np.ndarray]:
    """Return smooth ground with noise, with +1000, every band on its own grid."""
    rng = np.random.default_rng(seed)
    planes = {}
    for number, band in enumerate(SLOTS):
        px = side * 10 // SLOT_GSD_M[band]
        ground = zoom(rng.uniform(0, 1, (8, 8)), px / 8, order=1)[:px, :px]
        plane = 1300 + 90 * number + 1800 * ground + rng.normal(0, 25, (px, px))
        planes[band] = np.full((px, px), 1012.0) + rng.normal(0, 3, (px, px)) if band == "B10" else plane
    return {band: plane.astype(np.int16) for band, plane in planes.items()}


def _stack(seed: int, order: int) -> np.ndarray:
    return np.stack(
        [
            zoom(plane, SIDE / len(plane), order=order, grid_mode=True, mode="nearest").astype(np.int16)
            for plane in _planes(seed, SIDE).values()
        ]
    )


def _write_ssl4eo(folder: Path) -> tuple[Path, int]:
    import xarray as xr
    import zarr
    from numcodecs import Blosc

    folder.mkdir()
    few = [_stack(seed, 1) for seed in range(8)]
    pixels = np.stack([np.stack([few[(i + t) % 8] + i for t in range(4)]) for i in range(PLACES)])
    ids = np.array([f"{i:07d}" for i in range(PLACES)], "<U7")
    at = 10 * np.arange(SIDE)
    seasons = np.datetime64("2020-06-04T05:46:39", "ns") + np.arange(4) * np.timedelta64(91, "D")
    arrays = {
        "bands": (("sample", "time", "band", "y", "x"), pixels),
        "band": (("band",), np.array(SLOTS, "<U3")),
        "sample": (("sample",), ids),
        "x_": (("sample", "x"), np.stack([400_005.0 + 5000 * (i % 40) + at for i in range(PLACES)])),
        "y_": (("sample", "y"), np.stack([5_299_995.0 - 5000 * (i // 40) - at for i in range(PLACES)])),
        "crs": (("sample",), np.full(PLACES, 32632)),
        "time_": (("sample", "time"), np.stack([seasons] * PLACES)),
    }
    path = folder / "ssl4eos12_train_seasonal_data_000001.zarr.zip"
    encoding = {"bands": {"chunks": (PLACES, 1, 13, SIDE, SIDE), "compressors": Blosc("lz4", 5, Blosc.SHUFFLE)}}
    with zarr.storage.ZipStore(path, mode="w") as store:
        xr.Dataset(arrays).to_zarr(store, zarr_format=2, encoding=encoding)
    return path, PLACES * 4


def _read_ssl4eo(path: Path) -> int:
    import xarray as xr
    import zarr

    count = 0
    with zarr.storage.ZipStore(path, mode="r") as store, xr.open_zarr(store, consolidated=False) as found:
        for season in range(found.sizes["time"]):
            block = found["bands"][:, season].values
            count += sum(1 for sample in block if sample.shape == (13, SIDE, SIDE))
    return count


def _write_terramesh(folder: Path) -> tuple[Path, int]:
    import xarray as xr
    import zarr

    (folder / "S2L1C").mkdir(parents=True)
    path, count = folder / "S2L1C/majortom_shard_000001.tar", 2 * PLACES
    few = [_stack(seed, 0) for seed in range(8)]
    at = 10.0 * np.arange(SIDE)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            arrays = {
                "bands": (("band", "y", "x"), few[number % 8] + number // 8),
                "band": (("band",), np.array(SLOTS, "<U3")),
                "x": (("x",), 400_005.0 + 2640 * number + at),
                "y": (("y",), 5_299_995.0 - at),
                "crs": ((), np.int64(32632)),
            }
            one = folder / "one.zip"
            one.unlink(missing_ok=True)
            with zarr.storage.ZipStore(one, mode="w") as store:
                xr.Dataset(arrays).to_zarr(store, zarr_format=2, encoding={"bands": {"chunks": (13, SIDE, SIDE)}})
            info = tarfile.TarInfo(f"{number}U_1R_0_0.zarr.zip")
            info.size = one.stat().st_size
            tar.addfile(info, io.BytesIO(one.read_bytes()))
    return path, count


def _read_terramesh(path: Path) -> int:
    import xarray as xr
    import zarr

    count, one = 0, path.parent / "read.zip"
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            one.write_bytes(file.read() if file else b"")
            with zarr.storage.ZipStore(one, mode="r") as store, xr.open_zarr(store, consolidated=False) as found:
                count += found["bands"].values.shape == (13, SIDE, SIDE)
    return count


def _write_major_tom(folder: Path) -> tuple[Path, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    folder.mkdir()
    rows = max(2, PLACES // 8)
    kinds = pa.schema(
        [("product_id", pa.string()), ("grid_cell", pa.string()), *((band, pa.binary()) for band in SLOTS)]
    )
    path = folder / "part_00001.parquet"
    with pq.ParquetWriter(path, kinds) as writer:
        for number in range(rows):
            row = {
                "product_id": "S2B_MSIL1C_20200223T032739_N0500_R018_T48QUE_20230924T183543",
                "grid_cell": f"{number}U_1R",
            }
            for band, plane in _planes(number, CELL_PX).items():
                options = {"driver": "GTiff", "count": 1, "height": len(plane), "width": len(plane), "dtype": "uint16"}
                place = from_origin(362612.197 + 11_000 * number, 1987088.206, SLOT_GSD_M[band], SLOT_GSD_M[band])
                tiles = {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "compress": "lzw"}
                with MemoryFile() as file:
                    with file.open(**options, **tiles, crs="EPSG:32648", transform=place) as raster:
                        raster.write(plane.astype(np.uint16), 1)
                    row[band] = file.read()
            writer.write_table(pa.Table.from_pylist([row], schema=kinds))
    return path, rows


def _read_major_tom(path: Path) -> int:
    import pyarrow.parquet as pq
    from rasterio.io import MemoryFile

    count = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            (row,) = file.read_row_group(group).to_pylist()
            for band in SLOTS:
                with MemoryFile(row[band]) as content, content.open() as raster:
                    raster.read(1)
            count += 1
    return count
