"""The measured values of one scene of a build: a raster that lies on it, or a chip's value from a table."""

from contextlib import ExitStack
from pathlib import Path

from bandloom.errors import LabelError
from bandloom.shards.build.plan import BuildOptions, Plan
from bandloom.shards.build.sources import Source
from bandloom.shards.labels.scene_values import TABLE_SUFFIX, SceneValues, read_value_table, stem_of
from bandloom.shards.scenes import Scene

VALUE_FIELD = "value"  # the column of a table, where --label-field names no other


def open_scene_values(files: ExitStack, scene: Scene, source: Source, plan: Plan) -> SceneValues | None:
    """Open the raster of values of a scene, if the build joins any; ``files`` closes it.

    Raises:
        LabelError: it cannot be used, or there is none for this scene.
    """
    pattern = plan.options.values
    if pattern is None or _is_table(pattern):
        return None
    values = SceneValues(pattern, source.path, scene, plan.options.reading)
    files.callback(values.close)
    return values


def value_of(source: Source, options: BuildOptions) -> float | None:
    """Return a chip's value from the table of a build; None where the build has no table, or the chip no value.

    Raises:
        LabelError: the table cannot be read.
    """
    if options.values is None or not _is_table(options.values):
        return None
    field = options.label_field if options.label_field != BuildOptions.label_field else VALUE_FIELD
    table = read_value_table(Path(options.values), field)
    return next((table[name] for name in (source.key, stem_of(source.path)) if name in table), None)


def check_table(options: BuildOptions, keys: list[str]) -> None:
    """Check that a table names some chip of a build.

    Raises:
        LabelError: it names none.
    """
    if options.values is None or not _is_table(options.values):
        return
    field = options.label_field if options.label_field != BuildOptions.label_field else VALUE_FIELD
    table = read_value_table(Path(options.values), field)
    if not table.keys() & set(keys):
        raise LabelError(
            f"the table {options.values} has a value for no chip: it names {', '.join(list(table)[:3]) or 'none'}, the"
            f" chips are {', '.join(keys[:3])}; name each chip by its file."
        )


def _is_table(pattern: str) -> bool:
    return pattern.lower().endswith(TABLE_SUFFIX)
