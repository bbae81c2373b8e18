"""Draws keyed by sample: which samples a layer is told that it sees."""

from types import SimpleNamespace

import numpy as np
import pytest

from bandloom.draws.sample_draws import draws_seen, seen


def test_a_layer_is_told_the_draws_of_the_batch_that_is_seen_and_of_none_after_it():
    draws = np.array([7, 8, 9], np.uint64)
    assert draws_seen(3) is None
    with seen(SimpleNamespace(draws=draws)):
        assert draws_seen(3).tolist() == [7, 8, 9]
        with seen(object()):
            assert draws_seen(3) is None
        assert draws_seen(4) is None  # not these samples
    assert draws_seen(3) is None


def test_views_of_the_same_samples_draw_apart():
    with seen(SimpleNamespace(draws=np.array([7, 8], np.uint64))):
        views = draws_seen(6)
    assert views is not None
    assert views[:2].tolist() == [7, 8]
    assert len(set(views.tolist())) == 6


def test_the_samples_are_forgotten_after_an_error():
    with pytest.raises(RuntimeError), seen(SimpleNamespace(draws=np.array([1], np.uint64))):
        raise RuntimeError
    assert draws_seen(1) is None
