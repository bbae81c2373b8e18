"""Pickles are read and never run: values as pickle.loads gives them, and nothing imported, called or built."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from bandloom.errors import LabelError
from bandloom.finetune.public_sets.inert_pickle import Call, as_array, as_number, read_inert


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_values_are_what_pickle_loads(protocol):
    value = {"label": 7, "x": [1, -2, 3.5, None, True, "ä" * 300, b"\x00\xff", 2**70], "t": ((), (1,), (1, 2, 3, 4))}
    if protocol == 2:
        value["x"].remove(b"\x00\xff")  # protocol 2 has no bytes: it would call a codec
    value["same"] = value["x"]
    assert read_inert(pickle.dumps(value, protocol), "x") == value


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_runs(tmp_path, protocol):
    target = tmp_path / "ran"
    content = pickle.dumps({"label": Runs(target)}, protocol)
    found = read_inert(content, "x")["label"]
    assert isinstance(found, Call)
    assert found.name == "system"
    assert not target.exists()
    pickle.loads(content)
    assert target.exists()  # it would have


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_and_scalars_of_numpy_are_read_as_numbers(protocol):
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.ones(43, np.float32)):
        np.testing.assert_array_equal(as_array(read_inert(pickle.dumps(array, protocol), "x")), array)
    assert as_number(read_inert(pickle.dumps(np.int64(11), protocol), "x")) == 11
    assert as_number(read_inert(pickle.dumps(11, protocol), "x")) == 11
    assert as_number(read_inert(pickle.dumps("11", protocol), "x")) is None
    with pytest.raises(LabelError, match="expected numbers"):
        as_array(read_inert(pickle.dumps(np.array([object()])), "x"))


def test_objects_keep_their_arguments():
    found = read_inert(pickle.dumps(Affine(10, 0, 5, 0, -10, 7)), "x")
    assert (found.module, found.name) == ("affine", "Affine")
    assert found.arguments[:6] == (10, 0, 5, 0, -10, 7)
    assert isinstance(read_inert(pickle.dumps(collections.OrderedDict(a=1)), "x"), Call)


def test_what_is_no_pickle_is_refused():
    good = pickle.dumps({"a": [1, 2, 3]})
    for content in (b"", b"abc", good[:-1], good[:9], b"\x80\x04.", b"\x80\x04R."):
        with pytest.raises(LabelError):
            read_inert(content, "x")
    with pytest.raises(LabelError, match="expected some thousands"):
        read_inert(b"\x80" * (2**20 + 1), "x")


@pytest.mark.parametrize("dtype", ["<i4", ">i4", ">f8", "|u1", "<i8"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_either_byte_order_are_what_pickle_loads(dtype, protocol):
    value = np.arange(12).astype(dtype).reshape(3, 4)
    found = as_array(read_inert(pickle.dumps(value, protocol), "x"))
    np.testing.assert_array_equal(found, value)
    assert as_number(read_inert(pickle.dumps(value[1, 2], protocol), "x")) == 6


def test_an_array_cut_short_and_a_shape_of_another_size_are_a_sentence():
    whole = read_inert(pickle.dumps(np.arange(6), 4), "x")
    one, shape, dtype, by_columns, content = whole.state
    for state in ((one, (7,), dtype, by_columns, content), (one, shape, dtype, by_columns, content[:-3]), (one, shape)):
        with pytest.raises(LabelError, match="does not fit its own shape"):
            as_array(Call(whole.module, whole.name, whole.arguments, state))
    assert as_number(read_inert(pickle.dumps(np.float64(2.5), 4), "x")) is None
