import dataclasses
from pathlib import Path

import numpy as np

from bandloom.rasters.png import png
from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.pictures import sections
from tests.view.comparison.made_run import counts, make_run


def test_pictures_of_one_name_stand_beside_each_other_and_others_do_not(tmp_path: Path):
    runs = []
    for name, stems in (("a", ("confusion", "scatter")), ("b", ("confusion", "reliability"))):
        record = make_run(tmp_path / name, counts(0))
        for stem in stems:
            (tmp_path / name / f"{stem}.png").write_bytes(png(np.zeros((2, 2, 4), np.uint8)))
        runs.append(dataclasses.replace(record, pictures=[tmp_path / name / f"{stem}.png" for stem in stems]))
    [section] = sections(Compared(runs, ("1: a", "2: b")))
    assert [picture.note for picture in section.pictures] == ["1: a", "2: b"]
    assert [picture.name for picture in section.pictures] == ["confusion", "confusion"]
