"""From stored arrays to native groups: which grid a sample is read on."""

import numpy as np
import pytest
from rasterio.crs import CRS

from bandloom.errors import SceneError
from bandloom.shards.corpora.chip import Chip, chip_scene
from tests.shards.corpora.replica import GSD_M, L1C, copied, native, stored


def test_bands_of_one_value_do_not_say_where_the_copies_of_others_begin():
    """B01, B09 and B10 without data, or of one value over the sea, fit any grid: the 20 m bands decide."""
    bands = native(5)
    planes = {name: stored(copied(plane, name, (1, 1)), 0) for name, plane in bands.items()}
    planes |= {name: np.full_like(planes[name], 12) for name in L1C if GSD_M[name] == 60}
    scene = chip_scene(Chip("here", planes, CRS.from_epsg(32632), (500_000.0, 5_000_000.0), None, (0, "the test")))
    assert scene.provenance["phase_px"] == [1, 1]
    assert scene.provenance["upsampled_by"] == {"g20": "nearest", "g60": "nearest"}
    pixels = scene.read((0, 0, scene.width_m, scene.height_m))
    twenty = np.stack([stored(bands[name], -1000) for name in L1C if GSD_M[name] == 20])
    np.testing.assert_array_equal(pixels[20][:, :11, :11], twenty[:, 1:12, 1:12])
    assert set(np.unique(pixels[60])) <= {0, 1012}


@pytest.mark.parametrize("clear", [True, False])
def test_a_patch_of_high_cloud_alone_is_not_taken_for_one_with_the_offset(clear):
    """Without it deep cloud reflects as much in B10 as clear sky stores with it: decided so, it was 0.1 too dark."""
    bands = native(5, 60)
    offset = -1000 if clear else 0
    if not clear:
        bands["B10"] = np.random.default_rng(1).uniform(0.095, 0.4, bands["B10"].shape)
        bands = {name: plane if name == "B10" else plane + 0.4 for name, plane in bands.items()}
    planes = {name: stored(copied(plane, name), offset) for name, plane in bands.items()}
    chip = Chip("here", planes, CRS.from_epsg(32632), (500_000.0, 5_000_000.0), None, None)
    if clear:
        assert chip_scene(chip).provenance["offset"] == -1000
    else:
        with pytest.raises(SceneError, match="its pixels prove neither"):
            chip_scene(chip)
        assert chip_scene(chip, told=0).provenance["offset_from"] == "--offset"
