import numpy as np

from bandloom.shards.synth.planted_change import BECOMES, planted_pair


def test_planted_change_is_what_was_planted():
    before, after = planted_pair(120, 1, share=0.2)
    moved = before.label != after.label
    assert 0.05 < moved.mean() < 0.25
    assert {(int(a), int(b)) for a, b in zip(before.label[moved], after.label[moved], strict=True)} <= set(
        BECOMES.items()
    )
    assert not np.array_equal(before.groups[10][:, ~moved], after.groups[10][:, ~moved])  # another day
