"""Which heads are fitted before anything else trains."""

from pathlib import Path

import pytest

from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.training.warm_start import can_warm_start
from tests.finetune.models import task_model


@pytest.mark.parametrize(
    ("task", "steps", "fitted"),
    [
        ("segment", 10, True),
        ("change", 10, True),
        ("classify", 10, True),
        ("multilabel", 10, False),
        ("segment", 0, False),
    ],
)
def test_heads_of_one_class_are_fitted_first_unless_told_otherwise(task, steps, fitted):
    config = FinetuneConfig(shards=Path("nowhere"), task=task, warm_steps=steps)
    assert can_warm_start(task_model(task), config) == fitted
