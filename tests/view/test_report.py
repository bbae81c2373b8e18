import json
from pathlib import Path
from typing import Any

import pytest

from tests.view.command import run
from view.records import read_record
from view.report import cell, render


@pytest.mark.parametrize(
    ("what", "kind", "shown"),
    [
        ("shards", "Shards", ["Samples", "Reflectance, band by band"]),
        ("pretrain", "Pretraining", ["How it went", "What frozen features are worth", "How fast", "Pictures"]),
        ("finetune", "Fine-tuning", ["Scores beside their floors", "Class by class", "What is taken for what"]),
        ("bundle", "Bundle", ["Against torch, on held chips", "What it takes", "Where it comes from"]),
        ("map.tif", "Map", ["Pictures", "Classes", "The item"]),
    ],
)
def test_every_stage_has_a_report_that_opens_in_a_browser(chain: Path, tmp_path: Path, page: Any, what, kind, shown):
    out = tmp_path / "report.html"
    assert run("report", chain / what, "--out", out) == 0
    page.goto(out.as_uri())
    assert page.locator(".kind").inner_text() == kind
    titles = page.locator("h2").all_inner_texts()
    assert [title for title in shown if title not in titles] == []
    assert "http" not in out.read_text().replace("http://www.w3.org", "").replace("https://stac-", "")  # all inside
    for picture in page.locator("img").all():
        assert picture.evaluate("each => each.naturalWidth") > 0
    page.set_viewport_size({"width": 380, "height": 800})  # a phone: the page itself does not scroll sideways
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_first_score_row_is_the_models(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    row = page.locator("tr.strong").first.locator("td").all_inner_texts()
    scores = json.loads((chain / "finetune" / "metrics.json").read_text())["rows"][0]
    assert row[:2] == [scores["name"], f"{scores['overall']:.3f}"]


def test_calibration_and_bands_are_shown_as_they_were_measured(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    record = json.loads((chain / "finetune" / "metrics.json").read_text())
    shown = page.locator("section", has=page.locator("h2", has_text="Calibration")).locator("td").all_inner_texts()
    assert f"{record['calibration']['before']['error']:.3f}" in shown
    assert f"{record['calibration']['after']['error']:.3f}" in shown
    bands = page.locator("section", has=page.locator("h2", has_text="On fewer bands")).locator("tr").count()
    assert bands == 1 + len(record["bands"])


def test_two_runs_lie_side_by_side_with_what_sets_them_apart(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "pretrain", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator("article").count() == 2
    keys = page.locator("section").first.locator("td:first-child").all_inner_texts()
    assert "crop_px" in keys
    assert "trainer.steps" not in keys  # the same in both


def test_reports_are_accessible(chain: Path, tmp_path: Path, page: Any):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    assert run("report", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    faults = [each for each in axe.Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
    assert faults == []


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda place: place / "none", "does not exist"),
        (lambda place: place, "holds no config.yaml, bundle.json or manifest.json"),
        (lambda place: _file(place / "bundle.json", "{"), "is damaged"),
        (lambda place: _file(place / "manifest.json", "[]"), "holds no record"),
        (lambda place: (_file(place / "config.yaml", "a: 1"), _file(place / "metrics.json", '{"schema": 9}'))[0],
         "has schema 9, this version knows 1"),
        (lambda place: _file(place / "map.tif", "x") / "map.tif", "has no STAC item map.stac.json"),
    ],
)  # fmt: skip
def test_what_is_no_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], make, sentence):
    (tmp_path / "run").mkdir()
    assert run("report", make(tmp_path / "run"), "--out", tmp_path / "r.html") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert not (tmp_path / "r.html").exists()


def test_an_existing_page_is_left_alone(chain: Path, tmp_path: Path):
    (tmp_path / "r.html").write_text("mine")
    assert run("report", chain / "shards", "--out", tmp_path / "r.html") == 2
    assert (tmp_path / "r.html").read_text() == "mine"


def test_what_files_say_is_never_markup(tmp_path: Path):
    (tmp_path / "config.yaml").write_text('name: "<script>alert(1)</script>"\n')
    line = {"step": 1, "kind": "event", "event": "<b>", "keys": "<img src=x>"}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + '\n{"step": 2, "ki')  # a kill cut the last line off
    page = render([read_record(tmp_path)])
    assert "<script>" not in page
    assert "<img src=x>" not in page


def test_cells_are_short(tmp_path: Path):
    assert [cell(each) for each in (None, True, "a", 1234, 0.5, 1e-6, 0.0)] == [
        "", "True", "a", "1,234", "0.500", "1.00e-06", "0.000"]  # fmt: skip


def _file(path: Path, content: str) -> Path:
    path.write_text(content)
    return path.parent
