import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bandloom.errors import BundleError, SceneError
from bandloom.export.bundle.tiling import mirror
from bandloom.export.predict.scene_mapper import Pace, SceneMapper, check_sensor
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.rasters.values import valid
from bandloom.sensors import get_sensor
from tests.export.array_scene import random_scene
from tests.export.tiny_model import TILING, tiny_contract, write_tiny_model

SENSORS = ("sentinel2-l1c", "landsat89-l1", "theos1")


@pytest.fixture(scope="module")
def runners(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name in SENSORS:
        write_tiny_model(folder / f"{name}.onnx", tiny_contract(get_sensor(name)))
        found[name] = OnnxRunner(folder / f"{name}.onnx", threads=1)
    return found


def mapped(runner, scene, pace=None, shift_px=0, from_px=0):
    mapper = SceneMapper(runner, TILING, 4, lambda: scene, pace=pace, shift_px=shift_px)
    rows = list(mapper.rows(from_px))
    tops = [part.top_px for part in rows]
    assert tops == [from_px, *(np.cumsum([part.logits.shape[1] for part in rows])[:-1] + from_px).tolist()]
    return np.concatenate([r.logits for r in rows], axis=1), np.concatenate([r.measured for r in rows])


def naive(runner, scene, shift_px=0):
    """Two plain loops over all tiles of the whole scene in memory."""
    cells = {g: (dn.shape[1] * g // 60, dn.shape[2] * g // 60) for g, dn in scene.groups.items()}
    rows, columns = next(iter(cells.values()))
    height, width = rows * 6, columns * 6
    starts = TILING.starts(height, shift_px), TILING.starts(width, shift_px)
    margin, core = TILING.margin_px, TILING.core_px
    sums = np.zeros((4, height + 200, width + 200), np.float64)
    weights = np.zeros((height + 200, width + 200), np.float64)
    finest = min(scene.groups)
    for y in starts[0]:
        for x in starts[1]:
            tile = {}
            for g, dn in scene.groups.items():
                ys = mirror(np.arange((y - margin) * 10 // g, (y + margin + core) * 10 // g), dn.shape[1])
                xs = mirror(np.arange((x - margin) * 10 // g, (x + margin + core) * 10 // g), dn.shape[2])
                tile[g] = dn[:, ys][:, :, xs][None]
            here = scene.groups[finest][
                :,
                max(y, 0) * 10 // finest : -(-(y + core) * 10 // finest),
                max(x, 0) * 10 // finest : -(-(x + core) * 10 // finest),
            ]
            if not valid(here).any():
                continue
            logits = runner.run(tile)[0, :, margin : margin + core, margin : margin + core]
            sums[:, y + 100 : y + 100 + core, x + 100 : x + 100 + core] += logits * TILING.weights
            weights[y + 100 : y + 100 + core, x + 100 : x + 100 + core] += TILING.weights
    out_h, out_w = int(np.ceil(scene.height_m / 10)), int(np.ceil(scene.width_m / 10))
    view = (slice(100, 100 + out_h), slice(100, 100 + out_w))
    with np.errstate(invalid="ignore"):
        return (sums / weights)[(slice(None), *view)]


def measured_pixels(scene):
    finest = min(scene.groups)
    there = valid(scene.groups[finest]).any(axis=0)
    rows = ((np.arange(int(np.ceil(scene.height_m / 10))) + 0.5) * 10 // finest).astype(int)
    columns = ((np.arange(int(np.ceil(scene.width_m / 10))) + 0.5) * 10 // finest).astype(int)
    return there[rows][:, columns]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(SENSORS),
    cells=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    seed=st.integers(0, 1000),
    holes=st.integers(0, 3),
    ragged=st.sampled_from([0, 0, 30]),
    pace=st.builds(Pace, batch=st.integers(1, 9), strip_rows=st.integers(1, 4), readers=st.integers(1, 3)),
    shifted=st.booleans(),
)
def test_logits_equal_a_double_loop_over_the_same_tiles(runners, name, cells, seed, holes, ragged, pace, shifted):
    scene = random_scene(get_sensor(name), cells, seed, holes=holes, ragged_m=ragged)
    shift = TILING.half_stride_px if shifted else 0
    logits, measured = mapped(runners[name], scene, pace, shift)
    np.testing.assert_array_equal(measured, measured_pixels(scene))
    expected = naive(runners[name], scene, shift)
    assert logits.shape == expected.shape
    np.testing.assert_allclose(logits[:, measured], expected[:, measured], atol=1e-5, rtol=1e-5)


def test_going_on_from_any_row_gives_the_same_bits(runners):
    scene = random_scene(get_sensor("sentinel2-l1c"), (23, 9), 5, holes=2)
    whole, measured = mapped(runners["sentinel2-l1c"], scene)
    for from_px in (1, 23, 24, 50, 96, 131, 137):  # of 138
        rest, rest_measured = mapped(runners["sentinel2-l1c"], scene, from_px=from_px)
        np.testing.assert_array_equal(rest, whole[:, from_px:])
        np.testing.assert_array_equal(rest_measured, measured[from_px:])


def test_a_scene_that_was_mapped_to_the_end_has_no_rows_left(runners):
    scene = random_scene(get_sensor("sentinel2-l1c"), (23, 9), 5)
    assert list(SceneMapper(runners["sentinel2-l1c"], TILING, 4, lambda: scene).rows(23 * 6)) == []


class _Slow:
    """An engine that says when it is asked, over another."""

    name, lanes = "slow", 1

    def __init__(self, runner):
        self.asked, self._runner = 0, runner

    def run(self, groups):
        self.asked += 1
        return self._runner.run(groups)


def test_the_engine_works_on_the_next_strip_while_the_last_one_is_taken(runners):
    scene = random_scene(get_sensor("sentinel2-l1c"), (23, 9), 5)
    slow = _Slow(runners["sentinel2-l1c"])
    rows = SceneMapper(slow, TILING, 4, lambda: scene, pace=Pace(batch=9)).rows()  # one batch a strip
    next(rows)
    deadline = time.monotonic() + 10
    while slow.asked < 2:
        assert time.monotonic() < deadline, "the engine waits for whoever takes the rows"
        time.sleep(0.01)
    assert len(list(rows)) > 2


def test_a_scene_without_data_runs_no_tile(runners):
    scene = random_scene(get_sensor("sentinel2-l1c"), (12, 12), 0)
    for dn in scene.groups.values():
        dn[:] = 0
    scene.groups[10][:, 3] = 65535
    mapper = SceneMapper(runners["sentinel2-l1c"], TILING, 4, lambda: scene)
    assert not any(rows.measured.any() for rows in mapper.rows())
    assert mapper.skipped == mapper.tiles


def test_the_scene_is_read_once_from_top_to_bottom_and_never_as_a_whole(runners):
    scene = random_scene(get_sensor("sentinel2-l1c"), (60, 8), 0)
    windows = []
    plain = scene.read
    scene.read = lambda window: windows.append(window) or plain(window)
    mapped(runners["sentinel2-l1c"], scene)
    ends = [y + height for _, y, _, height in windows]
    assert [y for _, y, _, _ in windows] == [0, *ends[:-1]]
    assert ends[-1] == 3600
    assert max(height for *_, height in windows) <= 480


class _Broken:
    name = "broken"
    lanes = 1

    def run(self, groups):
        return np.full((len(groups[10]), 4, 48, 48), np.nan, np.float32)


def test_logits_that_are_not_finite_stop_the_map():
    scene = random_scene(get_sensor("sentinel2-l1c"), (12, 12), 0)
    with pytest.raises(BundleError, match="not finite"):
        list(SceneMapper(_Broken(), TILING, 4, lambda: scene).rows())


def test_a_reader_that_fails_ends_the_map_with_its_own_error(runners):
    scene = random_scene(get_sensor("sentinel2-l1c"), (60, 8), 0)
    plain = scene.read

    def vanishing(window):
        if window[1] > 1000:
            raise SceneError("the scene went away")
        return plain(window)

    scene.read = vanishing
    with pytest.raises(SceneError, match="went away"):
        mapped(runners["sentinel2-l1c"], scene, Pace(readers=3))


def test_a_scene_of_another_sensor_is_refused():
    l1c, l2a = get_sensor("sentinel2-l1c"), get_sensor("sentinel2-l2a")
    check_sensor(l1c, l1c, "scene")
    with pytest.raises(SceneError, match=r"scene of 'sentinel2-l2a' \(12 bands.*made for 'sentinel2-l1c'.*--sensor"):
        check_sensor(l2a, l1c, "a scene")
