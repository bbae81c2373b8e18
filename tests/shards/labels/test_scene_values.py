"""Tables of values by chip, and what is wrong with them in one sentence."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import rasterio

from bandloom.errors import LabelError
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.scene_values import FILLS, SceneValues, read_value_table, stem_of
from bandloom.shards.scenes import Scene
from tests.shards.labels.test_label_mask import GROUND


def test_a_chip_is_named_by_its_key_its_path_or_its_name(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("note,file,value\na,chips/one.tif,1.5\nb,two.TIF,-2e1\nc,three,\nd, four ,0\n")
    assert dict(read_value_table(path, "value")) == {"one": 1.5, "two": -20.0, "four": 0.0}


@pytest.mark.parametrize(("text", "name"), [("a/b.c/d.tif", "d"), ("d", "d"), ("x.y.tif", "x.y"), (" d.tif ", "d")])
def test_names_lose_folders_and_the_suffix_alone(text, name):
    assert stem_of(text) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has none of the columns key, path"),
        ("chip,value\na,1\n", "has none of the columns key, path"),
        ("path,valeu\na,1\n", r"no column 'value' \(it has path, valeu\).*Did you mean 'valeu'"),
        ("path,value\na,1\nb/a.tif,2\n", "line 3: 'a' has a value already"),
        ("path,value\n\na,1\n\n\nb,tall\n", "line 6: 'tall' is no number"),
        ("path,value\na,tall\n", "line 2: 'tall' is no number"),
        ("path,value\na,nan\n", "line 2: 'nan' is no number"),
        ("path,value\na,inf\n", "line 2: 'inf' is no number"),
        ("path,value\na,1_5.5\n", "line 2: '1_5.5' is no number"),
        ("key,height\na,1,5\n", "line 2 has more cells than the first"),
        ("key,value,value\na,1,2\n", "'value' twice"),
    ],
)
def test_a_table_that_cannot_be_meant_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "v.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=said):
        read_value_table(path, "value")


def test_a_missing_table_is_one_sentence(tmp_path):
    with pytest.raises(LabelError, match="cannot be read"):
        read_value_table(tmp_path / "none.csv", "value")


@pytest.mark.parametrize("dtype", ["float32", "int16", "float64"])
@pytest.mark.parametrize("fill", FILLS)
def test_a_fill_value_whose_tag_is_lost_is_asked_for_and_then_unknown(tmp_path, dtype, fill):
    """The advice that the sentence gives is followed to the letter."""
    if dtype == "int16" and not np.iinfo(dtype).min <= fill <= np.iinfo(dtype).max:
        pytest.skip("the type cannot hold it")
    stored = np.arange(GROUND.height * GROUND.width, dtype=dtype).reshape(GROUND.height, GROUND.width)
    stored[:9] = fill
    place = {"crs": GROUND.crs, "transform": GROUND.transform, "height": GROUND.height, "width": GROUND.width}
    with rasterio.open(tmp_path / "v.tif", "w", driver="GTiff", count=1, dtype=dtype, **place) as file:
        file.write(stored, 1)

    def read(nodata=None):
        scene = SimpleNamespace(name="scene", crs=GROUND.crs, transform=GROUND.transform, width_m=600.0, height_m=480.0)
        values = SceneValues(str(tmp_path / "v.tif"), "scene.tif", cast("Scene", scene), LabelReading(nodata=nodata))
        try:
            return values.read(GROUND.whole_m)
        finally:
            values.close()

    with pytest.raises(LabelError, match=r"holds .* in 18\.8% of a sample's pixels and does not declare") as caught:
        read()
    advised = str(caught.value).partition("--label-nodata ")[2].split()[0]
    np.testing.assert_array_equal(read(advised), np.where(np.arange(48)[:, None] < 9, np.nan, stored).astype("float32"))
    np.testing.assert_array_equal(read("none"), stored.astype("float32"))
