"""Every family against its authors' code: tokens within 1e-4, and every published name and shape."""

import pytest
import torch

from bandloom.public_encoders.golden import check_golden
from bandloom.public_encoders.load import read_public
from tests.authors_code import FAMILIES, authors_code

SIZES = [
    ("dofa", "base"),
    ("dofa", "large"),
    ("croma", "base"),
    ("croma", "large"),
    ("ssl4eo_resnet", "moco"),
    ("ssl4eo_resnet", "dino"),
    ("prithvi", "300m"),
    ("prithvi", "300m-tl"),
    ("prithvi", "600m"),
    ("prithvi", "600m-tl"),
    ("clay", "large"),
    ("terramind", "small"),
    ("terramind", "base"),
    ("terramind", "large"),
    ("terramind_l1c", "base"),
    ("olmoearth v1", "nano"),
    ("olmoearth v1", "tiny"),
    ("olmoearth v1", "base"),
    ("olmoearth v1", "large"),
    ("olmoearth v1.1", "base"),
    ("olmoearth v1.2", "small"),
    ("olmoearth v1.2", "base"),
    ("olmoearth v1.3", "base"),
]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_the_authors_code_with_random_weights(family, tmp_path):
    answers = check_golden(authors_code(tmp_path, family))
    assert answers
    for answer in answers:
        assert answer.max_abs < 1e-4, answer


@pytest.mark.slow
@pytest.mark.parametrize(("family", "size"), SIZES)
def test_names_and_shapes_of_every_size_are_those_that_the_authors_code_makes(family, size, tmp_path):
    authors_code(tmp_path, family, size)
    with torch.device("meta"):  # a weight that is missing, left over or of another shape is refused
        encoder = read_public(tmp_path)
    assert encoder.config.family == family.partition(" ")[0]
    assert all(parameter.is_meta for parameter in encoder.parameters())
