from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandloom.errors import ConfigError
from bandloom.finetune.data.splits import (
    BUFFER,
    TEST,
    TRAIN,
    VAL,
    BlockSplit,
    extent_role,
    given_split,
    ordered_split,
    stable_hash,
)


@dataclass(frozen=True)
class Place:
    key: str = "a"
    epsg: int | None = 32633
    x_m: float = 500_000.0
    y_m: float = 5_000_000.0
    split: str | None = None


def window(split, place=Place(), side=160):
    return split.roles(place, (place.x_m, place.y_m), (side, side))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([10, 70, 120, 480, 1000]),
    st.sampled_from([0, 5, 60, 110]),
    st.integers(0, 50),
    st.tuples(st.integers(-999, 999), st.integers(-999, 999)),
)
def test_roles_are_those_of_nine_windows_that_lie_a_buffer_apart(block_m, buffer_m, seed, at):
    buffer_m = min(buffer_m, block_m - 5)
    place = Place(x_m=500_000.0 + at[0], y_m=5_000_000.0 + at[1])
    plain, reach = BlockSplit(block_m, 0, seed=seed), (-buffer_m, 0, buffer_m)
    shape = (40, 55)
    own = plain.roles(place, (place.x_m, place.y_m), shape)
    others = [plain.roles(place, (place.x_m + dx, place.y_m + dy), shape) for dx in reach for dy in reach]
    expected = np.where(np.maximum.reduce(others) > own, BUFFER, own)
    np.testing.assert_array_equal(
        BlockSplit(block_m, buffer_m, seed=seed).roles(place, (place.x_m, place.y_m), shape), expected
    )


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([120, 300, 480, 1000]), st.sampled_from([0, 20, 60, 110]), st.integers(0, 50), st.integers(-40, 40)
)
def test_no_training_pixel_lies_within_the_buffer_of_a_test_pixel(block_m, buffer_m, seed, shift):
    place = Place(x_m=500_000.0 + 60 * shift)
    roles = window(BlockSplit(block_m, buffer_m, seed=seed), place, 120)
    reach = buffer_m // 10
    for precious, other in ((TEST, TRAIN), (TEST, VAL), (VAL, TRAIN)):
        mask = roles == precious
        if not mask.any():
            continue
        padded = np.pad(mask, reach)
        near = np.zeros_like(mask)
        for dy in range(2 * reach + 1):
            for dx in range(2 * reach + 1):
                near |= padded[dy : dy + 120, dx : dx + 120]
        assert not (near & (roles == other)).any()


def test_overlapping_windows_agree_on_every_pixel():
    split = BlockSplit(300, 60)
    whole = split.roles(Place(), (500_000.0, 5_000_000.0), (100, 100))
    part = split.roles(Place(), (500_300.0, 4_999_700.0), (50, 50))
    assert (whole[30:80, 30:80] == part).all()


def test_shares_hold_in_every_aligned_cell():
    roles = BlockSplit(60, 0, val=0.125, test=0.25).roles(Place(), (480_000.0, 4_800_000.0), (480, 480))
    cells = roles.reshape(20, 24, 20, 24)
    assert ((cells == TEST).mean((1, 3)) == 0.25).all()
    assert ((cells == VAL).mean((1, 3)) == 0.125).all()


def test_fractional_shares_hold_on_average():
    roles = BlockSplit(30, 0, val=0.1, test=0.2).roles(Place(), (480_000.0, 4_800_000.0), (960, 960))
    assert (roles == TEST).mean() == pytest.approx(0.2, abs=0.01)
    assert (roles == VAL).mean() == pytest.approx(0.1, abs=0.01)


def test_another_seed_deals_other_roles():
    assert (window(BlockSplit(120, 0)) != window(BlockSplit(120, 0, seed=1))).any()


def test_the_test_set_does_not_depend_on_the_buffer():
    assert ((window(BlockSplit(300, 0)) == TEST) == (window(BlockSplit(300, 90)) == TEST)).all()


def test_a_block_has_one_role_and_one_number():
    split = BlockSplit(300, 0)
    roles, blocks = window(split), split.blocks(Place(), (500_000.0, 5_000_000.0), (160, 160))
    assert len(np.unique(blocks)) > 20
    for block in np.unique(blocks):
        assert len(np.unique(roles[blocks == block])) == 1


def test_the_hash_is_frozen():
    assert int(stable_hash(0, 1, 2)) == int(stable_hash(0, np.array([1]), np.array([2]))[0])
    assert int(stable_hash(7, -3, 40)) == 17455285356338137980


@pytest.mark.parametrize("bad", [{"block_m": 5}, {"block_m": 125}, {"block_m": 100, "buffer_m": 100}])
def test_impossible_blocks_are_refused(bad):
    with pytest.raises(ConfigError, match=r"split\.(block_m|buffer_m)"):
        BlockSplit(**bad)


def test_a_sample_without_a_place_cannot_be_split_by_block():
    with pytest.raises(ConfigError, match=r"no place.*split\.kind=given"):
        window(BlockSplit(300), Place(epsg=None))


def test_the_given_split_is_the_manifests():
    split = given_split([Place("a", split="train"), Place("b", split="test"), Place("c")])
    assert [int(window(split, Place(key), 2)[0, 0]) for key in "abc"] == [TRAIN, TEST, BUFFER]
    with pytest.raises(ConfigError, match="no sample the split 'test'"):
        given_split([Place("a", split="train")])
    with pytest.raises(ConfigError, match="expected train, val or test"):
        given_split([Place("a", split="trian")])


def test_ordered_groups_keep_their_order_and_every_group_whole():
    groups = {f"2020-{month:02d}": [f"{month}-{i}" for i in range(5)] for month in range(1, 11)}
    split = ordered_split("time", groups, 0.2, 0.2, seed=None)
    roles = [{split.role_of[key] for key in keys} for keys in groups.values()]
    assert roles == [{TRAIN}] * 6 + [{VAL}] * 2 + [{TEST}] * 2


def test_a_chip_across_a_border_is_dropped_from_training_only():
    split = BlockSplit(300, 0)
    found = {
        extent_role(split, Place(x_m=500_000.0 + 60 * i, y_m=5_000_000.0 + 60 * j), 12)
        for i in range(20)
        for j in range(20)
    }
    assert found == {TRAIN, VAL, TEST, BUFFER}
    for i in range(40):
        place = Place(x_m=500_000.0 + 60 * i)
        roles = split.roles(place, (place.x_m, place.y_m), (12, 12))
        if extent_role(split, place, 12) == TRAIN:
            assert (roles == TRAIN).all()
