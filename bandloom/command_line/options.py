"""Makes the options of a command from the fields of the record that they fill.

A field says what its option is called and does::

    @dataclass(frozen=True)
    class BuildOptions:
        side_px: Annotated[int, Option("Side of a sample in pixels of 10 m.", "--side")] = 240

and a command takes the record whole; ``fills`` spreads it over the command line, so that a new field is a new option::

    @app.command()
    @fills
    def build(sources: list[str], options: BuildOptions) -> None: ...

Fields of a pydantic record without an ``Option`` are described by their ``description``; fields of a dataclass without
one are no options. A field that is a record itself is spread too.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from bandloom.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])
REQUIRED = inspect.Parameter.empty


class Option:
    """What the command line says of a field.

    Args:
        help: what it does, the field's term first.
        names: what is typed, such as ``--side``; by default the field's name with dashes.
        parse: from the typed text to the field's value, for fields that are more than a word or a number.
    """

    def __init__(self, help: str, *names: str, parse: Callable[[str], Any] | None = None) -> None:
        self.help, self.names, self.parse = help, names, parse


class Renamed:
    """In ``Annotated[Record, Renamed(nodata="--scene-nodata")]``: what fields are called where a name is taken."""

    def __init__(self, **names: str) -> None:
        self.names = names


class Only:
    """In ``Annotated[Record, Only("batch", "threads")]``: the fields that a command offers; others keep defaults."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    kind: Any
    default: Any
    option: Option | None


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Which fields of a record a command offers, and under which names."""

    only: Sequence[str] | None = None
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def takes(self, field: _Field) -> bool:
        return self.only is None or field.name in self.only

    def names(self, field: _Field) -> tuple[str, ...]:
        own = field.option.names if field.option else ()
        return (
            (self.renamed[field.name],) if field.name in self.renamed else own or ("--" + field.name.replace("_", "-"),)
        )


def fills(command: F) -> F:
    """Spread the record parameters of a command over the command line, one option a field.

    Raises:
        ConfigError: when the command is called: a value that the record refuses, with the option's name.
    """
    hints = get_type_hints(command, include_extras=True)
    records: dict[str, tuple[Any, _Choice]] = {}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        kind, choice = _chosen(hints[parameter.name])
        if _is_record(kind):
            records[parameter.name] = kind, choice
            parameters += [_parameter(field, parameter.name, choice) for field in _spread(kind, choice)]
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        filled = {name: _fill(kind, name, choice, given) for name, (kind, choice) in records.items()}
        return command(**given, **filled)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return called  # type: ignore[return-value]


def _chosen(kind: Any) -> tuple[Any, "_Choice"]:
    """Return a record without its notes, and what they say."""
    if get_origin(kind) is not Annotated or not _is_record(get_args(kind)[0]):
        return kind, _Choice()
    inner, *notes = get_args(kind)
    only = next((note.fields for note in notes if isinstance(note, Only)), None)
    return inner, _Choice(only, next((note.names for note in notes if isinstance(note, Renamed)), {}))


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel))


def _spread(record: Any, choice: "_Choice") -> Iterator[_Field]:
    """Yield the fields that are options, those of inner records too."""
    for field in _fields(record):
        if _is_record(field.kind):
            yield from _spread(field.kind, choice)
        elif field.option is not None and choice.takes(field):
            yield field


def _fields(record: Any) -> Iterator[_Field]:
    hints = get_type_hints(record, include_extras=True)
    if issubclass(record, BaseModel):
        for name, info in record.model_fields.items():
            noted = next((note for note in info.metadata if isinstance(note, Option)), None)
            default = REQUIRED if info.default is PydanticUndefined else info.default
            described = Option(_sentence(info.description)) if info.description else None
            yield _Field(name, info.annotation, default, noted or described)
    else:
        for field in dataclasses.fields(record):
            kind, notes = _noted(hints[field.name])
            noted = next((note for note in notes if isinstance(note, Option)), None)
            yield _Field(field.name, kind, _default(field), noted)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default


def _noted(kind: Any) -> tuple[Any, Sequence[Any]]:
    return (get_args(kind)[0], get_args(kind)[1:]) if get_origin(kind) is Annotated else (kind, ())


def _parameter(field: _Field, record: str, choice: _Choice) -> inspect.Parameter:
    option = field.option or Option("")
    kind, choices = _typed(field.kind, option)
    default = field.default
    if option.parse is not None and default is not REQUIRED:
        default = None  # not typed: the record's own default, which may be no text
    told = typer.Option(
        *choice.names(field),
        help=option.help,
        metavar="|".join(choices) if choices else None,
        autocompletion=(lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)])
        if choices
        else None,
    )
    return inspect.Parameter(
        f"{record}_{field.name}", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, told]
    )


def _typed(kind: Any, option: Option) -> tuple[Any, tuple[str, ...]]:
    """Return the type that typer reads a field's text as, and the words that it may be."""
    inner = (
        [argument for argument in get_args(kind) if argument is not type(None)]
        if get_origin(kind) in (Union, UnionType)
        else []
    )
    optional = bool(inner) and len(inner) < len(get_args(kind))
    if option.parse is not None:
        return str | None, ()
    core = inner[0] if len(inner) == 1 else kind
    choices = tuple(map(str, get_args(core))) if get_origin(core) is Literal else ()
    core = str if choices else core
    return (core | None if optional else core), choices


def _fill(record: Any, name: str, choice: _Choice, given: dict[str, Any]) -> Any:
    """Take the options of a record out of what was given, and make it."""
    values: dict[str, Any] = {}
    for field in _fields(record):
        if _is_record(field.kind):
            values[field.name] = _fill(field.kind, name, choice, given)
        elif field.option is not None and choice.takes(field):
            value = given.pop(f"{name}_{field.name}")
            if field.option.parse is None:
                values[field.name] = _known(value, field, choice)
            elif value is not None:
                values[field.name] = field.option.parse(value)
    try:
        return record(**values)
    except ValidationError as cause:
        first = cause.errors()[0]
        typed = choice.names(next(field for field in _fields(record) if field.name == first["loc"][0]))[0]
        raise ConfigError(
            f"{typed} {first['input']!r} is refused: {first['msg'].lower()}; give it another value."
        ) from cause


def _known(value: Any, field: _Field, choice: _Choice) -> Any:
    """Return a value, unless its field takes certain words alone and it is none of them.

    Raises:
        ConfigError: it is none of them.
    """
    words = _typed(field.kind, field.option or Option(""))[1]
    if words and value is not None and str(value) not in words:
        raise ConfigError(f"{choice.names(field)[0]} {value!r} is not known; use one of {', '.join(words)}.")
    return value


def _sentence(text: str) -> str:
    """Return a description as help texts are written: a capital letter, a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
