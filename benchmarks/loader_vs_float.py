"""Our batches of native uint16 against the batches today's users build: float32, 13 bands at 10 m, scaled on the CPU.

The outputs differ on purpose: ours leaves scaling to the device, theirs arrives ready and 4.7 times larger.
"""

import contextlib
import io
import tarfile
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from bandloom.shards.read.loader import Loader
from benchmarks.decode import whole
from benchmarks.harness import Figure
from benchmarks.loader_like_for_like import BATCH, WORKERS, rate, stack
from benchmarks.shard_input import many_shards_of

SIDE = 120
ACROSS = 36  # squares along the COG's side: 4320 px, a sixth of a granule, so that blocks are not all decoded already


def run() -> list[Figure]:
    with many_shards_of(SIDE, "speed") as (shards, origin), TemporaryDirectory() as folder:
        loader = iter(Loader(shards, shards.indices(), BATCH, workers=WORKERS))
        ours = rate(loader)
        loader.close()
        full = [whole(shards.read(i).groups) for i in range(len(shards))]
        rivals = {
            "webdataset npy to float32": (numpy_rate(Path(folder), full), 10),
            "rasterio random windows of a zstd COG to float32": (cog_rate(Path(folder), full), 8),
        }
        with contextlib.suppress(ModuleNotFoundError):  # zarr is no dependency of ours
            rivals["zarr chunk a sample to float32"] = (zarr_rate(Path(folder), full), 8)
        note = f"{origin} of 120 px; outputs differ: native uint16 against float32 13 x H x W"
        return [
            Figure(f"loader_vs_float {name.split()[0]}", ours, "samples/s", name, value, f">= {goal}", note)
            for name, (value, goal) in rivals.items()
        ]


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Return what a dataset's transform returns: float32, standardised."""
    return (pixels.astype(np.float32) - 2000.0) / 1500.0


def numpy_rate(folder: Path, full: list[np.ndarray]) -> float:
    """Serve npy members by stock webdataset with two workers."""
    import webdataset

    with tarfile.open(folder / "npy.tar", "w") as tar:
        for index, pixels in enumerate(full):
            file = io.BytesIO()
            np.save(file, pixels)
            info = tarfile.TarInfo(f"{index:06d}.npy")
            info.size = len(file.getvalue())
            tar.addfile(info, io.BytesIO(file.getvalue()))
    stages = webdataset.WebDataset(
        [str(folder / "npy.tar")] * 4000, shardshuffle=False, nodesplitter=None, empty_check=False
    )
    stages = stages.map(_npy).batched(BATCH, collation_fn=stack)
    return rate(iter(webdataset.WebLoader(stages, batch_size=None, num_workers=WORKERS)))


def _npy(sample: dict[str, Any]) -> dict[str, np.ndarray]:
    return {"image": scaled(np.load(io.BytesIO(sample["npy"])))}


def cog_rate(folder: Path, full: list[np.ndarray]) -> float:
    """Read random windows of a zstd COG mosaic, two workers of a torch DataLoader."""
    from torch.utils.data import DataLoader

    mosaic, chance = np.empty((13, ACROSS * SIDE, ACROSS * SIDE), np.uint16), np.random.default_rng(0)
    for row, column in product(range(ACROSS), repeat=2):
        pixels = full[int(chance.integers(len(full)))]
        mosaic[:, row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = pixels
    path = folder / "mosaic.tif"
    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=13,
        height=mosaic.shape[1],
        width=mosaic.shape[2],
        dtype="uint16",
        compress="zstd",
        predictor=2,
        blocksize=256,
        crs="EPSG:32632",
    ) as raster:
        raster.write(mosaic)
    return rate(_endless(DataLoader(_Windows(path), batch_size=BATCH, num_workers=WORKERS)))


class _Windows:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.raster: Any = None

    def __len__(self) -> int:
        return BATCH * 60

    def __getitem__(self, index: int) -> np.ndarray:
        self.raster = self.raster or rasterio.open(self.path)
        rng = np.random.default_rng(index)
        row, column = (int(rng.integers(limit - SIDE + 1)) for limit in self.raster.shape)
        return scaled(self.raster.read(window=Window(column, row, SIDE, SIDE)))  # pyright: ignore[reportCallIssue]


def zarr_rate(folder: Path, full: list[np.ndarray]) -> float:
    """Read chunks of a zarr array, one a sample, two workers of a torch DataLoader."""
    import zarr
    from torch.utils.data import DataLoader

    array = zarr.create_array(
        store=str(folder / "samples.zarr"),
        shape=(len(full), *full[0].shape),
        dtype="uint16",
        chunks=(1, *full[0].shape),
    )
    array[:] = np.stack(full)
    return rate(_endless(DataLoader(_Chunks(str(folder / "samples.zarr")), batch_size=BATCH, num_workers=WORKERS)))


class _Chunks:
    def __init__(self, path: str) -> None:
        self.path = path
        self.array: Any = None

    def __len__(self) -> int:
        return BATCH * 60

    def __getitem__(self, index: int) -> np.ndarray:
        import zarr

        self.array = self.array if self.array is not None else zarr.open_array(self.path, mode="r")
        return scaled(np.asarray(self.array[index % self.array.shape[0]]))


def _endless(loader: Any) -> Any:
    while True:
        yield from islice(loader, None)
