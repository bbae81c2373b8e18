"""The filter stem: beside a naive loop, within its token, whatever bands there are."""

import numpy as np
import pytest
import torch

from bandloom.model.embedding import TokenEmbedding
from bandloom.model.encoder import Encoder, EncoderConfig, drop_slots, take_tokens
from bandloom.model.statistics import Statistics
from bandloom.model.stem import RECTIFIED_MEAN, FilterStem, slots_of, to_pixels
from bandloom.model.token_layout import token_layout
from bandloom.sensors import SLOTS, get_sensor
from tests.bandloom.model.test_embedding import random_groups

STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.05))
S2 = get_sensor("sentinel2-l1c")
DEMO = EncoderConfig(embed_dim=32, depth=2, num_heads=2, stem_filters=12)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(DEMO, STATISTICS).eval()


def by_loop(stem: FilterStem, planes: np.ndarray, present: int) -> np.ndarray:
    """The token of one set of bands at 10 m ``(13, n, n)``, absent ones 0, by loops over filters and places."""
    weight, bias, mix = (p.detach().double().numpy() for p in (stem.weight, stem.bias, stem.mix))
    places = planes.shape[-1] - 2
    pooled = np.zeros(len(weight))
    for f in range(len(weight)):
        for y in range(places):
            for x in range(places):
                response = 0.0
                for c in range(len(planes)):
                    response += (weight[f, c] * planes[c, y : y + 3, x : x + 3]).sum()
                pooled[f] += max(0.0, response * (13 / present) ** 0.5 + bias[f]) / places**2
    return mix @ (pooled - RECTIFIED_MEAN)


@pytest.mark.parametrize("name", ["sentinel2-l1c", "sentinel2-l2a", "landsat89-l1"])
@pytest.mark.parametrize("token_m", [60, 120])
def test_a_token_is_what_a_loop_over_filters_and_places_gives(name: str, token_m: int) -> None:
    torch.manual_seed(1)
    sensor, module = get_sensor(name), TokenEmbedding(16, token_m, STATISTICS, stem_filters=5)
    plain = TokenEmbedding(16, token_m, STATISTICS)
    plain.load_state_dict({k: v for k, v in module.state_dict().items() if not k.startswith("stem.")})
    groups = random_groups(sensor, 2 * token_m, batch=1)
    samples, valid = module.samples(groups, sensor)
    told = (module(samples, valid, sensor) - plain(samples, valid, sensor))[0]
    planes = np.zeros((13, 2 * token_m // 10, 2 * token_m // 10))
    for group in sensor.groups:
        for index, slot in enumerate(group.slots):
            values = ((groups[group.gsd_m][0, index].numpy().astype(float) - 1000) / 10000 - 0.15) / 0.1
            factor = group.gsd_m // 10
            planes[SLOTS.index(slot)] = np.kron(values, np.ones((factor, factor)))
    n = token_m // 10
    for token in range(4):
        y, x = token // 2 * n, token % 2 * n
        own = planes[:, y : y + n, x : x + n]
        expected = by_loop(module.stem, own, len(sensor.slots))  # type: ignore[arg-type]
        np.testing.assert_allclose(told[token].detach().numpy(), expected, atol=2e-5)


def test_samples_of_fifteen_metres_come_to_pixels_by_area() -> None:
    layout = token_layout(get_sensor("theos1"), 60)
    samples = np.random.default_rng(0).normal(size=layout.samples).astype(np.float32)
    fine = to_pixels(torch.from_numpy(samples)[None], layout)[0].numpy()
    steps = np.kron(samples.reshape(4, 4, 4), np.ones((6, 6))).reshape(4, 6, 4, 6, 4).mean((2, 4))  # of 2.5 m
    np.testing.assert_allclose(fine, steps, atol=1e-6)
    assert slots_of(layout).tolist() == [SLOTS.index(slot) for slot in get_sensor("theos1").slots]


def test_other_tokens_change_nothing() -> None:
    """What is hidden would be told by its neighbours if filters reached across."""
    module, groups = encoder().embed, random_groups(S2, 180)
    before = module(*module.samples(groups, S2), S2)
    for gsd, group in groups.items():
        group[..., : 60 // gsd, : 60 // gsd] = 2222  # the first token of nine
    after = module(*module.samples(groups, S2), S2)
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert not torch.allclose(before[:, 0], after[:, 0])


def test_a_selection_of_tokens_is_embedded_as_among_all() -> None:
    module, groups = encoder().embed, random_groups(S2, 240)
    samples, valid = module.samples(groups, S2)
    ids = torch.tensor([[3, 7, 1], [15, 0, 4]])
    some = module(take_tokens(samples, ids), take_tokens(valid, ids), S2)
    torch.testing.assert_close(some, take_tokens(module(samples, valid, S2), ids))


def test_an_absent_band_is_one_that_the_sensor_lacks() -> None:
    module = encoder().embed
    lacking = S2.subset([slot for slot in SLOTS if slot not in ("B08", "B11", "B01")])
    groups = random_groups(S2, 120)
    samples, valid = module.samples(groups, S2)
    dropped = torch.tensor([[slot not in lacking.slots for slot in SLOTS]]).expand(2, -1)
    of = {group.gsd_m: group.slots for group in S2.groups}
    given = {
        group.gsd_m: groups[group.gsd_m][:, [of[group.gsd_m].index(slot) for slot in group.slots]]
        for group in lacking.groups
    }
    own = module(*module.samples(given, lacking), lacking)
    seen = drop_slots(valid, S2, 60, dropped)
    torch.testing.assert_close(module(samples, seen, S2), own, atol=1e-4, rtol=1e-4)
    assert torch.equal(module(samples, seen, S2), module(torch.where(seen, samples, 99.0), seen, S2))


def test_a_chip_of_padding_alone_is_finite() -> None:
    module = encoder().embed
    groups = {gsd: torch.zeros_like(group) for gsd, group in random_groups(S2, 120).items()}
    assert torch.isfinite(module(*module.samples(groups, S2), S2)).all()


def test_half_of_the_filters_start_blind_to_flat_ground() -> None:
    torch.manual_seed(0)
    stem = FilterStem(64, 32, 60)
    flat = torch.nn.functional.conv2d(torch.randn(1, 13, 1, 1).expand(1, 13, 6, 6), stem.weight)[0, :, 0, 0]
    assert flat[32:].abs().max() < 1e-4 < flat[:32].abs().min()


def test_without_filters_nothing_is_drawn_and_no_weight_is_added() -> None:
    torch.manual_seed(0)
    before = Encoder(EncoderConfig.of_size("demo"), STATISTICS)
    after = torch.rand(1)
    torch.manual_seed(0)
    none = Encoder(EncoderConfig.of_size("demo", stem_filters=0), STATISTICS)
    assert torch.equal(torch.rand(1), after)
    assert before.state_dict().keys() == none.state_dict().keys()
    assert not any("stem" in name for name in none.state_dict())


def test_filters_learn() -> None:
    module = encoder()
    module.train()(random_groups(S2, 120), S2).square().sum().backward()
    stem = module.embed.stem
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in stem.parameters())  # type: ignore[union-attr]
