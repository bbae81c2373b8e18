"""Typed configs from YAML and the command line; a key that is not known is an error that names the nearest one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bandloom.errors import ConfigError, nearest


class Config(BaseModel):
    """The base of every config: frozen, fully typed, unknown keys refused; field descriptions are its documentation.

    A section with defaults of its own is a class of its own, whose fields take type and limits from their parent:
    ``lr: Annotated[float, EngineConfig.model_fields["lr"]] = 1e-3``. A default factory that builds the parent with
    other values would lose all of them as soon as one key of the section is named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def with_changes(self, **changes: Any) -> Self:
        """Return a validated copy with some fields replaced."""
        return self.model_validate(self.model_dump() | changes)

    def to_yaml(self) -> str:
        """Return the resolved config as YAML, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


C = TypeVar("C", bound=Config)


def load_config(kind: type[C], path: Path | None, overrides: Sequence[str] = ()) -> C:
    """Read ``path`` (YAML; None means defaults alone), apply ``key.sub=value`` overrides, and validate.

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
        return kind.model_validate(data)
    except ValidationError as cause:
        raise ConfigError(_explain(kind, cause, where)) from cause


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
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
        data = data.setdefault(key, {})
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
