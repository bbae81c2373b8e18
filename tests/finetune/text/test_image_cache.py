import numpy as np
import pytest
import torch

from bandloom.finetune.text import image_cache
from bandloom.finetune.text.image_cache import ImageCache
from bandloom.finetune.text.model import AlignModel
from bandloom.finetune.training.augment import d4
from bandloom.training.device_batch import DeviceBatch
from tests.finetune.models import S2, chips, encoder


def batch_of(draws: list[int], keys: str = "abcd") -> DeviceBatch:
    groups = {gsd: group[: len(draws)].to(torch.uint16) for gsd, group in chips(batch=4).items()}
    return DeviceBatch(S2, groups, tuple(keys[: len(draws)]), np.array(draws, np.uint64), None, None)


@pytest.fixture(name="model")
def with_counted_images(monkeypatch):
    model, seen = AlignModel(encoder(), S2, 24, 16).eval(), []
    real = model.image
    monkeypatch.setattr(model, "image", lambda groups: seen.append(len(groups[10])) or real(groups))
    return model, seen


def test_an_image_is_encoded_once(model):
    own, seen = model
    images, batch = ImageCache(own, turned=False), batch_of([1, 2, 3])
    first = images.of(batch)
    assert torch.equal(images.of(batch), first)
    assert seen == [3]
    assert torch.allclose(first, own.image(batch.groups), atol=1e-6)


def test_a_new_key_among_known_ones_is_encoded_alone_and_stands_in_its_place(model):
    own, seen = model
    images = ImageCache(own, turned=False)
    images.of(batch_of([1, 2]))
    batch = batch_of([1, 2, 3])
    assert torch.allclose(images.of(batch), own.image(batch.groups), atol=1e-6)
    assert seen == [2, 1, 3]


def test_turned_images_are_those_of_the_turned_batch_and_kept_by_turn(model):
    own, seen = model
    images = ImageCache(own, turned=True)
    for draws in ([1, 2, 3], [4, 5, 6], [1, 2, 3]):
        batch = batch_of(draws)
        assert torch.allclose(images.of(batch), own.image(d4(batch).groups), atol=1e-6)
    assert seen[-1] == 3  # the comparison's own; the third batch was known
    assert len(seen) == 5


def test_what_is_kept_is_bounded(model, monkeypatch):
    own, seen = model
    monkeypatch.setattr(image_cache, "MOST", 2)
    images, batch = ImageCache(own, turned=False), batch_of([1, 2, 3])
    first = images.of(batch)
    assert torch.allclose(images.of(batch), first, atol=1e-6)
    assert seen == [3, 1]
