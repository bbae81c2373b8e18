from itertools import product
from pathlib import Path

import numpy as np
import pytest

from bandloom.errors import RunFolderError
from bandloom.finetune.report.tested import TESTED as WRITTEN
from bandloom.view.comparison.tested import NO_LABEL, TESTED, answers_of, kept_samples, outcomes


def test_every_pixel_has_the_outcome_that_reading_it_says():
    pixels = list(product((0, 1, 2, NO_LABEL), (0, 1, 2), (0, 1, 2)))
    truth, one, other = (np.array([column]) for column in zip(*pixels, strict=True))
    masks = outcomes(truth, one, other)
    for i in range(len(pixels)):
        t, a, b = int(truth[0, i]), int(one[0, i]), int(other[0, i])
        if t == NO_LABEL:
            wanted = ["unlabelled"] if a != b else []
        elif a == t and b == t:
            wanted = ["both"]
        elif a == t or b == t:
            wanted = ["only 1" if a == t else "only 2"]
        else:
            wanted = ["neither, the same" if a == b else "neither"]
        assert [name for name, mask in masks.items() if mask[0, i]] == wanted


def test_reader_and_writer_mean_the_same_file():
    assert TESTED == WRITTEN


def test_a_run_that_kept_nothing_has_nothing(tmp_path: Path):
    assert kept_samples(tmp_path) == {}
    assert answers_of(tmp_path) == {}


def test_damaged_samples_are_one_sentence(tmp_path: Path):
    (tmp_path / TESTED).write_bytes(b"no archive")
    with pytest.raises(RunFolderError, match=r"tested\.npz is damaged"):
        kept_samples(tmp_path)
    np.savez(tmp_path / TESTED, keys=np.array(["a"]))
    with pytest.raises(RunFolderError, match=r"tested\.npz is damaged"):
        kept_samples(tmp_path)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_answers_are_read_from_either_form_of_the_table(tmp_path: Path, form: str):
    rows = [
        {"key": "x", "truth": "a", "predicted": "b", "more": 1},
        {"key": "y", "truth": "a", "predicted": "a", "more": 2},
    ]
    if form == "csv":
        (tmp_path / "predictions.csv").write_text("key,truth,predicted,more\nx,a,b,1\ny,a,a,2\n")
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        import pyarrow

        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "predictions.parquet")
    assert answers_of(tmp_path) == {"x": ("a", "b"), "y": ("a", "a")}


def test_a_table_of_pixels_has_no_answers_by_chip(tmp_path: Path):
    (tmp_path / "predictions.csv").write_text("key,labels,correct\nx,3,2\n")
    assert answers_of(tmp_path) == {}
