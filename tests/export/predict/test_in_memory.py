"""Predictions as arrays: what says how files are read is refused where there is no file."""

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.export.predict.in_memory import Bundle
from tests.export.tiny_model import tiny_contract, write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return Bundle(write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "tiny"))


def groups() -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        group.gsd_m: rng.integers(1100, 4000, (len(group.bands), 600 // group.gsd_m, 600 // group.gsd_m)).astype(
            np.uint16
        )
        for group in tiny_contract().groups
    }


def test_arrays_give_one_code_of_the_label_set_a_pixel(bundle) -> None:
    found = bundle.predict(groups(), probabilities=True)
    assert found.classes.shape == (60, 60)
    assert set(np.unique(found.classes)) <= {*found.label_set.codes, 255}
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    best = np.array(found.label_set.codes)[found.probabilities.argmax(0)]
    np.testing.assert_array_equal(best, found.classes)


@pytest.mark.parametrize(
    "reading", [{"offset": -1000}, {"scale": "0.0001"}, {"nodata": "0"}, {"bands": "B02,B03"}, {"band_map": "l1c"}]
)
def test_what_says_how_a_file_is_read_is_refused_for_arrays(bundle, reading) -> None:
    with pytest.raises(SceneError, match=f"{next(iter(reading))} says how a file is read.*pass the file's path"):
        bundle.predict(groups(), **reading)
