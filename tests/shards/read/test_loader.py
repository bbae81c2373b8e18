from itertools import islice

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import ShardError
from bandloom.shards.read.loader import Loader, LoaderState
from bandloom.shards.read.shard_set import ShardSet


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


@pytest.mark.parametrize(("world", "workers"), [(1, 2), (2, 0), (3, 3)])
def test_several_crops_of_a_sample_are_the_same_for_any_ranks_and_workers(found, world, workers):
    options = {"seed": 3, "crop_px": 60, "crops": 4}
    wanted = list(islice(Loader(found, found.indices(), 6, workers=0, **options), 40))
    for rank in range(world):
        loader = Loader(found, found.indices(), 6, rank=rank, world=world, workers=workers, **options)
        for batch, whole in zip(loader, wanted, strict=False):
            assert batch.keys == whole.keys[rank::world]
            np.testing.assert_array_equal(batch.draws, whole.draws[rank::world])
            np.testing.assert_array_equal(batch.corner_m, whole.corner_m[rank::world])
            for gsd_m, dn in batch.groups.items():
                np.testing.assert_array_equal(dn, whole.groups[gsd_m][rank::world])


def test_several_crops_go_on_anywhere_with_the_same_pixels_and_labels(found):
    options = {"seed": 1, "crop_px": 60, "crops": 3}
    whole = list(islice(Loader(found, found.indices(), 5, **options), 30))
    for stop in range(0, 29, 4):
        assert whole[stop].state == LoaderState(*divmod(5 * (stop + 1), 24 * 3))
        after = next(iter(Loader(found, found.indices(), 5, start=whole[stop].state, **options)))
        assert after.keys == whole[stop + 1].keys
        np.testing.assert_array_equal(after.groups[20], whole[stop + 1].groups[20])
        np.testing.assert_array_equal(after.corner_m, whole[stop + 1].corner_m)
        assert (after.label is None) == (whole[stop + 1].label is None)
        if after.label is not None:
            np.testing.assert_array_equal(after.label, whole[stop + 1].label)


def test_a_sample_is_decoded_once_for_all_its_crops_and_they_differ(found, monkeypatch):
    loader, decoded = Loader(found, found.indices(), 6, seed=2, crop_px=60, crops=4, workers=0), []

    def count(index, outs):
        decoded.extend([index] if "g10.b2nd" in outs else [])  # masks are read by themselves
        return type(found).read_into(found, index, outs)

    monkeypatch.setattr(found, "read_into", count)
    span = loader._new_order()._span
    batches = list(islice(loader, 4 * span))
    seen = [key for batch in batches for key in batch.keys]
    assert len(decoded) == len(seen) / 4
    assert not len(loader._held)
    corners = {(key, *corner) for batch in batches for key, corner in zip(batch.keys, batch.corner_m, strict=True)}
    assert len(corners) > len(set(seen)) * 3


def test_one_crop_is_what_it_was_before_there_were_several(found):
    plain, one = (Loader(found, found.indices(), 6, seed=2, crop_px=60, **more) for more in ({}, {"crops": 1}))
    for batch, other in zip(islice(plain, 6), one, strict=False):
        np.testing.assert_array_equal(batch.draws, other.draws)
        np.testing.assert_array_equal(batch.groups[10], other.groups[10])
    with pytest.raises(ShardError, match="crops is 2; expected 1"):
        Loader(found, found.indices(), 6, crops=2, augment=False)


def test_pairs_of_neighbours_stay_on_one_rank(found):
    indices = found.indices()
    (whole,) = islice(Loader(found, indices, 8, seed=3), 1)
    ranks = [next(iter(Loader(found, indices, 8, seed=3, rank=r, world=2, in_pairs=True))) for r in range(2)]
    (a, b, c, d, e, f, g, h) = whole.keys
    assert [rank.keys for rank in ranks] == [(a, b, e, f), (c, d, g, h)]


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
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions

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
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions

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


