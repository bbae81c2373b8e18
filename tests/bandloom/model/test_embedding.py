"""Native samples to tokens: the same number as resampling, the same size whatever is missing."""

import numpy as np
import pytest
import rasterio.warp
import torch
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from bandloom.errors import BandloomError
from bandloom.model.embedding import TokenEmbedding, carry_over, patchify, unpatchify
from bandloom.model.encoder import drop_slots
from bandloom.model.statistics import Statistics
from bandloom.model.token_layout import area_overlap, reference_layout, token_layout
from bandloom.sensors import SENSORS, SLOTS, Band, Sensor, get_sensor

STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.05))
S2 = get_sensor("sentinel2-l1c")


def random_groups(sensor: Sensor, side_m: int, seed: int = 0, batch: int = 2) -> dict[int, torch.Tensor]:
    rng = np.random.default_rng(seed)
    shape = lambda g: (batch, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m)  # noqa: E731
    return {g.gsd_m: torch.from_numpy(rng.integers(1500, 3500, shape(g)).astype(np.uint16)) for g in sensor.groups}


def embedding(token_m: int = 60, width: int = 64) -> TokenEmbedding:
    torch.manual_seed(0)
    return TokenEmbedding(width, token_m, STATISTICS)


def test_a_token_of_sixty_metres_holds_201_samples() -> None:
    assert reference_layout(60).samples == 4 * 36 + 6 * 9 + 3 == 201


def test_patchify_keeps_the_ground_of_a_token_together() -> None:
    pixels = torch.arange(2 * 12 * 18).reshape(1, 2, 12, 18)
    tokens = patchify(pixels, 6)
    assert tokens.shape == (1, 6, 72)
    assert torch.equal(tokens[0, 4].reshape(2, 6, 6), pixels[0, :, 6:12, 6:12])
    assert torch.equal(unpatchify(tokens, 6, rows=2), pixels)


