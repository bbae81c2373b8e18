"""Typed configs from YAML and the command line; a key that is not known is an error that names the nearest one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator

from bandloom.command_line.console import logger
from bandloom.command_line.typed import typed_command, verb_of, verb_of_run
from bandloom.errors import ConfigError, nearest
from bandloom.files.yaml_once import load_once


@dataclass(frozen=True)
class MayChange:
    """Marks a field, or a section, that a run may have otherwise when it goes on.

    Args:
        recorded: it changes what is computed from then on: only with ``--resume``, and noted with its step. Else it
            says how a run is computed and kept.
    """

    recorded: bool = False


ANY_TIME, WHEN_RESUMED = MayChange(), MayChange(recorded=True)


class _Set:
    """Stands for any value but null."""

    def __str__(self) -> str:
        return "something"


SET = _Set()


@dataclass(frozen=True)
class ReadWhen:
    """Marks a field that is read under certain values of another field alone; elsewhere another value is refused.

    Args:
        key: the other field of the same section.
        values: under which it is read; :data:`SET` is any but null. Of a list, one of its items is enough.
        also: values that are accepted in any case, since they ask for what happens anyway.
        refused: else it is said in a warning: a key that people leave in a file while they change the other.
    """

    key: str
    values: tuple[Any, ...]
    also: tuple[Any, ...] = ()
    refused: bool = True

    def reads(self, other: Any) -> bool:
        """Tell whether the field is read under the other's value."""
        held = other if isinstance(other, list) else [other]
        return any(value in self.values or (SET in self.values and value is not None) for value in held)


HELD = {"held": True}  # validation context of a config that ran: it is taken as it is


class Config(BaseModel):
    """The base of every config: frozen, fully typed, unknown keys refused; field descriptions are its documentation.

    A section with defaults of its own is a class of its own, whose fields take type and limits from their parent:
    ``lr: Annotated[float, EngineConfig.model_fields["lr"]] = 1e-3``. A default factory that builds the parent with
    other values would lose all of them as soon as one key of the section is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def with_changes(self, **changes: Any) -> Self:
        """Return a validated copy with some fields replaced."""
        return self.model_validate(self.model_dump() | changes, context=HELD)

    @model_validator(mode="after")
    def _nothing_without_effect(self, info: ValidationInfo) -> Self:
        """Refuse a value that nothing reads under the other choices of its section."""
        if info.context == HELD:
            return self
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            for mark in (mark for mark in field.metadata if isinstance(mark, ReadWhen)):
                usual = (field.get_default(call_default_factory=True), *mark.also)  # pyright: ignore[reportCallIssue]
                if value not in usual and not mark.reads(getattr(self, mark.key)):
                    wanted = " or ".join(str(value) for value in mark.values).replace("None", "null")
                    held = "null" if getattr(self, mark.key) is None else getattr(self, mark.key)
                    unread = f"{name} is {value}, which nothing reads where {mark.key} is {held}"
                    if mark.refused:
                        raise ValueError(f"{unread}; set {mark.key} to {wanted}, or leave {name} out")
                    logger.warning("%s", unread)
        return self

    def to_yaml(self) -> str:
        """Return the resolved config as YAML, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


C = TypeVar("C", bound=Config)


def load_config(kind: type[C], path: Path | None, overrides: Sequence[str] = (), *, held: bool = False) -> C:
    """Read ``path`` (YAML; None means defaults alone), apply ``key.sub=value`` overrides, and validate.

    ``held`` says that the file is the config of a run that was accepted once: it is not judged again.

    Override values are YAML, so ``lr=1e-3``, ``bands=[B02,B03]`` and ``name=null`` mean what they look like.

    Raises:
        ConfigError: the file is absent or no mapping, an override has no ``=``, or a key or value does not fit.
    """
    data = {} if path is None else _read(path)
    where = str(path) if path else "the overrides"
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"the override {override!r} has no value; write it as key=value, such as steps=1000.")
        _assign(data, key.split("."), _parse(text), override)
    try:
        return kind.model_validate(data, context=HELD if held else None)
    except ValidationError as cause:
        raise ConfigError(_explain(kind, cause, where)) from cause


