"""Sensors are frozen records; what is not known is an error that names the nearest."""

import pytest
import yaml

from bandloom.errors import SensorError
from bandloom.sensors import SENSORS, SLOT_GSD_M, SLOTS, Sensor, get_sensor


def test_sentinel2_l1c_has_thirteen_bands_in_three_native_groups() -> None:
    sensor = get_sensor("sentinel2-l1c")
    assert sensor.slots == SLOTS
    assert {g.gsd_m: g.slots for g in sensor.groups} == {
        10: ("B02", "B03", "B04", "B08"),
        20: ("B05", "B06", "B07", "B8A", "B11", "B12"),
        60: ("B01", "B09", "B10"),
    }


def test_l2a_lacks_the_cirrus_band_alone() -> None:
    assert set(SLOTS) - set(get_sensor("sentinel2-l2a").slots) == {"B10"}


def test_landsat_near_infrared_goes_to_the_narrow_slot() -> None:
    assert get_sensor("landsat89-l1").band("B5").slot == "B8A"


def test_a_two_metre_sensor_is_stored_at_ten_metres() -> None:
    assert [group.gsd_m for group in get_sensor("theos2").groups] == [10]


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=lambda sensor: sensor.name)
def test_every_band_lies_near_the_slot_it_fills(sensor: Sensor) -> None:
    reference = {band.slot: band.centre_nm for band in SENSORS["sentinel2-l1c"].bands}
    for band in sensor.bands:
        if band.slot:
            assert abs(band.centre_nm - reference[band.slot]) < 25


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=lambda sensor: sensor.name)
def test_a_record_survives_its_own_json(sensor: Sensor) -> None:
    assert Sensor.from_dict(sensor.to_dict()) == sensor


def test_an_unknown_sensor_names_the_nearest() -> None:
    with pytest.raises(SensorError, match="Did you mean 'sentinel2-l1c'"):
        get_sensor("sentinel2-l1")


def test_an_unknown_band_names_the_nearest() -> None:
    with pytest.raises(SensorError, match=r"no band 'B8'.*Did you mean"):
        get_sensor("sentinel2-l1c").band("B8")


def test_a_users_own_sensor_is_a_yaml_record(tmp_path) -> None:
    record = {
        "name": "mine",
        "reflectance": "toa",
        "bands": [
            {"name": "red", "centre_nm": 660, "fwhm_nm": 40, "gsd_m": 12, "slot": "B04"},
            {"name": "pan", "centre_nm": 600, "fwhm_nm": 300, "gsd_m": 3, "slot": None},
        ],
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(record))
    sensor = get_sensor(str(path))
    assert sensor.slots == ("B04",)
    assert sensor.groups[0].gsd_m == 12


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"slot": "B13"}, "slot 'B13', which does not exist"),
        ({"gsd_m": 25}, "does not divide a 60 m token"),
        ({"centre_nm": -1}, "positive centre_nm"),
        ({"unit": "nm"}, "cannot be used"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(change: dict, sentence: str) -> None:
    band = {"name": "red", "centre_nm": 660, "fwhm_nm": 40, "gsd_m": 10, "slot": "B04"} | change
    with pytest.raises(SensorError, match=sentence):
        Sensor.from_dict({"name": "mine", "reflectance": "toa", "bands": [band]})


def test_two_bands_cannot_fill_one_slot() -> None:
    bands = [{"name": n, "centre_nm": 660, "fwhm_nm": 40, "gsd_m": 10, "slot": "B04"} for n in "ab"]
    with pytest.raises(SensorError, match="fills slot B04 twice"):
        Sensor.from_dict({"name": "mine", "reflectance": "toa", "bands": bands})


def test_every_slot_has_a_native_grid() -> None:
    assert set(SLOT_GSD_M) == set(SLOTS)
