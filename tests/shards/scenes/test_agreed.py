"""The files of one scene: what their tags and names say together, and when they are no one scene."""

from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio

from bandloom.errors import SceneError
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.agreed import time_in_name
from tests.shards.scenes.test_stated import L2A, ground

WHEN = datetime(2023, 6, 5, 10, 30, 21, tzinfo=UTC)


def write_bands(folder, tags=None, stem="T33UVP_20230605T103021_{}_10m", stems=None):
    """Write the bands of Sentinel-2 L2A, each a file with tags and a name of its own."""
    folder.mkdir()
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5e6, 10, 10)}
    for name, values in zip(L2A, np.rint(ground() * 1e4).astype("uint16"), strict=True):
        path = folder / f"{(stems or {}).get(name, stem).format(name)}.tif"
        with rasterio.open(path, "w", "GTiff", 60, 60, 1, dtype="uint16", **place) as raster:
            raster.write(values, 1)
            raster.update_tags(**(tags or {}).get(name, {}))
    return folder


def test_the_time_is_that_of_the_files_names_where_no_tag_says_it(tmp_path):
    with open_scene(write_bands(tmp_path / "a"), offset=0) as scene:
        assert (scene.datetime, scene.provenance["time_from"]) == (WHEN, "the files' names")
    tags = {"B03": {"ACQUISITION_TIME": "2023-06-05T10:36:29Z"}}
    with open_scene(write_bands(tmp_path / "b", tags), offset=0) as scene:
        assert scene.datetime == datetime(2023, 6, 5, 10, 36, 29, tzinfo=UTC)
        assert "time_from" not in scene.provenance
    with open_scene(write_bands(tmp_path / "c", stem="{}"), offset=0) as scene:
        assert scene.datetime is None


@pytest.mark.parametrize(
    ("stem", "time"),
    [
        ("T33UUU_20170216T102101_B02", datetime(2017, 2, 16, 10, 21, 1, tzinfo=UTC)),
        ("L2A_T33UUU_20170216T102101_B02_10m", datetime(2017, 2, 16, 10, 21, 1, tzinfo=UTC)),
        ("LC08_L2SP_193023_20200420_20200822_02_T1_SR_B2", datetime(2020, 4, 20, tzinfo=UTC)),
        ("S2A_OPER_MSI_L1C_TL_SGS__20160914T171622_A006428_T33UUU_B02", None),  # when it was processed
        ("T33UUU_20171316T102101_B02", None),  # no month
        ("20170216_B02", None),
        (
            "S2A_MSIL2A_20230605T101559_N0509_R065_T33UUP_20230605T161234",  # ends with when it was processed
            datetime(2023, 6, 5, 10, 15, 59, tzinfo=UTC),
        ),
    ],
)
def test_a_time_is_read_from_names_that_follow_a_convention_alone(stem, time):
    assert time_in_name(stem) == time


@pytest.mark.parametrize(
    ("tags", "stems", "sentence"),
    [
        ({}, {"B04": "T33UVP_20230610T103021_{}_10m"}, "different times, .* of 2023-06-05 10:30 and B04 of 2023-06-10"),
        (
            {"B02": {"ACQUISITION_TIME": "2023-06-05T10:36:29Z"}, "B11": {"ACQUISITION_TIME": "2023-07-05T10:36:29Z"}},
            {},
            "different times, B02 of 2023-06-05 10:36 and B11 of 2023-07-05",
        ),
        ({"B02": {"ACQUISITION_TIME": "2022-06-05T10:36:29Z"}}, {}, "different times, B02 of 2022-06-05 10:36 and B"),
        (
            {"B02": {"RADIO_ADD_OFFSET": "-1000"}, "B08": {"RADIO_ADD_OFFSET": "0"}},
            {},
            "different offsets, RADIO_ADD_OFFSET -1000 of B02 and 0 of B08",
        ),
    ],
)
def test_bands_of_two_acquisitions_or_two_offsets_are_no_scene(tmp_path, tags, stems, sentence):
    with pytest.raises(SceneError, match=sentence):
        open_scene(write_bands(tmp_path / "a", tags, stems=stems))


def test_a_file_whose_tag_and_name_disagree_is_told_so(tmp_path, write_stack):
    name = "T33UUP_20230605T101559_all.tif"
    values = np.rint(ground() * 1e4).astype("uint16")
    path = write_stack(tmp_path / name, values, names=L2A, tags={"ACQUISITION_TIME": "2022-01-01T10:00:00Z"})
    with pytest.raises(SceneError, match="says 2022-01-01 10:00 in its tags and 2023-06-05 10:15 in its name"):
        open_scene(path, offset=0)


def test_an_offset_that_any_file_states_is_taken(tmp_path):
    folder = write_bands(tmp_path / "a", {"B11": {"RADIO_ADD_OFFSET": "0"}})
    with open_scene(folder) as scene:
        assert (scene.provenance["offset"], scene.provenance["offset_from"]) == (0, "RADIO_ADD_OFFSET")
