"""Codes of features against scikit-learn's principal components, and what a round trip may lose."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from bandloom.embeddings.basis import ABSENT, MOST_KEPT, Basis, Moments
from bandloom.errors import ConfigError
from tests.bandloom.embeddings.features import features_of_ground


def fitted(features, dims, dtype, parts=4):
    moments = Moments()
    for part in np.array_split(features, parts, axis=1):
        moments.add(part)
    return moments.basis(dims, dtype)


def test_components_are_those_of_scikit_learn_up_to_their_sign():
    features = features_of_ground()
    flat = features.reshape(len(features), -1).T
    flat = flat[np.isfinite(flat).all(1)].astype(float)
    basis, theirs = fitted(features, 6, "float32"), PCA(6, svd_solver="full").fit(flat)
    signs = np.sign((basis.components * theirs.components_).sum(1))
    np.testing.assert_allclose(basis.components, theirs.components_ * signs[:, None], atol=1e-4)
    assert basis.explained == pytest.approx(theirs.explained_variance_ratio_.sum(), abs=1e-5)
    codes = basis.encode(features)
    known = np.isfinite(features).all(0)
    np.testing.assert_allclose(codes[:, known].T, theirs.transform(flat) * signs, atol=1e-3)
    np.testing.assert_allclose(
        basis.decode(codes)[:, known].T, theirs.inverse_transform(theirs.transform(flat)), atol=1e-3
    )


@pytest.mark.parametrize("dims", [None, 24, 5, 1])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_round_trip_loses_half_a_step_and_what_was_left_out_and_nothing_stays_nothing(dims, dtype):
    features = features_of_ground()
    basis = Basis.from_record(json.loads(json.dumps(fitted(features, dims, dtype).record())))
    codes = basis.encode(features)
    assert codes.dtype == dtype
    assert codes.shape == (dims or 24, 23, 31)
    hole = ~np.isfinite(features).all(0)
    assert hole.any()
    assert (np.isnan(codes[:, hole]) if dtype == "float32" else codes[:, hole] == ABSENT).all()
    assert (codes[:, ~hole] != ABSENT).all()
    back = basis.decode(codes)
    assert np.isnan(back[:, hole]).all()
    lost = np.nanmean((back - features) ** 2)
    left_out = np.nanvar(features.reshape(24, -1), axis=1).mean() * (1 - basis.explained)
    step = float((basis.scale**2).sum() / 24) if dtype == "int8" else 0.0
    assert lost == pytest.approx(left_out, abs=1e-6 + step)  # a step's variance is a twelfth of it; tails are cut


def test_the_order_and_size_of_parts_do_not_matter_and_many_features_keep_a_sample():
    features = features_of_ground((300, 320), 4)
    one, other = fitted(features, 3, "int8", 1), fitted(features, 3, "int8", 50)
    np.testing.assert_allclose(one.components, other.components, atol=1e-5)
    np.testing.assert_allclose(one.scale, other.scale, rtol=0.05)
    moments = Moments()
    for part in np.array_split(features, 50, axis=1):
        moments.add(part)
    kept = sum(map(len, moments.kept))
    assert MOST_KEPT / 2 < kept <= MOST_KEPT
    flat = features.reshape(4, -1).T
    np.testing.assert_array_equal(np.concatenate(moments.kept), flat[np.isfinite(flat).all(1)][:: moments.step])


@pytest.mark.parametrize(
    ("dims", "dtype", "said"), [(0, "int8", "--dims 0"), (25, "int8", "1 to 24"), (5, "int4", "--dtype 'int4'")]
)
def test_what_cannot_be_had_is_refused(dims, dtype, said):
    with pytest.raises(ConfigError, match=said):
        fitted(features_of_ground(), dims, dtype)


def test_embeddings_of_nothing_and_damaged_records_are_refused():
    with pytest.raises(ConfigError, match="two measured tokens at least, and there are 0"):
        fitted(np.full((4, 5, 5), np.nan, np.float32), 2, "int8")
    record = fitted(features_of_ground(), 5, "int8").record()
    for change in ({"mean": "x"}, {"format": 2}, {"dims": 4}, {"dtype": "int4"}):
        with pytest.raises(ConfigError, match="the record of stored embeddings cannot be read"):
            Basis.from_record(record | change)
