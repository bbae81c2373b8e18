import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bandloom.sensors import SENSORS
from bandloom.shards.build.histograms import count_values, merge, statistics

SENSOR = SENSORS["landsat89-l2"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0, 1, 999, 1000, 5000, 40_000, 65_534, 65_535]), min_size=4, max_size=24))
def test_statistics_over_any_split_of_the_samples_are_those_of_all_values_at_once(values):
    values = np.resize(np.array(values, np.uint16), (-(-len(values) // 4), 2, 2))
    merged = {}
    for sample in values:
        merge(merged, count_values(SENSOR, {30: np.stack([sample] * 7)}))
    seen = values[(values > 0) & (values < 65_535)].astype(float)
    found = statistics(merged)
    assert set(found["mean"]) == (set(SENSOR.slots) if seen.size else set())
    for slot in found["mean"]:
        reflectance = (seen - 1000) / 1e4
        np.testing.assert_allclose(found["mean"][slot], reflectance.mean(), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found["std"][slot], reflectance.std(), rtol=1e-9, atol=1e-12)
        assert found["count"][slot] == seen.size
        assert found["quantiles"][slot]["0.5"] == np.sort(reflectance)[int(np.ceil(0.5 * seen.size)) - 1]


def test_a_histogram_is_no_longer_than_its_largest_value_and_merging_leaves_the_other_alone():
    sample = np.full((7, 2, 2), 1500, np.uint16)
    sample[0, 0, 0] = 65_535
    one, other = count_values(SENSOR, {30: sample}), count_values(SENSOR, {30: np.full((7, 2, 2), 9000, np.uint16)})
    assert {len(counts) for counts in one.values()} == {1501}
    before = {slot: counts.copy() for slot, counts in other.items()}
    merged = {}
    for each in (one, other, one):
        merge(merged, each)
    assert {len(counts) for counts in merged.values()} == {9001}
    assert all(np.array_equal(other[slot], before[slot]) for slot in before)
    assert one["B01"][1500] == 3
    assert (merged["B01"][1500], merged["B02"][1500], merged["B02"][9000]) == (6, 8, 4)
