import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.disagreements import GAP_PX, sections
from bandloom.view.comparison.tested import TESTED
from tests.view.comparison.made_run import counts, make_run

NAMES = ("1: a", "2: b")


def keep(folder: Path, samples: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    arrays = {"keys": np.array(list(samples))}
    for number, (image, truth, predicted) in enumerate(samples.values()):
        arrays |= {f"image {number}": image, f"truth {number}": truth, f"predicted {number}": predicted}
    np.savez_compressed(folder / TESTED, **arrays)  # type: ignore[arg-type]


def test_panels_show_truth_both_answers_and_who_is_right(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(i)) for i, name in enumerate("ab")]
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    truth = np.array([[0, 1], [255, 2]], np.uint8)
    one, other = np.array([[0, 0], [0, 0]], np.uint8), np.array([[0, 1], [1, 1]], np.uint8)
    same = np.array([[0, 1], [0, 0]], np.uint8)
    keep(tmp_path / "a", {"s": (image, truth, one), "alike": (image, truth, same), "mine": (image, truth, one)})
    keep(tmp_path / "b", {"alike": (image, truth, same), "s": (image, truth, other)})
    [section] = sections(Compared(runs, NAMES))
    assert section.note.startswith(
        "2 test samples that both kept, 6 labels: both are right on 50.0%, only 1: a on 0.0%, only 2: b on 16.7%. The 1"
    )
    [drawn] = section.pictures
    assert drawn.note == "s: only 1 is right on 0.0%, only 2 is right on 33.3%"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.data))).convert("RGB"))
    panels = [pixels[:, start : start + 2] for start in range(0, 5 * (2 + GAP_PX), 2 + GAP_PX)]
    colour = {0: (0x1F, 0x6F, 0xD4), 1: (0x2F, 0x7D, 0x32), 2: (0xD9, 0xB6, 0x50), 255: (255, 255, 255)}
    np.testing.assert_array_equal(panels[0], image)
    for panel, classes in zip(panels[1:4], (truth, one, other), strict=True):
        np.testing.assert_array_equal(panel, [[colour[int(index)] for index in row] for row in classes])
    hexes = [["#dfe4ea", "#c2410c"], ["#a3adba", "#404650"]]  # same; only 2 is right; no label; neither is right
    shown = [["#{:02x}{:02x}{:02x}".format(*pixel) for pixel in row] for row in panels[4].tolist()]
    assert shown == hexes


def test_chips_with_another_answer_are_counted_from_the_whole_table(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(i), task="classify") for i, name in enumerate("ab")]
    image = np.full((8, 8, 3), 7, np.uint8)
    for name, answers in (("a", "water,field,field,water"), ("b", "water,water,forest,forest")):
        rows = zip("pqrs", ("water", "water", "forest", "field"), answers.split(","), strict=True)
        table = "".join(f"{key},{truth},{said}\n" for key, truth, said in rows)
        (tmp_path / name / "predictions.csv").write_text("key,truth,predicted\n" + table)
        keep(tmp_path / name, {key: (image, np.array(0, np.uint8), np.array(1, np.uint8)) for key in "pq"})
    [section] = sections(Compared(runs, NAMES))
    assert section.note == (
        "3 of 4 test chips that both answered get another class: only 1: a is right on 0, only 2: b on 2, neither on 1."
    )
    assert [picture.note for picture in section.sheet] == ["water; 1: field; 2: water"]  # the others were not kept
    assert [row[0] for row in section.folds[0].tables[0].rows] == ["q", "r", "s"]


def test_runs_that_kept_no_samples_have_no_such_part(tmp_path: Path):
    runs = [make_run(tmp_path / name, counts(i)) for i, name in enumerate("ab")]
    assert sections(Compared(runs, NAMES)) == []
