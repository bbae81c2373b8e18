import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.rasters.values import reflectance_to_dn
from bandloom.sensors import get_sensor
from bandloom.shards.scenes.atmosphere import correct, dark_reflectance

S2 = get_sensor("sentinel2-l1c")
HAZE = {
    "B01": 0.11,
    "B02": 0.09,
    "B03": 0.06,
    "B04": 0.04,
    "B05": 0.035,
    "B06": 0.03,
    "B07": 0.025,
    "B08": 0.02,
    "B8A": 0.018,
    "B11": 0.004,
    "B12": 0.002,
}


def ground(haze, dimming=1.0):
    """A scene whose darkest object reflects one per cent in every band, under a known haze."""
    rng, groups = np.random.default_rng(0), {}
    for group in S2.groups:
        side = 720 // group.gsd_m * 6
        layers = []
        for band in group.bands:
            rho = 0.01 + 0.4 * rng.random((side, side))
            rho[: side // 4] = 0.01
            dim = dimming if band.centre_nm < 1000 else 1.0
            layers.append(reflectance_to_dn(rho * dim + haze.get(band.slot, 0.0)))
        groups[group.gsd_m] = np.stack(layers)
    return groups


def by_slot(groups):
    return {slot: groups[g.gsd_m][k] for g in S2.groups for k, slot in enumerate(g.slots)}


def test_dos1_takes_a_known_haze_away():
    clear, hazy = ground({}), ground(HAZE)
    dark = dark_reflectance(S2, by_slot(hazy))
    corrected = by_slot(correct(hazy, S2, dark, "dos1"))
    for slot, pixels in by_slot(clear).items():
        assert np.abs(corrected[slot].astype(int) - pixels.astype(int)).max() <= 2, slot


def test_cost_also_undoes_the_suns_slant_below_one_micrometre():
    elevation = 50.0
    clear, hazy = ground({}), ground(HAZE, dimming=np.sin(np.radians(elevation)))
    corrected = by_slot(correct(hazy, S2, dark_reflectance(S2, by_slot(hazy)), "cost", elevation))
    for slot, pixels in by_slot(clear).items():  # the dark ground too, which has one per cent again
        if slot not in ("B09", "B10"):
            assert np.abs(corrected[slot].astype(int) - pixels.astype(int)).max() <= 2, slot


def test_gas_bands_absent_and_saturated_samples_stay_as_they_are():
    hazy = ground(HAZE)
    hazy[10][0, 0, :2] = 0, 65535
    corrected = correct(hazy, S2, dark_reflectance(S2, by_slot(hazy)), "dos1")
    np.testing.assert_array_equal(corrected[60][1:], hazy[60][1:])
    assert corrected[10][0, 0, :2].tolist() == [0, 65535]


def test_a_dark_value_never_rises_with_wavelength():
    hazy = ground(HAZE | {"B05": 0.2})
    dark = dark_reflectance(S2, by_slot(hazy))
    values = [dark[slot] for slot in HAZE]
    assert values == sorted(values, reverse=True)


def test_what_cannot_be_corrected_is_refused():
    hazy = ground(HAZE)
    with pytest.raises(SceneError, match="surface reflectance"):
        dark_reflectance(get_sensor("sentinel2-l2a"), by_slot(hazy))
    with pytest.raises(SceneError, match="use dos1"):
        correct(hazy, S2, {}, "cost", 20.0)
    with pytest.raises(SceneError, match="not known"):
        correct(hazy, S2, {}, "flaash")
    with pytest.raises(SceneError, match="a dark object needs 1000"):
        dark_reflectance(S2, {slot: np.zeros((10, 10), np.uint16) for slot in S2.slots})


def test_a_build_corrects_scene_by_scene_and_says_so(tmp_path, write_stack, command):
    rng = np.random.default_rng(3)
    pixels = rng.integers(1500, 3000, (13, 240, 240), dtype=np.uint16)
    pixels[:, :60] = 1400
    pixels[10] = 1010
    path = write_stack(tmp_path / "hazy.tif", pixels)
    code, said = command("shards", "build", path, "--out", tmp_path / "out", "--atmosphere", "dos1")
    assert code == 0, said
    from bandloom.shards.read.shard_set import ShardSet

    found = ShardSet(tmp_path / "out")
    assert found.read(0).groups[10].min() == 1100  # one per cent
    assert found.manifest["sources"]["hazy"]["dark_reflectance"]["B02"] == pytest.approx(0.04)
    code, said = command("shards", "build", path, "--out", tmp_path / "cost", "--atmosphere", "cost")
    assert code == 2
    assert "does not state the sun's height" in said
    l2a = write_stack(tmp_path / "l2a.tif", np.delete(pixels, 10, 0), names=get_sensor("sentinel2-l2a").slots)
    code, said = command("shards", "build", l2a, "--out", tmp_path / "l2a", "--atmosphere", "dos1")
    assert code == 2
    assert "surface reflectance" in said
