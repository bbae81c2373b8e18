"""Configs say which key is wrong, where, and what was meant."""

import pytest
from pydantic import Field

from bandloom.config import Config, load_config
from bandloom.errors import ConfigError


class Inner(Config):
    lr: float = Field(default=1e-3, gt=0)
    warmup_steps: int = 10


class Outer(Config):
    name: str
    bands: tuple[str, ...] = ()
    engine: Inner = Inner()


def write(tmp_path, text: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_overrides_win_over_the_file(tmp_path) -> None:
    path = write(tmp_path, "name: a\nengine: {lr: 0.1}")
    config = load_config(Outer, path, ["engine.lr=3e-4", "bands=[B02, B03]"])
    assert config.engine.lr == 3e-4
    assert config.bands == ("B02", "B03")


def test_an_unknown_key_names_the_nearest_of_its_own_section(tmp_path) -> None:
    path = write(tmp_path, "name: a\nengine: {warmup_step: 5}")
    with pytest.raises(ConfigError, match=r"unknown key 'engine.warmup_step'.*Did you mean 'warmup_steps'"):
        load_config(Outer, path)


@pytest.mark.parametrize(
    ("text", "overrides", "sentence"),
    [
        ("engine: {}", [], "lacks the key 'name'"),
        ("name: a", ["engine.lr=-1"], "engine.lr is -1"),
        ("name: a", ["engine.lr"], "has no value"),
        ("name: a", ["name.x=1"], "no section"),
        ("- a", [], "holds a list"),
        ("name: [", [], "not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, text: str, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(Outer, write(tmp_path, text), overrides)


def test_the_resolved_config_reads_back_as_itself(tmp_path) -> None:
    config = load_config(Outer, None, ["name=a", "bands=[B02]"])
    assert load_config(Outer, write(tmp_path, config.to_yaml())) == config
