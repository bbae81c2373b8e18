import math

import pytest
import torch

from bandloom.finetune.text.model import MOST_SCALE, AlignModel, standardise, unit
from tests.finetune.models import S2, chips, encoder


def model(**given) -> AlignModel:
    torch.manual_seed(0)
    return AlignModel(encoder(), S2, 24, 8, **given).eval()


def test_images_and_texts_have_length_one_and_one_width():
    own = model()
    image, text, _, _ = own(chips(), torch.randn(2, 8))
    assert image.shape == text.shape == (2, own.image_dim) == (2, 32 + 201)
    assert image.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert text.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize(("image", "width"), [("tokens", 32), ("joined", 233)])
def test_an_image_is_its_mean_token_alone_or_beside_its_samples(image, width):
    own = model(image=image)
    tokens = own.tokens(chips())
    assert tokens.shape[-1] == own.image_dim == width
    assert torch.allclose(own.image(chips()), unit(tokens.mean(1)), atol=1e-6)


def test_a_unit_is_centred_and_of_constant_length():
    features = torch.randn(5, 16) * 7 + 3
    given = unit(features)
    centred = features - features.mean(1, keepdim=True)
    assert torch.allclose(given, centred / centred.norm(dim=1, keepdim=True), atol=1e-5)


def test_standardised_features_have_mean_0_and_deviation_1():
    own = model()
    groups = chips(batch=8)
    with torch.no_grad():
        standardise(own, own.tokens(groups).mean(1))
        after = own.tokens(groups).mean(1)
    assert after.mean(0).abs().max() < 1e-3
    assert after.std(0).median() == pytest.approx(1, abs=1e-2)


@torch.no_grad()
def test_the_scale_starts_as_published_and_is_clamped():
    assert float(model(loss="infonce").scale()) == pytest.approx(1 / 0.07)
    sigmoid = model(loss="sigmoid")
    assert (float(sigmoid.scale()), float(sigmoid.bias)) == (pytest.approx(10), pytest.approx(-2.71))
    with torch.no_grad():
        sigmoid.log_scale.fill_(math.log(1e6))
    assert float(sigmoid.scale()) == pytest.approx(MOST_SCALE)
    assert not model(loss="infonce").bias.requires_grad


@pytest.mark.parametrize(("mode", "share"), [("frozen", 0.0), ("full", 1.0)])
def test_of_the_encoder_nothing_trains_or_all_of_it(mode, share):
    own = model()
    own.set_trainable(mode, 2)
    trains = [parameter.requires_grad for parameter in own.encoder.parameters()]
    assert sum(trains) / len(trains) == share
    assert all(parameter.requires_grad for parameter in own.project.parameters())


def test_with_lora_thin_products_train_and_the_encoder_stays():
    own = model()
    before = {name: value.clone() for name, value in own.encoder.state_dict().items()}
    features = own.image(chips())
    own.set_trainable("lora", 2)
    assert torch.allclose(own.image(chips()), features, atol=1e-6)  # they start at nothing
    trained = sum(p.numel() for p in own.encoder.parameters() if p.requires_grad)
    assert 0 < trained < 0.5 * sum(value.numel() for value in before.values())


def test_a_frozen_encoder_gives_no_gradient_and_a_training_one_does():
    own = model()
    own.set_trainable("frozen", 0)
    assert not own.image(chips()).requires_grad
    own.set_trainable("full", 0)
    assert own.image(chips()).requires_grad


def test_token_ids_need_a_tower():
    with pytest.raises(TypeError, match="text tower"):
        model()(chips(), (torch.zeros(2, 3), torch.ones(2, 3)))
