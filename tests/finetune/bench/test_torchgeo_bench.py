"""The adapter to torchgeo-bench on bands as its datasets describe them, and in its own class where it is installed."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from bandloom.errors import SensorError
from bandloom.finetune.bench import torchgeo_bench as adapter
from bandloom.finetune.bench.torchgeo_bench import NativeEncoder, NativeInput
from bandloom.model.checkpoint import load_encoder


@dataclass(frozen=True)
class Band:
    """The fields of ``torchgeo_bench.datasets.base.BandSpec`` that are read."""

    sensor: str
    name: str
    mean: float
    max: float


# torchgeo-bench 0.4.0, datasets/m_eurosat.py: the last five names are not those of the bands that lie there
M_EUROSAT = [
    *(("coastal_aerosol", 1360.0), ("blue", 1126.0), ("green", 1055.0), ("red", 957.0), ("red_edge_1", 1220.0)),
    *(("red_edge_2", 2052.0), ("red_edge_3", 2434.0), ("nir", 2360.0), ("red_edge_4", 751.0), ("water_vapour", 12.3)),
    *(("swir_cirrus", 1849.0), ("swir_1", 1131.0), ("swir_2", 2665.0)),
]
REALLY = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]


def bands(named: list[tuple[str, float]], largest: float = 28000.0) -> list[Band]:
    return [Band("s2", name, mean, largest) for name, mean in named]


def test_m_eurosats_channels_come_to_the_bands_that_they_really_hold():
    inputs = NativeInput(bands(M_EUROSAT))
    images = torch.arange(13.0)[None, :, None, None].expand(2, 13, 64, 64) * 100 + 50
    groups = inputs.groups(images)
    held = {}
    for group in inputs.sensor.groups:
        assert groups[group.gsd_m].shape[-1] == 66 * 10 // group.gsd_m  # 64 px, padded to 60 m
        for place, slot in enumerate(group.slots):
            held[slot] = (float(groups[group.gsd_m][0, place, 0, 0]) - 1000 - 50) / 100
    assert held == {slot: place for place, slot in enumerate(REALLY)}
    assert (groups[10][:, :, 64:] == 0).all()
    assert (groups[10][:, :, :64, :64] > 0).all()


def test_reflectance_and_ten_thousand_times_it_give_the_same_numbers():
    told = [("b02", 0.13), ("b03", 0.12), ("b8a", 0.2)]
    images = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    one = NativeInput(bands(told, 2.8)).groups(images)
    two = NativeInput(bands([(name, 1e4 * mean) for name, mean in told])).groups(images * 10_000)
    for gsd_m, group in one.items():
        assert torch.equal(group, two[gsd_m])
    expected = images[0, 2].numpy().reshape(6, 2, 6, 2).mean((1, 3)) * 10_000 + 1000  # B8A back on its 20 m
    np.testing.assert_allclose(one[20][0, 0], expected, atol=0.51)


def test_other_sensors_channels_are_left_out_and_a_dataset_without_sentinel_2_is_refused():
    radar = [Band("sar", "vv", 0.0, 108.0)]
    assert NativeInput([*radar, *bands([("red", 1000.0)])]).sensor.slots == ("B04",)
    with pytest.raises(SensorError, match="none of the bands vv is Sentinel-2's"):
        NativeInput(radar)


def test_a_vector_is_the_encoders_mean_token(encoder_folder):
    native = NativeEncoder(bands(M_EUROSAT), str(encoder_folder))
    images = 500 + 1000 * torch.rand(2, 13, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = (
            load_encoder(encoder_folder).eval().forward_features(native.inputs.groups(images), native.inputs.sensor)
        )
    torch.testing.assert_close(native(images), tokens.mean(1))


def test_torchgeo_benchs_own_class_passes_raw_values_on(encoder_folder):
    base = pytest.importorskip("torchgeo_bench.datasets.base")
    spec = [base.BandSpec("s2", name, name, mean=mean, std=1.0, min=0.0, max=28000.0) for name, mean in M_EUROSAT]
    model = adapter.BandloomBench(bands=spec, checkpoint=str(encoder_folder), name="bandloom")
    images = 500 + 1000 * torch.rand(2, 13, 64, 64)
    torch.testing.assert_close(model(images), NativeEncoder(spec, str(encoder_folder))(images))
