import numpy as np

from bandloom.draws.splitmix import GOLDEN, mix64, mix64_one


def test_the_numbers_are_splitmix64s_own():
    """The first outputs of the reference implementation from the seed 1234567 (Vigna's splitmix64.c)."""
    with np.errstate(over="ignore"):
        states = np.uint64(1234567) + GOLDEN * np.arange(1, 6, dtype=np.uint64)
    assert mix64(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [mix64_one(int(state)) for state in states] == mix64(states).tolist()
