import pytest

from bandloom.draws.evenly import evenly


@pytest.mark.parametrize(
    ("count", "most", "picked"), [(10, 4, [0, 3, 6, 9]), (3, 9, [0, 1, 2]), (5, 1, [0]), (0, 3, []), (3, 0, [])]
)
def test_the_first_the_last_and_some_between(count, most, picked):
    assert evenly(count, most).tolist() == picked


def test_none_is_picked_twice_and_all_lie_inside():
    for count in range(1, 40):
        for most in range(1, 45):
            found = evenly(count, most).tolist()
            assert len(found) == len(set(found)) == min(count, most)
            assert found[0] == 0
            assert most == 1 or found[-1] == count - 1
