"""Configs say which key is wrong, where, and what was meant."""

from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from bandloom.command_line.config import Config, ReadWhen, load_config
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


def test_a_section_that_is_null_takes_overrides(tmp_path) -> None:
    config = load_config(Outer, write(tmp_path, "name: a\nengine: null"), ["engine.lr=3e-4"])
    assert config.engine.lr == 3e-4


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


def every_config() -> list[type[Config]]:
    """Return all config classes of the product."""
    import bandloom.finetune.captioner.config
    import bandloom.finetune.config
    import bandloom.finetune.fusion.config
    import bandloom.finetune.text.config
    import bandloom.pretrain.config
    import bandloom.slurm.profile  # noqa: F401

    kinds, found = [Config], []
    while kinds:
        kinds += kinds.pop().__subclasses__()
        found = list(dict.fromkeys([*found, *kinds]))
    files = ("config", "profile", "engine", "trainer")  # where what a user types is kept
    return [kind for kind in found if kind.__module__.split(".")[-1] in files]


def leaves(kind: type[Config], defaults: Config, prefix: str = "") -> list[tuple[str, object]]:
    """Return every key below ``kind``'s sections with its default."""
    keys = []
    for name, field in kind.model_fields.items():
        if field.is_required():
            continue
        value = getattr(defaults, name)
        if isinstance(value, Config):
            keys += leaves(type(value), value, f"{prefix}{name}.")
        else:
            keys.append((f"{prefix}{name}", value))
    return keys


def some_value(annotation) -> object:
    """Return a value that a required field takes."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return {
            name: some_value(model_field.annotation)
            for name, model_field in annotation.model_fields.items()
            if model_field.is_required()
        }
    return "x"


@pytest.mark.parametrize("kind", every_config(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_naming_one_key_leaves_every_other_default_as_it_was(kind: type[Config]) -> None:
    required = {name: some_value(field.annotation) for name, field in kind.model_fields.items() if field.is_required()}
    plain = kind.model_validate(required)
    for key, value in leaves(kind, plain):
        named: dict = {}
        section = named
        *sections, last = key.split(".")
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
        assert kind.model_validate({**required, **named}) == plain, f"{key}={value!r} changes another key"


def test_a_readers_first_config_keeps_the_stages_own_defaults(tmp_path) -> None:
    """README's example names two keys of the trainer; the learning rate and the betas stay fine-tuning's."""
    from bandloom.finetune.config import FinetuneConfig

    path = write(tmp_path, "shards: s\ntrainer: {steps: 200, batch_size: 16}")
    config = load_config(FinetuneConfig, path)
    assert (config.trainer.steps, config.trainer.batch_size) == (200, 16)
    assert (config.trainer.engine.lr, config.trainer.engine.betas) == (1e-3, (0.9, 0.999))
    assert load_config(FinetuneConfig, path, ["trainer.engine.lr=0.1"]).trainer.engine.warmup_steps == 50


MARKED = [
    (kind, name, mark)
    for kind in every_config()
    for name, field in kind.model_fields.items()
    for mark in field.metadata
    if isinstance(mark, ReadWhen)
]
BESIDE = {"distil": {"teacher": "somewhere"}}  # what a choice cannot do without
OTHER = {int: 3, float: 0.123, str: "other", bool: True}  # of each type, a value that is no default


def other_value(kind: type[Config], name: str) -> Any:
    """Return a value of a field that is not its default."""
    field = kind.model_fields[name]
    default = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
    options = [argument for inner in (field.annotation, *get_args(field.annotation)) for argument in get_args(inner)]
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    for value in (*choices, *options, *OTHER.values(), False, {"steps_per_print": 1}, ["other"]):
        if value != default and not isinstance(value, type) and fits(kind, name, value):
            return value
    raise AssertionError(f"no value for {kind.__name__}.{name}")


def fits(kind: type[Config], name: str, value: Any) -> bool:
    """Tell whether a field alone takes a value."""
    field = kind.model_fields[name]
    try:
        TypeAdapter(Annotated[field.annotation, field]).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("kind", "name", "mark"), MARKED, ids=[f"{kind.__name__}.{name}" for kind, name, _ in MARKED])
def test_a_key_of_another_choice_is_refused_and_of_its_own_choice_taken(kind, name, mark, caplog, monkeypatch):
    monkeypatch.setattr("bandloom.command_line.console.logger.propagate", True)
    needed = {key: some_value(f.annotation) for key, f in kind.model_fields.items() if f.is_required()}
    value = other_value(kind, name)
    others = [each for each in [None, *candidates(kind, mark.key)] if fits(kind, mark.key, each)]
    for other in others:
        given = needed | BESIDE.get(other if isinstance(other, str) else "", {}) | {name: value, mark.key: other}
        if mark.reads(other):
            continue
        if mark.refused:
            with pytest.raises(ValidationError, match=f"{name} is .* nothing reads where"):
                kind.model_validate(given)
        else:
            caplog.clear()
            kind.model_validate(given)
            assert f"{name} is" in caplog.text
        kind.model_validate(given, context={"held": True})  # a run that has it goes on
    assert not all(mark.reads(other) for other in others)


def candidates(kind: type[Config], key: str) -> list[Any]:
    """Return values of a field: all of a choice, one of a list or path."""
    annotation = kind.model_fields[key].annotation
    return [*get_args(annotation), "somewhere", ["labels"], {"sources": ["labels"]}]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "inf"])
@pytest.mark.parametrize("kind", every_config(), ids=lambda kind: kind.__name__)
def test_no_number_of_a_config_is_infinite_or_none(kind, value):
    for name, field in kind.model_fields.items():
        if field.annotation is float:
            needed = {key: some_value(f.annotation) for key, f in kind.model_fields.items() if f.is_required()}
            with pytest.raises(ValidationError, match="finite"):
                kind.model_validate(needed | {name: value})
