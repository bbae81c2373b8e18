"""The page on regression, typed as it stands."""

import os
import re
import shlex
from pathlib import Path

import pytest
import rasterio

from bandloom.cli import main
from bandloom.scores import read_scores

PAGE = (Path(__file__).parents[3] / "docs" / "tutorial-regression.md").read_text()
BLOCK = re.compile(r"```(bash|python|yaml)\n(.*?)```", re.DOTALL)


@pytest.mark.slow
def test_the_page_goes_from_rasters_to_a_map_and_from_a_table_to_scores(tmp_path):
    was = Path.cwd()
    os.chdir(tmp_path)
    try:
        Path("regress.yaml").write_text(next(text for kind, text in BLOCK.findall(PAGE) if kind == "yaml"))
        for kind, text in BLOCK.findall(PAGE):
            if kind == "python":
                exec(compile(text, "tutorial-regression.md", "exec"), {})
            for line in text.splitlines() if kind == "bash" else ():
                with pytest.raises(SystemExit) as end:
                    main(shlex.split(line)[1:])
                assert not end.value.code, line
        for run, unit in (("run", "m"), ("chip_run", "t/ha")):
            record = read_scores(Path(run, "metrics.json"))
            assert record.target is not None
            assert record.target.unit == unit
            assert [row.kind for row in record.rows] == ["model", "trivial", "classic", "classic", "classic"]
        with rasterio.open("height.tif") as raster:
            assert raster.units == ("m",)
            assert 0 < float(raster.read(1).mean()) < 40
        assert "RMSE" in Path("report.html").read_text()
    finally:
        os.chdir(was)
