"""Where labels are few a forest teaches the networks, on training ground alone, and validation has the last word."""

import copy
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier

from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, TRAIN, BlockSplit
from bandloom.finetune.model.near import PLANES, WIDE_PLANES
from bandloom.finetune.model.pixel_part import FIRST, PixelPart
from bandloom.finetune.scores.scoring import score_model
from bandloom.finetune.training import few_labels as few
from bandloom.finetune.training.fit_pixels import PixelFit, fit_pixels
from bandloom.finetune.training.pixel_network import LabelledPixels, pixel_loss
from bandloom.finetune.training.warm_start import fit_pixel_part
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2, task_model

BANDS = 3


def pixels(count: int, seed: int) -> LabelledPixels:
    planes = torch.randn(count, BANDS * WIDE_PLANES, generator=torch.Generator().manual_seed(seed))
    return LabelledPixels(planes, (planes[:, 0] > 0).long())


def fitted() -> tuple[PixelPart, dict[str, torch.Tensor], PixelFit]:
    torch.manual_seed(0)
    part = PixelPart(BANDS, 3, width=16)
    fresh = copy.deepcopy(part.state_dict())
    return part, fresh, fit_pixels(part, pixels(30, 0), pixels(30, 1), 0, 20, names=FIRST)


def test_unlabelled_pixels_learn_the_mean_of_forest_and_networks_and_labelled_ones_their_class(monkeypatch):
    monkeypatch.setattr(few, "TREES", 7)
    part, _, fit = fitted()
    train, unlabelled = pixels(30, 0), pixels(50, 9).planes
    taught = few.taught_pixels(part, fit, train, unlabelled, 3)
    seen, asked = (planes[:, : BANDS * PLANES].numpy() for planes in (train.planes, unlabelled))
    forest = RandomForestClassifier(7, random_state=3).fit(seen, train.labels.numpy())
    votes = np.pad(forest.predict_proba(asked), ((0, 0), (0, 1)))  # class 2 has no label
    bands = unlabelled[:, :BANDS].T[None, :, None]
    means = {
        "values": part.values(bands)[0, :, 0].T,
        "coded": part.coded(part.code(bands))[0, :, 0].T,
        "near": part.near(part.windows(torch.from_numpy(asked).T[None, :, None]))[0, :, 0].T,
    }
    own = torch.softmax(sum(fit.weights[name] * logits for name, logits in means.items()), 1)  # type: ignore[arg-type]
    np.testing.assert_allclose(taught.labels[:50], (own.detach().numpy() + votes) / 2, atol=1e-5)
    assert taught.labels[50:].argmax(1).tolist() == train.labels.tolist()  # a quarter of 50 are less than 30: once
    assert torch.equal(taught.planes[50:], train.planes)


def test_the_loss_of_shares_that_are_whole_is_that_of_classes():
    output, labels = torch.randn(20, 3), torch.randint(0, 3, (20,))
    shares = torch.nn.functional.one_hot(labels, 3).float()
    assert torch.allclose(pixel_loss(output, shares), pixel_loss(output, labels), atol=1e-6)


def test_a_part_is_fitted_again_from_where_it_began(monkeypatch):
    monkeypatch.setattr(few, "TREES", 7)
    part, fresh, fit = fitted()
    given, unlabelled = (pixels(30, 0), pixels(30, 1)), pixels(50, 9).planes
    wanted = PixelPart(BANDS, 3, width=16)
    wanted.load_state_dict(fresh)
    fit_pixels(wanted, few.taught_pixels(part, fit, given[0], unlabelled, 0), given[1], 0, 20, None, FIRST)
    few.fit_taught(part, fresh, given, unlabelled, fit, (0, 20, None))
    assert all(torch.equal(value, part.state_dict()[name]) for name, value in wanted.state_dict().items())


def test_unlabelled_pixels_lie_on_measured_training_ground():
    shards, split = FakeShards(2), BlockSplit(300, 0)
    data, model = PixelData(shards, split, S2), task_model()
    for index, entry in enumerate(shards.entries):
        roles = split.roles(entry, (entry.x_m, entry.y_m), (entry.side_px, entry.side_px))
        shards.samples[index].groups[10][:, roles != TRAIN] = 60_000  # brighter than any other
        shards.samples[index].groups[10][:, :30] = 0  # not measured
    planes = few.training_ground(model, data, 0)
    assert 10_000 < len(planes) <= few.PIXELS
    reflectance = planes[:, :4] * 0.2 + 0.2  # as the model normalises
    assert float(reflectance.max()) < 5
    assert float(planes[:, :4].abs().sum(1).min()) > 0


def test_ten_pixels_a_class_make_a_map(monkeypatch):
    monkeypatch.setattr(few, "PIXELS", 4_000)
    data, model = sparse(10), task_model()
    fit = fit_pixel_part(model, model.head.pixel, data, 0, 60)
    row = score_model("few", model, data, TEST)
    assert np.trace(row.confusion) / row.confusion.sum() > 0.9
    assert fit.loss < 0.6


def sparse(count: int) -> PixelData:
    """Fields with a few labelled pixels a class and sample on training and validation ground, all on test ground."""
    shards, split = FakeShards(2), BlockSplit(300, 0)
    for index, entry in enumerate(shards.entries):
        label: Any = shards.samples[index].label
        roles = split.roles(entry, (entry.x_m, entry.y_m), label.shape)
        kept = roles == TEST
        for role in (0, 1):
            for index_of_class in range(3):
                places = np.flatnonzero((roles == role) & (label == index_of_class))
                kept.ravel()[np.random.default_rng(0).choice(places, min(count, len(places)), replace=False)] = True
        label[~kept] = 255
    return PixelData(shards, split, S2)
