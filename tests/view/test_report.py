import json
from pathlib import Path
from typing import Any

import pytest

from bandloom.view.records import read_record
from bandloom.view.report import cell, kind_of_cell, render
from tests.view.command import run


@pytest.mark.parametrize(
    ("what", "kind", "shown"),
    [
        ("shards", "Shards", ["Samples", "Where they lie", "Reflectance, band by band", "Inputs"]),
        ("pretrain", "Pretraining", ["How it went", "What frozen features are worth", "How fast", "Pictures"]),
        ("finetune", "Fine-tuning", ["Scores beside their baselines", "Class by class", "What is taken for what"]),
        ("bundle", "Bundle", ["Against torch, on held chips", "What it takes and gives", "Where it comes from"]),
        ("map.tif", "Map", ["The map", "Areas", "Where the time went", "Where it comes from"]),
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


def test_an_alignment_is_shown_beside_chance(tmp_path: Path, page: Any):
    line = {"classes": 3, "samples": 9, "mean_recall": 0.625, "chance": 0.333}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "run" / "metrics.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "three_numbers": {"seen classes, training words": line, "held-out classes among all": {}},
                "retrieval": {"caption to image": {"queries": 4, "recall_at_1": 0.5, "recall_at_1_chance": 0.111}},
                "few_shot": [{"shots": 5, "from words": 0.875, "from random": 0.75, "chance": 0.25}],
                "captions": {"texts": 40, "sources": ["labels"]},
                "held_out": ["river"],
                "text": {"model": "scratch"},
            }
        )
    )
    assert run("report", tmp_path / "run", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator(".kind").inner_text() == "Alignment"
    cells = page.locator("td").all_inner_texts()
    for shown in ("0.625", "0.333", "0.500", "0.111", "0.875", "0.750", "0.250", "river", "scratch"):
        assert shown in cells


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"metrics.json": "finetune"}, "Evaluation"),  # it leaves no config
        ({"metrics.json": "finetune", "config.yaml": "finetune", "command": "probe"}, "Probe"),
        ({"metrics.json": "finetune", "config.yaml": "finetune", "command": "baselines"}, "Baselines"),
        ({"metrics.json": "finetune", "config.yaml": "finetune", "command": "finetune"}, "Fine-tuning"),
    ],
)
def test_whatever_scores_rows_has_a_report_under_its_own_name(chain: Path, tmp_path: Path, page: Any, files, kind):
    for name, source in files.items():
        if name == "command":
            (tmp_path / "environment.json").write_text(json.dumps({"command": ["bandloom", source, "my.yaml"]}))
        else:
            (tmp_path / name).write_bytes((chain / source / name).read_bytes())
    assert run("report", tmp_path, "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator(".kind").inner_text() == kind
    assert (page.locator("tr.strong").count() == 1) == (kind == "Fine-tuning")


def test_what_the_controls_of_a_fusion_allow_is_said(chain: Path, tmp_path: Path):
    record = json.loads((chain / "finetune" / "metrics.json").read_text())
    more = {"verdicts": ["film: context adds +0.1 macro-F1"], "leaks": {"warnings": ["the context names the class"]}}
    (tmp_path / "metrics.json").write_text(json.dumps(record | more))
    (tmp_path / "config.yaml").write_text("task: fusion\n")
    page = render([read_record(tmp_path)])
    assert "film: context adds +0.1 macro-F1" in page
    assert "the context names the class" in page


def test_a_run_that_has_no_page_of_its_own_shows_its_numbers(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("questions: q.jsonl\n")
    (tmp_path / "metrics.json").write_text('{"schema": 1, "own_image": 0.25, "accuracy": {"presence": 0.75}}')
    page = render([read_record(tmp_path)])
    assert "0.250" in page
    assert "accuracy: presence" in page


def test_a_page_of_all_samples_can_be_browsed(chain: Path, tmp_path: Path, page: Any):
    (tmp_path / "shards").mkdir()
    for path in (chain / "shards").iterdir():
        (tmp_path / "shards" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shards" / "quarantine.jsonl").write_text('{"key": "torn.tif", "reason": "no raster"}\n')
    out = tmp_path / "sheet.html"
    assert run("shards", "show", tmp_path / "shards", "--page", out, "--most", 3) == 0
    page.goto(out.as_uri())
    entries = [json.loads(line) for line in (chain / "shards" / "samples.jsonl").read_text().splitlines()]
    assert page.locator(".sheet figure").count() == 3
    assert page.locator(".sheet figcaption").first.inner_text().startswith(entries[0]["key"])
    for picture in page.locator(".sheet img").all():  # true colour and labels, side by side
        assert picture.evaluate("each => [each.naturalWidth, each.naturalHeight]") == [194, 96]
    page.locator("a[href='#s0']").first.press("Enter")
    assert page.locator(".sheet figure:target").get_attribute("id") == "s0"
    assert "torn.tif" in page.locator("section", has=page.locator("h2", has_text="Quarantined")).inner_text()
    assert _faults(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert run("shards", "show", tmp_path / "shards", "--page", out) == 2  # mine now


def test_the_maps_areas_are_those_of_its_pixels(chain: Path, tmp_path: Path, page: Any):
    import rasterio

    assert run("report", chain / "map.tif", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    with rasterio.open(chain / "map.tif") as source:
        measured = int((source.read(1) != 255).sum())
    rows = page.locator("section", has=page.locator("h2", has_text="Areas")).locator("tbody tr")
    pixels = [int(row.locator("td").nth(3).inner_text().replace(",", "")) for row in rows.all()]
    assert sum(pixels) == measured


def test_the_first_score_row_is_the_models(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    row = page.locator("tr.strong").first.locator("td").all_inner_texts()
    scores = json.loads((chain / "finetune" / "metrics.json").read_text())["rows"][0]
    assert row[:3] == [scores["name"], scores["kind"], f"{scores['scores']['overall']:.3f}"]


def test_calibration_and_bands_are_shown_as_they_were_measured(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    record = json.loads((chain / "finetune" / "metrics.json").read_text())
    shown = page.locator("section", has=page.locator("h2", has_text="Calibration")).locator("td").all_inner_texts()
    assert f"{record['calibration']['before']['error']:.3f}" in shown
    assert f"{record['calibration']['after']['error']:.3f}" in shown
    bands = page.locator("section", has=page.locator("h2", has_text="On fewer bands")).locator("tr").count()
    assert bands == 1 + len(record["bands"])


def test_two_runs_of_different_kinds_are_not_mixed(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "pretrain", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator("details.run:not([open])").count() == 2
    shown = page.locator("main > div").all_inner_texts()
    assert shown[0].startswith("What is compared\nNothing is compared: 1: pretrain is of kind pretraining")
    page.locator("details.run > summary").nth(1).click()
    assert page.locator("article").nth(1).locator("h2", has_text="Class by class").is_visible()


def test_two_runs_lie_side_by_side_with_what_sets_them_apart(chain: Path, tmp_path: Path, page: Any):
    (tmp_path / "other").mkdir()
    for path in (chain / "finetune").iterdir():
        if path.is_file():
            (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    config = (chain / "finetune" / "config.yaml").read_text()
    (tmp_path / "other" / "config.yaml").write_text(config.replace("warm_steps: 20", "warm_steps: 21"))
    assert run("report", chain / "finetune", tmp_path / "other", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    assert page.locator(".verdict").first.inner_text().startswith("Not shown to differ: 2: other beside 1: finetune")
    differing = page.locator("section", has=page.locator("h2", has_text="What differs"))
    assert differing.locator("table").first.locator("tbody tr").all_inner_texts() == ["warm_steps\t20\t21"]
    assert "lines are the same" in differing.locator("summary").inner_text()
    legends = page.locator("main > div .legend").all_inner_texts()
    assert any("1: finetune" in text and "2: other" in text for text in legends)
    kept = page.locator("section", has=page.locator("h2", has_text="Where they disagree")).locator(".note").inner_text()
    assert "test samples that both kept" in kept
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert _faults(page) == []


def test_a_reports_command_is_the_one_that_was_typed_and_old_folders_say_that_it_was_not_kept(
    chain: Path, tmp_path: Path, page: Any
):
    for kind, verb in (("shards", "shards build"), ("bundle", "export"), ("finetune", "finetune")):
        out = tmp_path / f"{kind}.html"
        assert run("report", chain / kind, "--out", out) == 0
        page.goto(out.as_uri())
        [command] = page.locator(".command").all_inner_texts()
        assert f"bandloom {verb} {chain}" in command
    (tmp_path / "shards").mkdir()
    for path in (chain / "shards").iterdir():
        (tmp_path / "shards" / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((chain / "shards" / "manifest.json").read_text())
    del manifest["command"]
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(manifest))
    page.set_content(render([read_record(tmp_path / "shards")]))
    kept, again = page.locator(".command").all_inner_texts()
    assert "not kept when this was made" in kept
    assert again.startswith("makes the same")
    assert "bandloom shards build" in again


def test_the_width_of_a_screen_is_used(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    boxes = [part.bounding_box() for part in page.locator("section").all()]
    ends = [(box["x"], box["x"] + box["width"]) for box in boxes if box]
    assert min(left for left, _ in ends) < 40
    assert max(right for _, right in ends) > 1240
    assert len({round(left) for left, _ in ends}) > 1  # parts stand beside each other
    assert page.locator("svg.chart").first.locator("text.axis").nth(1).text_content() == "step"


def test_reports_are_accessible(chain: Path, tmp_path: Path, page: Any):
    assert run("report", chain / "finetune", "--out", tmp_path / "r.html") == 0
    page.goto((tmp_path / "r.html").as_uri())
    assert _faults(page) == []


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda place: place / "none", "does not exist"),
        (lambda place: place, "holds no config.yaml, bundle.json or manifest.json"),
        (lambda place: _file(place / "bundle.json", "{"), "is damaged"),
        (lambda place: _file(place / "manifest.json", "[]"), "holds no record"),
        (
            lambda place: (_file(place / "config.yaml", "a: 1"), _file(place / "metrics.json", '{"schema": 9}'))[0],
            "has schema 9, this version knows up to 1; update bandloom",
        ),
        (lambda place: _file(place / "bundle.json", '{"schema_version": 7}'), "has schema_version 7"),
        (lambda place: _file(place / "manifest.json", '{"version": 99}'), "has version 99"),
        (lambda place: _file(place / "config.yaml", "just words"), "holds no config"),
        (lambda place: _file(place / "manifest.json", '{"schema": 1, "form": "mask"}'), "is no folder of shards"),
        (
            lambda place: (_file(place / "config.yaml", "a: 1"), _file(place / "metrics.json", '{"rows": [{}]}'))[0],
            "cannot be read as scores",
        ),
        (lambda place: _file(place / "map.tif", "x") / "map.tif", "has no STAC item map.stac.json"),
    ],
)
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
    assert [cell(each) for each in (None, True, "a", 1234, 0.5, 1e-6, 0.0, 12345.678)] == [
        "",
        "True",
        "a",
        "1,234",
        "0.500",
        "1.00e-06",
        "0.000",
        "12,345.7",
    ]


def test_figures_written_as_text_stand_with_numbers():
    texts = ("", "+0.100", "0.1 to 0.2", "98.5%", "a", "1: a", "to", "-")
    assert [kind_of_cell(text) for text in texts] == [
        "text",
        "figure",
        "figure",
        "figure",
        "text",
        "text",
        "text",
        "text",
    ]
    assert kind_of_cell(3) == kind_of_cell(None) == ""


def _file(path: Path, content: str) -> Path:
    path.write_text(content)
    return path.parent


def _faults(page: Any) -> list[Any]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    violations = axe.Axe().run(page).response["violations"]
    return [violation for violation in violations if violation["impact"] in ("serious", "critical")]
