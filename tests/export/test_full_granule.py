"""A whole Sentinel-2 granule, JP2 in ESA's layout, from the product to the map: minutes, and at most 2 GiB."""

import numpy as np
import pytest
import rasterio

from bandloom.export.bundle.tiling import Tiling
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.shards.scenes import open_scene
from benchmarks.granule import SIDE_PX, write_granule
from benchmarks.process_peak import run_bandloom
from tests.export.tiny_model import LABELS, tiny_contract, write_tiny_bundle

TILING = Tiling(192, 24, 24)
LIMIT_MIB = 2048


@pytest.mark.slow
def test_a_whole_granule_maps_within_two_gib_and_tile_by_tile_as_the_engine_says(tmp_path):
    product = write_granule(tmp_path, SIDE_PX)
    bundle = write_tiny_bundle(tmp_path / "bundle", tiny_contract(tiling=TILING))
    out = tmp_path / "map.tif"
    needed = run_bandloom("predict", bundle, product, "--out", out, "--threads", 1, "--readers", 2)
    assert needed.mib <= LIMIT_MIB
    runner = OnnxRunner(bundle / "model.onnx", threads=1)
    starts = TILING.starts(SIDE_PX)
    rng = np.random.default_rng(0)
    with rasterio.open(out) as file, open_scene(product) as scene:
        assert file.shape == (SIDE_PX, SIDE_PX)
        assert file.overviews(1) == [2, 4, 8, 16, 32]
        for row, column in rng.choice(starts[1:-2], (12, 2)).tolist():
            codes = _alone(runner, scene, row, column)
            inside = TILING.taper_px, TILING.core_px - TILING.taper_px  # where no other tile has a say
            window = ((row + inside[0], row + inside[1]), (column + inside[0], column + inside[1]))
            np.testing.assert_array_equal(
                file.read(1, window=window), codes[inside[0] : inside[1], inside[0] : inside[1]]
            )


def _alone(runner, scene, row_px, column_px):
    """Return the codes of one tile's core, read and run by itself."""
    margin, side = TILING.margin_px, TILING.tile_px
    window_m = tuple(float(each * 10) for each in (column_px - margin, row_px - margin, side, side))
    logits = runner.run({gsd_m: dn[None] for gsd_m, dn in scene.read(window_m).items()})[0]
    kept = slice(margin, side - margin)
    return np.array(LABELS.codes, np.uint8)[logits.argmax(axis=0)[kept, kept]]
