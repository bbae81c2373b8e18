"""The commands of docs/products.md, run as they stand."""

import shlex
from pathlib import Path

import pytest

from bandloom.cli import main
from tests.export.maps.maps import write_map
from tests.export.products.test_polygons import ground
from tests.export.products.test_zones import write_zones_file
from tests.test_docs_commands import blocks_of

PAGE = Path(__file__).parents[3] / "docs" / "products.md"


def test_the_commands_of_the_page_write_what_they_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map(Path("map.tif"), ground())
    zones = write_zones_file(Path("zones.geojson"))
    zones.write_text(zones.read_text().replace('"name"', '"district"'))
    lines = [line for block in blocks_of(PAGE) if block.run_by for line in block.commands]
    assert len(lines) == 4
    for line in lines:
        with pytest.raises(SystemExit) as stopped:
            main(shlex.split(line)[1:])
        assert stopped.value.code == 0
        assert Path(shlex.split(line)[shlex.split(line).index("--out") + 1]).is_file()
    assert Path("areas.csv").read_text().startswith("zone,zone_ha,mapped_ha,water_ha,water_share,")
