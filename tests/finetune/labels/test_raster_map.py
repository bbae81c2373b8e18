import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.classes.label_mapping import get_mapping
from bandloom.errors import BandloomError, LabelError, OutputError
from bandloom.finetune.labels.raster_map import map_raster
from bandloom.shards.labels.reading import LabelReading

MAPPING = get_mapping("worldcover11", "dynamicworld9")


def write(path, values: np.ndarray):
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", count=1, height=height, width=width, dtype="uint8", **place) as file:
        file.write(values, 1)
    return path


def test_every_code_goes_where_the_table_sends_it_and_the_place_stays(tmp_path):
    source, target = MAPPING.source.label_set, MAPPING.target.label_set
    values = np.array([[*source.codes, 255]], np.uint8)
    map_raster(write(tmp_path / "a.tif", values), tmp_path / "b.tif", MAPPING, LabelReading())
    expected = [255 if index == 255 else target.codes[index] for index in MAPPING.index.tolist()]
    with rasterio.open(tmp_path / "a.tif") as was, rasterio.open(tmp_path / "b.tif") as now:
        assert now.read(1).tolist() == [[*expected, 255]]
        assert (now.crs, now.transform, now.nodata, now.dtypes) == (was.crs, was.transform, 255, ("uint8",))
        colours = now.colormap(1)
    for code, rgb in zip(target.codes, target.rgb.tolist(), strict=True):
        assert colours[code][:3] == tuple(rgb)


def test_what_is_lost_is_counted_and_what_is_blurred_is_named(tmp_path):
    source = MAPPING.source
    without = np.flatnonzero(MAPPING.index == 255).tolist()
    blurred = np.flatnonzero(MAPPING.lossy).tolist()
    assert without or blurred  # or this mapping tests nothing
    values = np.array([[source.label_set.codes[i] for i in (*without, *without, *blurred)]], np.uint8)
    told = map_raster(write(tmp_path / "a.tif", values), tmp_path / "b.tif", MAPPING, LabelReading())
    assert told.lost == {source.classes[i].name: 2 for i in without}
    assert {source.classes[i].name for i in blurred} <= set(told.lossy)
    alone = np.full((1, 1), source.label_set.codes[int(np.flatnonzero(MAPPING.index != 255)[0])], np.uint8)
    assert map_raster(write(tmp_path / "c.tif", alone), tmp_path / "d.tif", MAPPING, LabelReading()).lost == {}


def test_a_value_outside_the_label_set_and_a_file_that_is_no_raster_are_sentences(tmp_path):
    with pytest.raises(LabelError, match="77"):
        map_raster(
            write(tmp_path / "a.tif", np.full((1, 1), 77, np.uint8)), tmp_path / "b.tif", MAPPING, LabelReading()
        )
    assert not (tmp_path / "b.tif").exists()
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(BandloomError, match=r"text\.tif"):
        map_raster(tmp_path / "text.tif", tmp_path / "b.tif", MAPPING, LabelReading())


def test_nothing_is_overwritten(tmp_path):
    source = write(tmp_path / "a.tif", np.full((1, 1), MAPPING.source.label_set.codes[0], np.uint8))
    (tmp_path / "b.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        map_raster(source, tmp_path / "b.tif", MAPPING, LabelReading())
    assert (tmp_path / "b.tif").read_text() == "mine"


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_a_colour_coded_raster_is_refused(tmp_path, bands):
    """The red of an RGB mask is no code."""
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    with rasterio.open(tmp_path / "a.tif", "w", "GTiff", 4, 4, bands, dtype="uint8", **place) as file:
        file.write(np.full((bands, 4, 4), MAPPING.source.label_set.codes[0], np.uint8))
    with pytest.raises(LabelError, match=r"a\.tif has \d bands; a mask has one, of class codes"):
        map_raster(tmp_path / "a.tif", tmp_path / "b.tif", MAPPING, LabelReading())
    assert not (tmp_path / "b.tif").exists()
