"""The search: a pretraining that was stopped is the one that never was, and every variant is a config that holds."""

import json

import pytest
import torch

from bandloom.pretrain.config import ObjectiveConfig
from benchmarks import objective_search, testbed
from benchmarks.objective_search import ROWS, VARIANTS, Variant, pretrained, table

SMALL = Variant({"kind": "moving_teacher", "pixel_weight": 1.0}, steps=4, batch=2)


def test_every_variant_has_an_objective_that_is_accepted() -> None:
    for variant in VARIANTS.values():
        ObjectiveConfig(**variant.objective)


def test_rows_that_are_kept_name_what_the_search_knows() -> None:
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    assert len({(row["name"], row["seed"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["name"] in {*VARIANTS, *objective_search.MAPS}
        assert all(0 < value < 1 for key, value in row.items() if key.startswith(("tokens", "chips")))


def test_the_table_holds_means_and_the_spread_over_seeds() -> None:
    rows = [{"name": "a", "seed": 0, "tokens 100": 0.4}, {"name": "a", "seed": 1, "tokens 100": 0.5}]
    assert "| a | 2 | 0.450 (0.400-0.500) |" in table(rows)


@pytest.mark.slow
def test_a_pretraining_that_was_stopped_ends_as_the_one_that_never_was(monkeypatch, tmp_path) -> None:
    for name, value in {"PRETRAINED_ON": 2, "SCENES": 2, "CACHE": tmp_path}.items():
        monkeypatch.setattr(testbed, name, value)
    for function in (testbed.scenes, testbed.statistics):
        function.cache_clear()
    monkeypatch.setitem(VARIANTS, "small", SMALL)
    monkeypatch.setattr(objective_search, "SAVE_EVERY", 2)
    straight, losses = pretrained("small", 0)
    held = torch.load(tmp_path / "small-0.pt", weights_only=True)
    assert held["step"] == 4
    (tmp_path / "small-0.pt").unlink()
    monkeypatch.setattr(objective_search, "_save", _stop_after(objective_search._save, 2))
    with pytest.raises(KeyboardInterrupt):
        pretrained("small", 0)
    resumed, again = pretrained("small", 0)
    assert again == losses
    for one, two in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    for function in (testbed.scenes, testbed.statistics):
        function.cache_clear()


def _stop_after(save, step: int):
    def saved(engine, file, at, losses) -> None:
        save(engine, file, at, losses)
        if at == step:
            raise KeyboardInterrupt

    return saved
