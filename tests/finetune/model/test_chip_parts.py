"""What a chip tells without an encoder is what the baselines see of it."""

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from bandloom.finetune.baselines.features import chip_statistics, random_conv
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.finetune.model.checkpoint import load_task_model, save_task_model
from bandloom.finetune.model.chip_parts import FILTERS, FLOOR, PARTS, statistics
from bandloom.finetune.model.native_bands import BandGroup, slot_indices
from bandloom.finetune.model.task_model import TaskModel
from tests.finetune.models import S2, chips, task_model


def weighed(*weights: float, **changes: int | str) -> TaskModel:
    """A classifier whose parts have linear maps drawn at random, and these weights."""
    model = task_model("classify", **changes).eval()
    for name in PARTS:
        for buffer in model.head.parts.linear(name):
            torch.nn.init.normal_(buffer)
    model.head.parts.weigh(weights)
    return model


def as_dn(groups: dict[int, torch.Tensor]) -> dict[int, np.ndarray]:
    return {gsd_m: group[0].numpy().astype(np.uint16) for gsd_m, group in groups.items()}


def statistics_of(model: TaskModel) -> tuple[np.ndarray, np.ndarray]:
    slots = slot_indices([slot for group in S2.groups for slot in group.slots])
    return model.encoder.embed.mean.numpy()[slots], model.encoder.embed.std.numpy()[slots]


def test_filters_are_those_of_the_baseline_averaged_over_what_is_measured():
    model, groups = task_model("classify"), chips(batch=1)
    for group in groups.values():
        group[..., group.shape[-1] // 2 :] = 0  # not measured
    found = model.head.parts.features("filters", model.native_bands(groups))[0]
    wanted = random_conv(pixel_bands(as_dn(groups), S2), *statistics_of(model), FILTERS)[..., :12].mean((1, 2))
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_statistics_are_those_of_the_baseline_normalised():
    model, groups = task_model("classify"), chips(batch=1)
    groups[20][:, :, :3] = 0
    groups[60][:, 1] = 0  # a band that is absent
    found = model.head.parts.features("statistics", model.native_bands(groups))[0].numpy()
    mean, std = (values[:, None] for values in statistics_of(model))
    wanted = chip_statistics(as_dn(groups), S2).reshape(-1, 4)  # a row a band: mean, deviation, least, greatest
    wanted = np.where([True, False, True, True], wanted - mean, wanted) / (2 * std)
    place = 0
    for group in S2.groups:
        bands = len(group.bands)
        rows = np.nan_to_num(wanted[place : place + bands]).T.ravel()
        np.testing.assert_allclose(found[4 * place : 4 * (place + bands)], rows, atol=0.01)
        place += bands


def test_the_deviation_of_a_bright_chip_that_varies_little_is_that_in_float64():
    rng = np.random.default_rng(0)
    values = (5 + 0.01 * rng.standard_normal((3, 2, 18, 18))).astype(np.float32)
    values[:, 1, :, 12:] = 0  # not measured
    found = statistics([BandGroup(torch.from_numpy(values))])[:, 2:4].numpy()
    exact = np.stack([values[:, 0].astype(float).var((1, 2)), values[:, 1, :, :12].astype(float).var((1, 2))], 1)
    np.testing.assert_allclose(found, np.sqrt(exact + FLOOR) - FLOOR**0.5, rtol=1e-4)


def test_logits_are_the_tokens_and_the_weighed_parts():
    model, groups = weighed(0.25, 0.5), chips()
    parts, bands = model.head.parts, model.native_bands(groups)
    read = {name: parts.features(name, bands) @ parts.linear(name)[0].T + parts.linear(name)[1] for name in PARTS}
    wanted = model.head(model.chip_tokens(groups)) + 0.25 * read["filters"] + 0.5 * read["statistics"]
    assert torch.allclose(model(groups), wanted, atol=1e-5)


def test_a_part_without_a_weight_is_not_computed():
    model, groups = weighed(0.0, 1.0), chips()
    logits = model(groups)
    model.head.parts.kernel = None
    assert torch.equal(model(groups), logits)


def test_parts_are_saved_and_read_back(tmp_path):
    model = weighed(0.25, 0.5)
    save_task_model(tmp_path / "m", model, {})
    assert torch.equal(load_task_model(tmp_path / "m")(chips()), model(chips()))


def test_a_classifier_from_before_there_were_parts_answers_as_it_did(tmp_path):
    model = task_model("classify").eval()
    save_task_model(tmp_path / "m", model, {})
    path = tmp_path / "m" / "model.safetensors"
    earlier = {name: value for name, value in load_file(path).items() if ".parts." not in name}
    save_file(earlier, path, metadata={"format": "pt"})
    read = load_task_model(tmp_path / "m")
    assert torch.equal(read(chips()), model(chips()))
    assert not read.head.sees_bands
    now = weighed(1.0, 1.0)
    now.load_state_dict(earlier)  # as a snapshot is
    assert torch.equal(now(chips()), model(chips()))
