import hashlib
import json
import shutil
from collections import Counter

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.build.build import build
from bandloom.shards.build.cutting import cut_scene
from bandloom.shards.build.plan import BuildOptions, make_plan
from bandloom.shards.build.unit import run_unit
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import grid, open_scene
from bandloom.shards.scenes.checksums import at_a_glance
from tests.shards.safe_product import native_bands, write_safe


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """An L1C product of 3000 m in tiles of 64 pixels, which no strip of 40 rows divides."""
    return write_safe(tmp_path_factory.mktemp("safe"), native_bands(3000))


@pytest.fixture
def decoded(monkeypatch):
    """Count how often each block of each file is asked for, as rows of blocks: ``{(file, band, block row): times}``."""
    counts = Counter()
    real = grid.read_raster

    def counting(raster, path, **arguments):
        if (window := arguments.get("window")) is not None:
            high = raster.block_shapes[0][0]
            assert (window.col_off, window.width) == (0, raster.width)
            for row in range(window.row_off // high, (window.row_off + window.height - 1) // high + 1):
                counts[str(path), row] += 1
        return real(raster, path, **arguments)

    monkeypatch.setattr(grid, "read_raster", counting)
    return counts


def test_a_walk_down_a_product_asks_for_every_tile_exactly_once(product, decoded):
    with open_scene(product) as scene:
        decoded.clear()
        cuts = list(cut_scene(scene, 400 * 3 // 2))
    tiles = {10: 5, 20: 3, 60: 1}  # rows of 64-pixel tiles at each sampling: 300, 150 and 50 pixels
    files = {path.rsplit("_", 1)[1]: 0 for path, _ in decoded}
    assert len(cuts) == 25
    assert set(decoded.values()) == {1}
    assert len(decoded) == 4 * tiles[10] + 6 * tiles[20] + 3 * tiles[60] + 1  # and the cloud mask
    assert len(files) == 14


@pytest.mark.parametrize("side_px", [60, 66, 300, 348])
def test_a_walk_gives_what_single_windows_give(product, side_px):
    with open_scene(product) as scene, open_scene(product) as other:
        for cut in cut_scene(scene, side_px * 10):
            groups = other.read(cut.window_m)
            for gsd, pixels in cut.groups.items():
                np.testing.assert_array_equal(pixels, groups[gsd])
            np.testing.assert_array_equal(cut.cloud, other.cloud(cut.window_m))


def test_a_scene_that_fails_halfway_leaves_no_trace_in_its_units_tars(product, write_stack, tmp_path, monkeypatch):
    monkeypatch.setattr("bandloom.shards.build.unit.TAR_SAMPLES", 7)
    folders = {}
    for name in ("a", "z"):  # one scene before the one that fails, one after it
        folders[name] = tmp_path / f"{name}.tif"
        write_stack(folders[name])
    options = BuildOptions(60)
    build([str(folders["a"]), str(folders["z"])], tmp_path / "whole", options)
    plan = make_plan([str(folders["a"]), str(product), str(folders["z"])], options)
    assert plan.units == ((0, 1, 2),)
    from bandloom.shards.scenes.raster import RasterScene

    real, reads = RasterScene.read, []

    def failing(self, window_m):
        if "MSIL1C" in self.name:
            reads.append(window_m)
            if len(reads) == 3:  # ten samples of the product are in two tars already
                raise SceneError("it cannot be read any further.")
        return real(self, window_m)

    monkeypatch.setattr(RasterScene, "read", failing)
    (tmp_path / "work").mkdir()
    record = run_unit(plan, 0, tmp_path / "work")
    assert [each["reason"] for each in record["quarantine"]] == ["it cannot be read any further."]
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir() if p.name.startswith("0")
    )
    for path in (tmp_path / "work").iterdir():
        wanted = (tmp_path / "whole" / path.name).read_bytes()
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(wanted).digest(), path.name


def test_a_builds_plan_reads_no_pixel_and_no_checksum_and_the_build_finds_the_damage(
    product, write_stack, tmp_path, monkeypatch
):
    scenes = tmp_path / "scenes"
    root = shutil.copytree(product, scenes / product.name)
    write_stack(scenes / "whole.tif")
    image = next(root.rglob("*_B05.jp2"))
    image.write_bytes(image.read_bytes()[:-9] + bytes(9))
    with pytest.raises(RuntimeError, match="opened at a glance"), at_a_glance(), open_scene(root) as scene:
        scene.read((0, 0, 600, 600))
    with monkeypatch.context() as patch:
        patch.setattr(grid, "read_raster", None)
        patch.setattr("bandloom.shards.scenes.probe.read_raster", None)
        patch.setattr("bandloom.shards.scenes.readers.product.hashlib", None)
        assert make_plan([str(scenes)], BuildOptions(60)).failures == {}
    thorough = make_plan([str(scenes)], BuildOptions(60), thorough=True)
    assert "_B05.jp2 is damaged" in thorough.failures[0]
    build([str(scenes)], tmp_path / "out", BuildOptions(60))
    (reason,) = [json.loads(line)["reason"] for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert "_B05.jp2 is damaged" in reason
    assert {entry.key.rsplit("_r", 1)[0] for entry in ShardSet(tmp_path / "out").entries} == {"whole"}
