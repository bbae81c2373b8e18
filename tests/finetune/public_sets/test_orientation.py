"""Labels that were turned or mirrored are told from labels that lie on their images."""

import numpy as np
import pytest

from bandloom.finetune.public_sets.orientation import better_orientation

FIXED = {  # what was done to the labels -> what puts them back, as it is said
    "nothing": (lambda label: label, None),
    "turned": (lambda label: np.rot90(label, 1), "turned by 270 degrees"),
    "half": (lambda label: np.rot90(label, 2), "turned by 180 degrees"),
    "mirrored": (np.fliplr, "mirrored"),
    "both": (lambda label: np.rot90(np.fliplr(label), 1), "mirrored and turned by 90 degrees"),
}


def fields(count: int, noise: float) -> list[tuple[np.ndarray, np.ndarray]]:
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        label = rng.integers(0, 4, (6, 6)).repeat(8, 0).repeat(8, 1)
        found.append((rng.random(4)[label] + rng.normal(0, noise, label.shape), label.astype(np.uint8)))
    return found


@pytest.mark.parametrize("done", FIXED)
def test_what_was_done_to_labels_is_found(done):
    change, said = FIXED[done]
    found = better_orientation([(image, change(label)) for image, label in fields(10, 0.1)])
    assert found == said
    if said is not None:
        turns, mirrored = int("0" + "".join(c for c in said if c.isdigit())) // 90, said.startswith("mirrored")
        for _, label in fields(3, 0.1):
            turned = change(label)
            assert (np.rot90(np.fliplr(turned) if mirrored else turned, turns) == label).all()


def test_noise_few_samples_and_one_class_tell_nothing():
    rng = np.random.default_rng(1)
    assert better_orientation([(rng.random((48, 48)), label) for _, label in fields(20, 0)]) is None
    assert better_orientation([(image, np.rot90(label)) for image, label in fields(4, 0.1)]) is None
    assert better_orientation([(rng.random((8, 8)), np.ones((8, 8), np.uint8))] * 9) is None
