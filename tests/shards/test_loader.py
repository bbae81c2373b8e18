from itertools import islice

import numpy as np
import pytest

from bandloom.errors import ShardError
from shards.loader import Loader, LoaderState
from shards.shard_set import ShardSet


@pytest.fixture(scope="module")
def found(shards):
    return ShardSet(shards)


def keys(loader, count):
    return [key for batch in islice(loader, count) for key in batch.keys]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_two_epochs_are_the_same_for_any_ranks_and_workers(found, world, workers):
    indices = found.indices()
    wanted = keys(Loader(found, indices, 6, seed=3, workers=0), 8)
    ranks = [
        list(islice(Loader(found, indices, 6, seed=3, rank=r, world=world, workers=workers), 8)) for r in range(world)
    ]
    got = [ranks[i % world][step].keys[i // world] for step in range(8) for i in range(6)]
    assert got == wanted
    assert sorted(got[:24]) == sorted(got[24:]) == sorted(e.key for e in found.entries)
    assert got[:24] != got[24:]


def test_stopping_anywhere_goes_on_with_the_next_sample_and_the_same_pixels(found):
    indices = found.indices()
    whole = list(islice(Loader(found, indices, 5, seed=1, crop_px=60), 12))
    for stop in range(11):
        state = whole[stop].state
        assert state == LoaderState(*divmod(5 * (stop + 1), 24))
        after = next(iter(Loader(found, indices, 5, seed=1, crop_px=60, start=state)))
        assert after.keys == whole[stop + 1].keys
        np.testing.assert_array_equal(after.draws, whole[stop + 1].draws)
        np.testing.assert_array_equal(after.groups[10], whole[stop + 1].groups[10])
        np.testing.assert_array_equal(after.corner_m, whole[stop + 1].corner_m)


def test_crops_are_aligned_windows_of_their_sample_with_their_labels(found):
    by_key = {e.key: (i, e) for i, e in enumerate(found.entries)}
    for batch in islice(Loader(found, found.indices(), 8, crop_px=60, seed=9), 4):
        for slot, key in enumerate(batch.keys):
            index, entry = by_key[key]
            left, top = (batch.corner_m[slot] - (entry.x_m, entry.y_m)) * (1, -1) / 10
            assert left % 6 == top % 6 == 0
            sample, top, left = found.read(index), int(top), int(left)
            np.testing.assert_array_equal(
                batch.groups[10][slot], sample.groups[10][:, top : top + 60, left : left + 60]
            )
            t, le = top // 6, left // 6
            np.testing.assert_array_equal(batch.groups[60][slot], sample.groups[60][:, t : t + 10, le : le + 10])
            np.testing.assert_array_equal(batch.label[slot], sample.label[top : top + 60, left : left + 60])


def test_draws_differ_between_samples_and_epochs_and_not_between_ranks(found):
    batches = list(islice(Loader(found, found.indices(), 24), 2))
    draws = np.concatenate([batch.draws for batch in batches])
    assert draws.dtype == np.uint64
    assert len(set(draws.tolist())) == 48
    half = next(iter(Loader(found, found.indices(), 24, rank=1, world=2)))
    np.testing.assert_array_equal(half.draws, batches[0].draws[1::2])


def test_without_shuffle_the_order_is_the_one_given(found):
    assert keys(Loader(found, np.array([4, 2, 7]), 3, shuffle=False), 2) == [
        found.entries[i].key for i in (4, 2, 7, 4, 2, 7)
    ]


def test_a_crop_of_a_padded_sample_stays_on_the_scene(tmp_path, write_stack):
    from shards.build import build
    from shards.plan import BuildOptions

    build([str(write_stack(tmp_path / "small.tif"))], tmp_path / "out", BuildOptions(240))
    loader = Loader(ShardSet(tmp_path / "out"), np.array([0]), 16, crop_px=60)
    assert (next(iter(loader)).groups[10] > 0).all()


@pytest.fixture
def damaged(shards, tmp_path):
    """A copy of the shards with one byte changed in one sample's pixels."""
    import shutil

    copy = tmp_path / "damaged"
    shutil.copytree(shards, copy)
    entry = ShardSet(copy).entries[5]
    offset, size = entry.members["g10.b2nd"]
    with (copy / entry.shard).open("r+b") as tar:
        tar.seek(offset + size // 2)
        byte = tar.read(1)[0]
        tar.seek(offset + size // 2)
        tar.write(bytes([byte ^ 0x10]))
    return ShardSet(copy)


def test_a_changed_byte_is_found_when_its_sample_is_read(damaged):
    with pytest.raises(ShardError, match=r"00000-000.tar: scene_00001_r0000_c0001.g10.b2nd .*copy"):
        damaged.read(5)
    assert damaged.read(4).key


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_replaced_alike_everywhere_and_counted(damaged, workers):
    indices = damaged.indices()
    whole = Loader(damaged, indices, 6, workers=workers, seed=2)
    got = keys(whole, 4)
    assert damaged.entries[5].key not in got
    assert len(got) == 24
    assert list(whole.damaged) == [5]
    again = [Loader(damaged, indices, 6, workers=0, seed=2, rank=r, world=2) for r in (0, 1)]
    halves = [keys(loader, 4) for loader in again]
    assert sorted(halves[0] + halves[1]) == sorted(got)


def test_too_many_damaged_samples_stop_the_run_with_a_list(shards, tmp_path):
    import shutil

    copy = tmp_path / "bad"
    shutil.copytree(shards, copy)
    tar = next(copy.glob("*.tar"))
    content = bytearray(tar.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    tar.write_bytes(content)
    found = ShardSet(copy)
    with pytest.raises(ShardError, match="of 24 samples are damaged"):
        keys(Loader(found, found.indices(), 6), 8)


def test_batches_of_several_sensors_hold_one_sensor_each_and_go_on_where_they_stopped(tmp_path, write_stack):
    from bandloom.sensors import get_sensor
    from shards.build import build
    from shards.plan import BuildOptions

    folder = tmp_path / "scenes"
    folder.mkdir()
    l2a = get_sensor("sentinel2-l2a").slots
    for k in range(6):
        write_stack(folder / f"toa{k}.tif", np.full((13, 96, 108), 1010 + k, np.uint16))
    for k in range(2):
        write_stack(folder / f"boa{k}.tif", np.full((12, 96, 108), 1900 + k, np.uint16), names=l2a)
    build([str(folder)], tmp_path / "out", BuildOptions(120))
    found = ShardSet(tmp_path / "out")
    batches = list(islice(Loader(found, found.indices(), 2), 16))
    assert {b.sensor.name for b in batches} == {"sentinel2-l1c", "sentinel2-l2a"}
    assert all(len({key[:3] for key in b.keys}) == 1 for b in batches)
    after = list(islice(Loader(found, found.indices(), 2, start=batches[6].state), 9))
    assert [b.keys for b in after] == [b.keys for b in batches[7:]]


def test_sizes_that_do_not_fit_are_one_sentence(found):
    with pytest.raises(ShardError, match="does not divide over 2 ranks"):
        Loader(found, found.indices(), 5, world=2)
    with pytest.raises(ShardError, match="multiple of 6 up to that"):
        Loader(found, found.indices(), 6, crop_px=64)
    with pytest.raises(ShardError, match="no samples"):
        Loader(found, np.array([], int), 6)


def test_missing_pieces_of_a_shard_folder_are_one_sentence(shards, tmp_path):
    import shutil

    with pytest.raises(ShardError, match="no finished shard folder"):
        ShardSet(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    next(copy.glob("*.tar")).unlink()
    with pytest.raises(ShardError, match="cannot be opened"):
        ShardSet(copy).read(0)
    (copy / "samples.jsonl").unlink()
    with pytest.raises(ShardError, match=r"samples\.jsonl cannot be read"):
        ShardSet(copy)
