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


def test_advice_to_pass_an_option_says_where_a_product_takes_it(tmp_path) -> None:
    """The offset that a product states and its pixels lack: --offset helps where its band images are named."""
    native = {band: values - 1000 for band, values in native_bands().items()}
    write_safe(tmp_path / "s2", native)
    path = next((tmp_path / "s2").iterdir())
    with pytest.raises(
        SceneError, match=r"decide with --offset 0; a Sentinel-2 product itself takes no --offset: name"
    ):
        open_scene(path, SceneOptions(offset=0))
    with open_scene(next(path.glob("GRANULE/*/IMG_DATA")), SceneOptions(offset=0)) as scene:
        blue = scene.read((0, 0, 600, 600))[10][0]
    np.testing.assert_array_equal(blue, native["B02"][:60, :60] + 1000)
