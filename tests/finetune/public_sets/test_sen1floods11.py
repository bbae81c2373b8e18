"""Sen1Floods11 as it is published: degrees, -1 for what nobody knows, and Bolivia as a test of its own."""

import numpy as np
import pytest
from rasterio.warp import transform

from bandloom.errors import LabelError
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import sen1floods11
from tests.finetune.public_sets.replicas.writing import prepared, write_tif


def nearest(values, degrees, shards, index):
    """Return values ``(..., H, W)`` at the centres of a sample's 10 m pixels, by proj alone; NaN beyond the chip."""
    entry = shards.entries[index]
    side = entry.side_px
    x, y = np.meshgrid(entry.x_m + 10 * np.arange(side) + 5, entry.y_m - 10 * np.arange(side) - 5)
    lon, lat = transform(f"EPSG:{entry.epsg}", "EPSG:4326", x.ravel().tolist(), y.ravel().tolist())[:2]
    columns, rows = ~degrees * (np.array(lon), np.array(lat))
    rows, columns = np.floor(rows).astype(int), np.floor(columns).astype(int)
    inside = (rows >= 0) & (rows < values.shape[-2]) & (columns >= 0) & (columns < values.shape[-1])
    out = np.full((*values.shape[:-2], side * side), np.nan)
    out[..., inside] = values[..., rows[inside], columns[inside]]
    return out.reshape(*values.shape[:-2], side, side)


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    root = tmp_path_factory.mktemp("floods") / "sen1floods11"
    truth = sen1floods11.write(root)
    return root, truth, prepared("sen1floods11", root, root.parent / "out")


def test_labels_and_bands_lie_where_an_independent_projection_puts_them(replica):
    _, truth, shards = replica
    for index, entry in enumerate(shards.entries):
        stack, label, degrees = truth[entry.key.rsplit("_r", 1)[0]]
        sample = shards.read(index)
        hand = nearest(label, degrees, shards, index)
        np.testing.assert_array_equal(sample.label, np.where(np.isin(hand, (0, 1)), hand, 255))
        blue = nearest(stack[1], degrees, shards, index)
        seen = (sample.groups[10][0] > 0) & (blue > 0)
        assert seen.sum() > 0.8 * (blue > 0).sum()
        assert (sample.groups[10][0][seen] == blue[seen] + 1000).mean() > 0.9  # its own samples, taken back


def test_bolivia_is_no_part_of_the_official_split(replica):
    _, _, shards = replica
    given = {entry.key.rsplit("_r", 1)[0]: entry.published for entry in shards.entries}
    assert given["Bolivia_505"] == {"bolivia": "test"}
    assert given["USA_404"] == {"official": "test"}
    assert given["Spain_303"] == {"official": "val", "bolivia": "val"}
    assert recognise(replica[0]) == ["sen1floods11"]


def test_lists_that_differ_and_labels_that_are_missing_are_refused(tmp_path):
    sen1floods11.write(tmp_path / "set", 24)
    splits = tmp_path / "set" / "v1.1" / "splits" / "flood_handlabeled"
    (splits / "flood_test_data.txt").write_text("Spain_303\n")
    with pytest.raises(LabelError, match="two lists flood_test_data that differ"):
        prepared("sen1floods11", tmp_path / "set", tmp_path / "out")
    (splits / "flood_test_data.txt").unlink()
    (tmp_path / "set" / sen1floods11.TOP / "LabelHand" / "Ghana_101_LabelHand.tif").unlink()
    with pytest.raises(LabelError, match="Ghana_101: has no LabelHand"):
        prepared("sen1floods11", tmp_path / "set", tmp_path / "out")


def test_a_label_that_is_no_code_of_the_set_is_named(tmp_path):
    truth = sen1floods11.write(tmp_path / "set", 24)
    _, label, degrees = truth["Ghana_101"]
    label[5, 5] = 7
    path = tmp_path / "set" / sen1floods11.TOP / "LabelHand" / "Ghana_101_LabelHand.tif"
    write_tif(path, label, crs="EPSG:4326", corner=(degrees.c, degrees.f), pixel=degrees.a)
    shards = prepared("sen1floods11", tmp_path / "set", tmp_path / "out")
    assert "holds 7, not in label set 'sen1floods11'" in (shards.path / "quarantine.jsonl").read_text()


def test_the_real_chip_is_read_with_its_hand_labels(tmp_path):
    from tests.shards.conftest import REAL

    real = REAL / "flood_seg" / "Spain_7370579"
    if not real.is_dir():
        pytest.skip("the real chip (../shared/data) is not beside this checkout")
    rasterio = pytest.importorskip("rasterio")
    sen1floods11.write(tmp_path / "set", 24)
    for kind in ("S2Hand", "LabelHand"):
        place = tmp_path / "set" / sen1floods11.TOP / kind
        (place / f"Spain_7370579_{kind}.tif").symlink_to(real / f"{kind}.tif")
    with (tmp_path / "set" / "v1.1/splits/flood_handlabeled/flood_train_data.csv").open("a") as file:
        file.write("Spain_7370579_S1Hand.tif,Spain_7370579_LabelHand.tif\n")
    shards = prepared("sen1floods11", tmp_path / "set", tmp_path / "out")
    with rasterio.open(real / "LabelHand.tif") as raster:
        label, degrees = raster.read(1), raster.transform
    own = [i for i, entry in enumerate(shards.entries) if entry.key.startswith("Spain_7370579")]
    assert len(own) >= 2
    for index in own:
        hand = nearest(label, degrees, shards, index)
        np.testing.assert_array_equal(shards.read(index).label, np.where(np.isin(hand, (0, 1)), hand, 255))