def config_of_run(
    kind: type[C], config: Path | None, overrides: Sequence[str], out: Path, resume: Path | None
) -> tuple[C, Path]:
    """Return the config and the folder of a run, from a file or, with ``resume``, from the run that goes on.

    Raises:
        ConfigError: neither a config nor a run is given, or it does not fit.
    """
    if resume is None:
        if config is None:
            raise ConfigError("no config is given; pass a YAML file, or --resume RUN to go on with a run.")
        return load_config(kind, config, overrides), out
    # with --resume the first argument, where there is one, is an override
    given = [] if config is None else [str(config)]
    held = resume / "config.yaml"
    if not held.is_file():
        raise ConfigError(f"{resume} holds no run (no config.yaml); pass a run folder to --resume.")
    verb, now = verb_of_run(resume), verb_of(typed_command())
    if verb and now and verb != now:
        raise ConfigError(
            f"{resume} holds what `bandloom {verb}` made; go on with it by that verb, or name another run."
        )
    try:
        load_config(kind, held)
    except ConfigError:
        return load_config(kind, held, [*given, *overrides], held=True), resume
    return load_config(kind, held, [*given, *overrides]), resume


def mark_of(kind: type[BaseModel], key: str) -> MayChange | None:
    """Return how a run may change a dotted key, or a section around it, when it goes on; None: not at all."""
    for part in key.split("."):
        field = kind.model_fields.get(part)
        if field is None:
            return None
        for mark in field.metadata:
            if isinstance(mark, MayChange):
                return mark
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)]
        if not inner:
            return None
        kind = inner[0]  # pyright: ignore[reportAssignmentType]
    return None


def changed_by_resume(kind: type[BaseModel], inside: MayChange | None = None) -> list[str]:
    """Return the names, without their sections, of what a run may have otherwise when it is resumed, which is noted."""
    names: list[str] = []
    for name, field in kind.model_fields.items():
        mark = next((mark for mark in field.metadata if isinstance(mark, MayChange)), inside)
        sections = [inner for inner in (field.annotation, *get_args(field.annotation)) if _is_model(inner)]
        if sections:
            names += changed_by_resume(sections[0], mark)  # pyright: ignore[reportArgumentType]
        elif mark is not None and mark.recorded:
            names.append(name)
    return names


def _read(path: Path) -> dict[str, Any]:
    try:
        data = load_once(path.read_text(encoding="utf-8-sig"))
    except OSError as cause:
        raise ConfigError(f"the config {path} cannot be read ({cause.strerror}); check the path.") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise ConfigError(f"the config {path} is not valid YAML ({cause}).") from cause
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"the config {path} holds a {type(data).__name__}; expected keys and values.")
    return data


def _parse(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise ConfigError(f"the override value {text!r} is not valid YAML; put it in quotes.") from cause
    if isinstance(value, str):
        try:  # YAML 1.1 reads 1e-3 as text; a person means the number
            return float(value)
        except ValueError:
            return value
    return value


def _assign(data: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        if data.get(key) is None:  # a section may be null
            data[key] = {}
        data = data[key]
        if not isinstance(data, dict):
            raise ConfigError(f"the override {override!r} reaches into {key!r}, which is no section.")
    data[keys[-1]] = value


def _explain(kind: type[BaseModel], error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, first["loc"][:-1])
        hint = nearest(str(first["loc"][-1]), known) or f" Known keys: {', '.join(known)}."
        return f"{where} has the unknown key {key!r}{more}.{hint}"
    if first["type"] == "missing":
        return f"{where} lacks the key {key!r}{more}; add it to the config or pass {key}=VALUE."
    if first["type"] == "value_error":
        return f"{where}: {key + '.' if key else ''}{str(first['msg']).removeprefix('Value error, ')}{more}."
    return f"{where}: {key or 'the config'} is {first['input']!r}{more}: {first['msg']}."


def _fields_at(kind: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the field names of the section at ``location``, so that the nearest key comes from the right place."""
    for part in location:
        field = kind.model_fields.get(str(part))
        inner: list[Any] = [t for t in (field.annotation, *get_args(field.annotation)) if _is_model(t)] if field else []
        if not inner:
            break
        kind = inner[0]
    return list(kind.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
