"""Editions that are not read: each is refused with the one to take, and none of their files disturbs scenes."""

import pytest

EDITIONS = {
    "ssl4eo_lmdb/data.mdb": "SSL4EO-S12 v1.1",
    "BigEarthNet.lmdb": "take the GeoTIFFs",
    "satlas/sentinel2/S2A_x/tci/1_2.png": "8-bit PNGs",
    "cloudsen12/cloudsen12-l1c.0000.part.taco": "TACO version 1",
    "ssl4eo/s2_l1c.tar.gz.partaa": "unpack them",
    "copernicus/s2_toa_mix_chunk001.tar.zst": "unpack them",
    "wds/0000001.s2_toa.pth": "GeoTIFF edition",
}


@pytest.mark.parametrize(("file", "sentence"), EDITIONS.items())
def test_an_edition_whose_values_are_lost_is_refused_with_the_one_to_take(tmp_path, command, file, sentence):
    path = tmp_path / "set" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for name in ("b05", "b06", "b11") if "satlas" in file else ():
        (path.parents[1] / name).mkdir()
    code, said = command("shards", "build", tmp_path / "set", "--out", tmp_path / "out")
    assert code == 2
    assert sentence in " ".join(said.split())


def test_such_a_file_beside_scenes_is_left_alone(tmp_path, command, write_stack):
    (tmp_path / "scenes").mkdir()
    write_stack(tmp_path / "scenes/one.tif")
    for name in ("weights.pth", "labels.mdb", "old.tar.zst"):
        (tmp_path / "scenes" / name).write_bytes(b"x")
    code, said = command("shards", "build", tmp_path / "scenes", "--side", 60, "--out", tmp_path / "out")
    assert code == 0, said
