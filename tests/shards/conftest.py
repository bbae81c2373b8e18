from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.cli import main

ABOVE = [folder / "shared" / "data" for folder in Path(__file__).resolve().parents[3:]]
REAL = next((folder for folder in ABOVE if folder.is_dir()), ABOVE[0])
L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


@pytest.fixture
def real():
    """The folder of real scenes beside the checkout."""
    if not REAL.is_dir():
        pytest.skip("the real scenes (../shared/data) are not beside this checkout")
    return REAL


@pytest.fixture
def command(capsys):
    """Run a command line; return its exit code and what it said."""

    def run(*arguments):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def write_stack():
    """Write a 13-band 10 m GeoTIFF of values that tell bands and pixels apart, with the offset in and tagged."""

    def write(path, pixels=None, *, names=L1C, crs="EPSG:32633", tags=None, origin=(500_040.0, 5_300_040.0), **profile):
        if pixels is None:
            pixels = numbered(len(names), 96, 108)
        count, height, width = pixels.shape
        options = {"driver": "GTiff", "dtype": pixels.dtype, "transform": from_origin(*origin, 10, 10)} | profile
        with rasterio.open(path, "w", height=height, width=width, count=count, crs=crs, **options) as raster:
            raster.write(pixels)
            raster.update_tags(**({"RADIO_ADD_OFFSET": "-1000"} if tags is None else tags))
            for index, name in enumerate(names or (), 1):
                raster.set_band_description(index, name)
        return path

    return write


def numbered(bands, height, width):
    """Pixels that increase along columns, rows and bands, above 1000 and with B10 (the 11th) near 1010."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([1100 + 100 * band + y + x for band in range(bands)]).astype(np.uint16)
    if bands == 13:
        pixels[10] = 1010 + (x % 5)
    return pixels


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory):
    """Six synthetic places with labels, 240 pixels a side."""
    from bandloom.shards.synth.write import write_scenes

    out = tmp_path_factory.mktemp("synthetic") / "synth"
    write_scenes(out, 6, 240, 0)
    return out


@pytest.fixture(scope="session")
def shards(synthetic, tmp_path_factory):
    """The synthetic places as shards of 120 pixels."""
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions

    out = tmp_path_factory.mktemp("shards") / "set"
    options = BuildOptions(120, labels=str(synthetic / "labels"), label_set=str(synthetic / "label_set.yaml"))
    build([str(synthetic / "scenes")], out, options)
    return out
