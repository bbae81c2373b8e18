"""Options of a scene: what a product states stands, and an option that would change it is refused."""

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.scenes import SceneOptions, open_scene
from tests.shards.landsat_product import write_landsat
from tests.shards.safe_product import native_bands, write_safe


@pytest.mark.parametrize("option", [{"scale": "0.0001"}, {"nodata": "0"}, {"bands": "-B10"}])
def test_a_product_refuses_options_that_would_change_its_values_or_bands(tmp_path, option) -> None:
    (tmp_path / "s2").mkdir()
    (tmp_path / "l8").mkdir()
    write_safe(tmp_path / "s2", native_bands())
    write_landsat(tmp_path / "l8")
    for folder, what in (("s2", "a Sentinel-2 product"), ("l8", "a Landsat product")):
        path = next((tmp_path / folder).iterdir())
        with pytest.raises(SceneError, match=f"is {what}.*leave --{next(iter(option))} out"):
            open_scene(path, SceneOptions(**option))


def test_what_is_said_of_scenes_that_do_not_say_leaves_a_product_as_it_states(tmp_path) -> None:
    """One command may name products and plain files together."""
    write_safe(tmp_path / "s2", native_bands())
    path = next((tmp_path / "s2").iterdir())
    plain, told = open_scene(path), open_scene(path, SceneOptions(band_map="l1c", offset=0))
    window = (0, 0, 600, 600)
    assert told.sensor == plain.sensor
    for gsd_m, values in plain.read(window).items():
        np.testing.assert_array_equal(told.read(window)[gsd_m], values)