@pytest.mark.parametrize("gsd_m", [10, 12, 15, 20, 30, 60])
@pytest.mark.parametrize("token_m", [60, 120])
def test_a_carried_over_weight_equals_resampling_the_pixels_by_area(gsd_m: int, token_m: int) -> None:
    """The oracle is GDAL's area-weighted resampling of the pixels onto the slot's own grid."""
    rng = np.random.default_rng(gsd_m)
    sensor = Sensor("odd", "toa", (Band("nir", 865, 20, gsd_m, "B8A"),))
    given, native = token_layout(sensor, token_m), token_layout(S2.subset(["B8A"]), token_m)
    weight = torch.from_numpy(rng.normal(size=(8, native.samples)).astype(np.float32))
    pixels = rng.normal(size=(token_m // gsd_m,) * 2).astype(np.float32)
    resampled = np.zeros((token_m // 20,) * 2, np.float32)
    rasterio.warp.reproject(
        pixels,
        resampled,
        src_crs="EPSG:32633",
        dst_crs="EPSG:32633",
        src_transform=from_origin(0, 0, gsd_m, gsd_m),
        dst_transform=from_origin(0, 0, 20, 20),
        resampling=Resampling.average,
    )
    if gsd_m > 20:  # GDAL's average needs a finer source than the target; cut cells of 20 m out of the coarse ones
        fine = np.kron(pixels, np.ones((gsd_m // 10,) * 2, np.float32))
        resampled = fine.reshape(token_m // 20, 2, token_m // 20, 2).mean((1, 3))
    expected = weight.numpy() @ resampled.ravel()
    carried = carry_over(weight, native, given).numpy() @ pixels.ravel()
    np.testing.assert_allclose(carried, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("out_side", "in_side"), [(3, 2), (6, 4), (2, 3), (3, 3), (1, 5), (6, 1)])
def test_area_overlap_keeps_a_constant_and_the_mean(out_side: int, in_side: int) -> None:
    matrix = area_overlap(out_side, in_side)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    values = np.random.default_rng(0).normal(size=in_side)
    assert np.isclose((matrix @ values).mean(), values.mean())


def test_every_slot_starts_with_the_same_output_variance() -> None:
    module = embedding(width=4096)
    deviations = []
    for slot in module.layout.slots:
        samples = torch.randn(2000, slot.side**2)
        deviations.append((samples @ module.weight[:, slot.start : slot.stop].T).std().item())
    assert max(deviations) / min(deviations) < 1.3


@pytest.mark.parametrize("slots", [("B02", "B03", "B04"), ("B01", "B09", "B10"), SENSORS["sentinel2-l2a"].slots])
def test_absent_bands_leave_the_size_of_a_token_as_it_was(slots: tuple[str, ...]) -> None:
    module = embedding(width=512)
    samples, valid = torch.randn(4, 36, 201) / 2, torch.ones(4, 36, 201, dtype=torch.bool)
    whole = module(samples, valid, S2).std()
    dropped = torch.tensor([[slot not in slots for slot in SLOTS]]).expand(4, -1)
    part = module(samples, drop_slots(valid, S2, 60, dropped), S2).std()
    # the scale goes by samples, not by slots: three 60 m bands are 3 of 201 samples but 3 of 13 slots
    assert 0.5 < part / whole < 5


def test_zero_filling_would_shrink_a_token_where_absence_does_not() -> None:
    module = embedding(width=512)
    samples, valid = torch.randn(4, 36, 201) / 2, torch.ones(4, 36, 201, dtype=torch.bool)
    kept = torch.tensor(module.layout.slot_of_sample()) < 6
    zero_filled = module(samples * kept, valid, S2).std()
    absent = module(samples, valid & kept, S2).std()
    assert zero_filled < 0.85 * module(samples, valid, S2).std()
    assert absent > zero_filled


def test_what_an_absent_sample_holds_changes_nothing() -> None:
    module = embedding()
    groups = random_groups(S2, 240)
    groups[10][:, :, :5, :7] = 0
    groups[20][:, 2] = 65535
    samples, valid = module.samples(groups, S2)
    first = module(samples, valid, S2)
    assert torch.equal(first, module(torch.where(valid, samples, 99.0), valid, S2))
    assert torch.isfinite(first).all()


def test_a_chip_of_padding_alone_is_finite() -> None:
    module = embedding()
    groups = {gsd: torch.zeros_like(group) for gsd, group in random_groups(S2, 120).items()}
    assert torch.isfinite(module(*module.samples(groups, S2), S2)).all()


def test_two_by_two_landsat_and_four_by_four_theos_samples_embed() -> None:
    module = embedding()
    for name, count in (("landsat89-l1", 8 * 4), ("theos1", 4 * 16)):
        sensor = get_sensor(name)
        samples, valid = module.samples(random_groups(sensor, 240), sensor)
        assert samples.shape == (2, 16, count)
        assert module(samples, valid, sensor).shape == (2, 16, 64)


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ({10: (2, 4, 24, 24), 20: (2, 6, 12, 12)}, "has the band groups"),
        ({10: (2, 3, 24, 24), 20: (2, 6, 12, 12), 60: (2, 3, 4, 4)}, "has the band groups"),
        ({10: (2, 4, 24, 24), 20: (2, 6, 12, 12), 60: (2, 3, 5, 4)}, "cover different ground"),
        ({10: (2, 4, 22, 24), 20: (2, 6, 11, 12), 60: (2, 3, 4, 4)}, "cover different ground"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: dict, sentence: str) -> None:
    with pytest.raises(BandloomError, match=sentence):
        embedding().samples({gsd: torch.ones(shape) for gsd, shape in groups.items()}, S2)


def test_a_slot_without_statistics_is_refused_by_name() -> None:
    module = TokenEmbedding(8, 60, Statistics(mean={"B02": 0.1}, std={"B02": 0.1}))
    with pytest.raises(BandloomError, match="no statistics for B01, B03"):
        module.samples(random_groups(S2, 60), S2)