# --- batches that mix sensors -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_sensors(tmp_path_factory):
    """Nine samples of L1C and six of L2A."""
    from bandloom.sensors import get_sensor
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions

    place = tmp_path_factory.mktemp("mixed")
    options = {"dtype": "uint16", "crs": "EPSG:32633", "driver": "GTiff", "height": 60, "width": 60}
    for name, count in (("sentinel2-l1c", 9), ("sentinel2-l2a", 6)):
        bands = get_sensor(name).slots
        (place / name).mkdir()
        for k in range(count):
            pixels = np.random.default_rng(k).integers(1010, 3000, (len(bands), 60, 60), np.uint16)
            corner = from_origin(5e5 + 3000 * k, 5e6, 10, 10)
            path = place / name / f"{name}-{k}.tif"
            with rasterio.open(path, "w", count=len(bands), transform=corner, **options) as raster:
                raster.write(pixels)
                raster.descriptions = bands
    build([str(place)], place / "out", BuildOptions(60, offset=-1000, split="train"))
    return ShardSet(place / "out")


def flat(batch):
    return [(each.sensor.name, each.keys) for each in (batch, *batch.rest)]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_mixed_batch_holds_all_sensors_and_every_rank_the_same_of_them(two_sensors, world):
    options = {"seed": 5, "micro_batches": 5, "workers": 0}
    indices = two_sensors.indices()
    whole = [flat(b) for b in islice(Loader(two_sensors, indices, 30, **options), 6)]
    ranks = [list(islice(Loader(two_sensors, indices, 30, rank=r, world=world, **options), 6)) for r in range(world)]
    for step, wanted in enumerate(whole):
        assert {name for name, _ in wanted} == set(two_sensors.sensors)
        shares = [flat(rank[step]) for rank in ranks]
        for part, (name, keys) in enumerate(wanted):
            assert {share[part][0] for share in shares} == {name}
            assert {len(share[part][1]) for share in shares} == {6 // world}
            assert tuple(shares[i % world][part][1][i // world] for i in range(6)) == keys
    seen = [key for step in whole for _, keys in step for key in keys]
    assert {seen.count(entry.key) for entry in two_sensors.entries} == {180 // 15}


def test_mixed_batches_hold_each_sample_once_an_epoch_and_go_on_where_they_stopped(two_sensors):
    indices = two_sensors.indices()
    options = {"seed": 1, "micro_batches": 5, "workers": 0}
    whole = list(islice(Loader(two_sensors, indices, 15, **options), 8))
    for batch in whole:
        keys = [key for _, own in flat(batch) for key in own]
        assert sorted(keys) == sorted(entry.key for entry in two_sensors.entries)
    for stop in range(7):
        after = next(iter(Loader(two_sensors, indices, 15, **options, start=whole[stop].state)))
        assert flat(after) == flat(whole[stop + 1])


def test_one_key_is_that_of_many():
    from bandloom.shards.read.order import mix, mix_one

    parts = np.random.default_rng(0).integers(0, 2**63, (3, 50), np.uint64) * 2 + 1
    assert mix(*parts).tolist() == [mix_one(*map(int, each)) for each in parts.T]
    assert int(mix(0, 1, 2)) == mix_one(0, 1, 2)


def test_turns_are_those_of_one_after_the_other_by_when_they_are_due():
    from bandloom.shards.read.order import turns_before

    for weights in ([1], [1, 1], [3, 1], [5, 7, 11], [1000, 1, 30], [10**7, 3, 999_983]):
        due = sorted(((j + 0.5) / w, k) for k, w in enumerate(weights) for j in range(800))
        weights = np.array(weights)
        for number in (0, 1, 2, 3, 7, 50, 399):
            wanted = np.bincount([k for _, k in due[:number]], minlength=len(weights))
            np.testing.assert_array_equal(turns_before(number, weights), wanted)
        for number in (10**9, 10**9 + 1):
            turns = turns_before(number, weights)
            assert turns.sum() == number
            assert np.abs(turns - number * weights / weights.sum()).max() < len(weights)


def test_a_mixed_batch_that_does_not_divide_is_one_sentence(two_sensors):
    with pytest.raises(ShardError, match="3 ranks and 4 micro batches; use a multiple of 12"):
        Loader(two_sensors, two_sensors.indices(), 18, world=3, micro_batches=4)
