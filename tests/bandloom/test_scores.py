"""The record behind metrics.json: what is written is read again, and what earlier versions wrote still is."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from bandloom.errors import RunFolderError
from bandloom.scores import ScoreRecord, ScoreRow, figure, read_scores, scores_of, write_scores
from bandloom.view.records import read_record
from bandloom.view.report import render

EARLIER = Path(__file__).parent / "earlier"  # written by real runs before the record had a version


def a_record() -> ScoreRecord:
    model = ScoreRow(
        name="fine-tuned",
        kind="model",
        seeds=(3,),
        scores={"overall": 0.75, "macro_f1": 0.5},
        interval_95={"overall": (0.5, 0.875)},
        blocks=4,
        fitted_on=10,
        scored_on=20,
    )
    majority = model.model_copy(update={"name": "majority", "kind": "trivial", "interval_95": {}})
    split = {"kind": "block", "hash": "0123456789abcdef"}
    return ScoreRecord(task="segment", sensor="s2", label_set={"classes": []}, split=split, rows=(model, majority))


def test_what_is_written_is_read_again(tmp_path):
    write_scores(tmp_path, a_record())
    assert read_scores(tmp_path / "metrics.json") == a_record()
    held = json.loads((tmp_path / "metrics.json").read_text())
    assert held["schema_version"] == 2
    assert "few_shot" not in held  # what is empty is left out
    assert [row["kind"] for row in held["rows"]] == ["model", "trivial"]


def test_a_record_cannot_be_changed_and_takes_no_key_that_it_does_not_know():
    with pytest.raises(ValidationError):
        a_record().task = "classify"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError, match="surprise"):
        scores_of(a_record().to_dict() | {"surprise": 1})


def test_a_row_is_found_by_its_name_and_given_by_its_first_score():
    assert a_record().row("majority").kind == "trivial"
    assert a_record().rows[0].headline == ("overall", 0.75)
    with pytest.raises(KeyError):
        a_record().row("forest")


@pytest.mark.parametrize("name", ["segment", "multilabel"])
def test_every_number_of_an_earlier_run_is_kept(name):
    path = EARLIER / f"{name}_metrics.json"
    old, new = json.loads(path.read_text()), read_scores(path)
    assert (new.task, new.sensor, new.split, new.label_set) == (name, old["sensor"], old["split"], old["label_set"])
    assert [row.name for row in new.rows] == [row["name"] for row in old["rows"]]
    for row, was in zip(new.rows, old["rows"], strict=True):
        assert all(was[score] == value for score, value in row.scores.items())
        assert set(was) - set(row.scores) == {
            *("name", "support", "classes", "interval_95", "blocks", "fitted_on", "scored_on", "seconds"),
            *(["margin_95"] if row.margin_95 else []),
        }
        assert {key: list(pair) for key, pair in row.interval_95.items()} == was["interval_95"]
        assert (row.blocks, row.fitted_on, row.scored_on) == (was["blocks"], was["fitted_on"], was["scored_on"])
        for land_class, before in zip(row.classes, was["classes"], strict=True):
            assert {"name": land_class.name, "support": land_class.support, **land_class.scores} == before
    assert [list(row.seeds) for row in new.over_seeds] == [row["seeds"] for row in old["seeds"]]
    assert new.over_seeds[0].mean == old["seeds"][0]["mean"]
    assert new.calibration == old["calibration"]


def test_rows_of_an_earlier_run_say_their_kind_where_their_name_does():
    kinds = {row.name: row.kind for row in read_scores(EARLIER / "segment_metrics.json").rows}
    assert kinds == {"fine-tuned": "model", "majority": "trivial", "pixel_rf": "not stated"}


@pytest.mark.parametrize("name", ["segment", "multilabel"])
def test_the_report_of_an_earlier_run_shows_its_scores(tmp_path, name):
    (tmp_path / "metrics.json").write_bytes((EARLIER / f"{name}_metrics.json").read_bytes())
    page, record = render([read_record(tmp_path)]), read_scores(tmp_path / "metrics.json")
    for row in record.rows:
        assert f"{row.headline[1]:.3f}" in page
        assert row.name.replace("_", " ") in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as scores"),
        ("[]", "cannot be read as scores"),
        ('{"schema_version": 3, "rows": []}', "cannot be read as scores"),
        ('{"schema": 1, "rows": [{"name": "a"}]}', "cannot be read as scores"),
    ],
)
def test_a_damaged_record_is_one_sentence(tmp_path, text, said):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(RunFolderError, match=said) as caught:
        read_scores(tmp_path / "metrics.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("score", "value", "said"),
    [
        ("rmse", 1.2345e-6, "1.23e-06"),
        ("mae", 0.012345, "0.0123"),
        ("bias", -4e-10, "-4e-10"),
        ("rmse", 123456.789, "123456.789"),
        ("rmse", 0.0, "0.000"),
        ("r2", 0.0004, "0.000"),
    ],
)
def test_an_error_in_a_small_unit_is_not_printed_as_none(score, value, said):
    assert figure(score, value) == said
    assert figure(score, abs(value), sign="+") == f"+{said.removeprefix('-')}"
