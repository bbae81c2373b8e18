"""The verbs of ``bandloom labels``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from bandloom.command_line.options import Only, Renamed, fills
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.scenes.options import SceneOptions

if TYPE_CHECKING:
    from bandloom.finetune.labels.prepare import Form, Request
    from bandloom.finetune.public_sets.prepare import SetRequest

app = typer.Typer(no_args_is_help=True, add_completion=False)

Source = Annotated[Path, typer.Argument(help="Chips (a folder or a CSV), or the scene that --labels belongs to.")]
FormOption = Annotated[
    str,
    typer.Option(
        help="folders, table, bigearthnet, mask, polygons or points; or a public set: a name of `bandloom labels sets`,"
        " or auto."
    ),
]
LabelSetOption = Annotated[
    str | None, typer.Option(help="A shipped label set, or your own YAML; a public set brings its own.")
]
LabelsOption = Annotated[Path | None, typer.Option(help="The mask, polygons or points.")]
Take = Annotated[str | None, typer.Option(help="Of a public set: which of its choices, such as a date.")]
Several = Annotated[bool, typer.Option("--several", help="bigearthnet: keep all classes of a patch (multilabel).")]
Told = Annotated[SceneOptions, Renamed(nodata="--scene-nodata")]


@app.callback()
def labels() -> None:
    """Read what people bring as labels, say everything that is wrong, and write what shards are built from."""


@app.command(name="list")
def list_sets() -> None:
    """List the shipped label sets and the mappings between them."""
    from bandloom.classes.label_mapping import shipped_mappings
    from bandloom.classes.taxonomy import get_taxonomy, shipped
    from bandloom.command_line.console import console, table

    sets = [get_taxonomy(name) for name in shipped()]
    console.print(table("label sets", ("name", "classes", "what"), ((s.id, len(s.classes), s.name) for s in sets)))
    console.print(table("mappings", ("from", "to"), shipped_mappings()))


@app.command()
def sets() -> None:
    """List the public label sets that `prepare --form` reads as they are published."""
    from bandloom.command_line.console import console, table
    from bandloom.finetune.public_sets.registry import SETS

    facts = [kind.facts for kind in SETS.values()]
    rows = ((f.form, f.title, f.task, f.label_set, ", ".join(f.splits), f.licence, f.size) for f in facts)
    heads = ("form", "set", "task", "label set", "published splits", "licence", "size")
    console.print(table("public label sets", heads, rows))


@app.command()
def colours(
    label_set: Annotated[str | None, typer.Argument(help="A shipped label set, or your own YAML; all without.")] = None,
) -> None:
    """List classes whose colours are hard to tell apart, to normal or to colour-blind sight."""
    from bandloom.classes.colour_vision import LEAST_DISTANCE, alike
    from bandloom.classes.taxonomy import get_taxonomy, shipped
    from bandloom.command_line.console import console, table

    sets = [get_taxonomy(name).label_set for name in ([label_set] if label_set else shipped())]
    pairs = [(labels, alike(labels.names, labels.colours)) for labels in sets]
    if label_set:
        rows = [(pair.first, pair.second, pair.sight, pair.distance, pair.normal) for pair in pairs[0][1]]
        heads = ("class", "class", "nearest to this sight", "there", "to normal sight")
        title = f"pairs of {label_set} nearer than {LEAST_DISTANCE:g} in CIEDE2000"
    else:
        rows = [(s.name, len(s), len(found), sum(p.to_all for p in found)) for s, found in pairs]
        heads = ("label set", "classes", "to some sight", "to normal sight")
        title = f"pairs of classes nearer than {LEAST_DISTANCE:g} in CIEDE2000"
    console.print(table(title, heads, rows))


@app.command()
def lucas(
    table: Annotated[Path, typer.Argument(help="LUCAS's harmonised CSV.")],
    out: Annotated[Path, typer.Option("--out", help="CSV of points to write; must not exist.")],
    year: Annotated[int | None, typer.Option(help="Of one survey alone.")] = None,
    most_m: Annotated[float, typer.Option(help="GPS precision and distance of observation, at most.")] = 10.0,
) -> None:
    """Write LUCAS's points as lon, lat and class, for --form points --label-set lucas8."""
    from bandloom.finetune.labels.lucas import write_points

    found = write_points(table, out, year, most_m)
    left_out = "".join(f", {count} {reason}" for reason, count in found.left_out.items())
    typer.echo(f"{found.written} points in {out}; left out{left_out or ' none'}".replace("out,", "out:"))


@app.command()
def examples(out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")]) -> None:
    """Write one synthetic ground labelled in every form: layouts to copy."""
    from bandloom.finetune.labels.examples import write_examples

    write_examples(out)


@app.command()
@fills
def check(
    source: Source,
    form: FormOption,
    reading: LabelReading,
    told: Told,
    label_set: LabelSetOption = None,
    labels: LabelsOption = None,
    take: Take = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Check the bands against this checkpoint.")] = None,
    report: Annotated[str, typer.Option(help="text or json.")] = "text",
    several: Several = False,
) -> None:
    """List every problem at once; exit code 2 when one of them stops a preparation."""
    from bandloom.finetune.labels.prepare import Prepared, examine, slots_of_checkpoint

    if public := _public_set(source, form, label_set, labels, take, several):
        from bandloom.finetune.public_sets.prepare import examine_set

        prepared = Prepared(examine_set(public))
    else:
        request = _request(source, form, label_set, labels, reading, told, several)
        prepared = examine(request, slots_of_checkpoint(checkpoint) if checkpoint else None)
    found = prepared.problems
    if report == "json":
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        for line in found.lines():
            typer.echo(line)
        _say_unlabelled(prepared.unlabelled_px)
        _say_alike(label_set)
        typer.echo(f"{len(found.errors)} errors, {len(found.found) - len(found.errors)} warnings")
        if not found.errors:
            typer.echo("next: the same words with prepare in the place of check, and --out FOLDER")
    raise typer.Exit(2 if found.errors else 0)


@app.command()
@fills
def prepare(
    source: Source,
    form: FormOption,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    reading: LabelReading,
    told: Told,
    label_set: LabelSetOption = None,
    labels: LabelsOption = None,
    take: Take = None,
    several: Several = False,
    workers: Annotated[int, typer.Option(help="Of a public set: processes.")] = 1,
    part: Annotated[str, typer.Option(help="Of a public set: I/N, part I of N; then once without.")] = "",
) -> None:
    """Write labels in the form that `bandloom shards build` takes, and print that command; of a public set, shards."""
    from bandloom.finetune.labels.prepare import build_command
    from bandloom.finetune.labels.prepare import prepare as run

    if public := _public_set(source, form, label_set, labels, take, several):
        return _prepare_set(public, out, workers, part)
    request = _request(source, form, label_set, labels, reading, told, several)
    manifest = run(request, out)
    for warning in manifest["warnings"]:
        typer.echo(f"warning: {warning['where']}: {warning['what']}")
    typer.echo(", ".join(f"{name} {count}" for name, count in manifest["counts"].items() if count))
    _say_unlabelled(manifest["unlabelled_px"])
    typer.echo(f"next: {build_command(request, out, manifest['side_px'])}")


@app.command(name="map")
@fills
def map_labels(
    raster: Annotated[Path, typer.Argument(help="A label raster in the codes of --from.")],
    source: Annotated[str, typer.Option("--from", help="The label set it is in.")],
    target: Annotated[str, typer.Option("--to", help="The label set to write.")],
    out: Annotated[Path, typer.Option("--out", help="Raster to write; must not exist.")],
    reading: Annotated[LabelReading, Only("nodata")],
    mapping: Annotated[Path | None, typer.Option(help="Your own CSV: from,to,lossy.")] = None,
) -> None:
    """Translate a label raster to another label set; what has no counterpart becomes 255 and is counted."""
    from bandloom.classes.label_mapping import get_mapping
    from bandloom.finetune.labels.raster_map import map_raster

    found = map_raster(raster, out, get_mapping(source, target, mapping), reading)
    for name, count in found.lost.items():
        typer.echo(f"warning: {count} pixels of {name!r} have no class in {target} and are left unlabelled")
    if found.lossy:
        typer.echo(f"warning: the mapping loses something for {', '.join(found.lossy)}")
    for warning in found.warnings:
        typer.echo(f"warning: {raster}: {warning}")


def _public_set(
    source: Path, form: str, label_set: str | None, labels: Path | None, take: str | None, several: bool
) -> "SetRequest | None":
    """Return which public set is meant, or None for a user's own labels."""
    from bandloom.errors import LabelError
    from bandloom.finetune.public_sets.prepare import SetRequest
    from bandloom.finetune.public_sets.registry import form_of

    name = form_of(form, source)
    if name is None:
        if take is not None:
            raise LabelError(f"--take is for public sets (`bandloom labels sets`); --form {form} has no choices.")
        return None
    if labels is not None or several:
        option = "--labels" if labels is not None else "--several"
        raise LabelError(f"--form {name} finds its labels in {source} itself; leave out {option}.")
    return SetRequest(name, source, label_set, take)


def _prepare_set(request: "SetRequest", out: Path, workers: int, part: str) -> None:
    from bandloom.finetune.public_sets.prepare import CONFIG, SHARDS, TABLE, prepare_set
    from bandloom.shards.build.build import parse_part
    from bandloom.shards.cli import describe

    manifest = prepare_set(request, out, workers=workers, part=parse_part(part), finish=not part)
    if part:
        typer.echo(f"part {part} of {out} is done; when all are, run the same command once without --part")
        return
    for warning in manifest["warnings"]:
        typer.echo(f"warning: {warning['where']}: {warning['what']}")
    typer.echo(describe(out / SHARDS))
    if (out / TABLE).is_file():
        typer.echo(f"the classes of each chip stand in {out / TABLE}, which the config names")
    for split, counts in manifest["published"]["splits"].items():
        typer.echo(f"published split {split}: {', '.join(f'{role} {count}' for role, count in counts.items())}")
    typer.echo(f"next: bandloom finetune {out / CONFIG} --out RUN")


def _say_alike(label_set: str | None) -> None:
    """Say which colours of a label set are hard to tell apart: nothing that stops a preparation."""
    from bandloom.classes.colour_vision import sentence
    from bandloom.classes.taxonomy import get_taxonomy

    if label_set is not None:
        labels = get_taxonomy(label_set).label_set
        if told := sentence(labels.names, labels.colours):
            typer.echo(f"note: {told} All: bandloom labels colours {label_set}")


def _say_unlabelled(pixels: dict[str, int]) -> None:
    if pixels:
        typer.echo(f"pixels without a label: {', '.join(f'{count} ({reason})' for reason, count in pixels.items())}")


def _request(
    source: Path,
    form: str,
    label_set: str | None,
    labels: Path | None,
    reading: LabelReading,
    told: SceneOptions,
    several: bool = False,
) -> "Request":
    from typing import get_args

    from bandloom.classes.taxonomy import get_taxonomy
    from bandloom.errors import LabelError, nearest
    from bandloom.finetune.labels.prepare import Form, Request
    from bandloom.finetune.public_sets.registry import SETS

    known = get_args(Form)
    if form not in known:
        all_known = (*known, *SETS)
        raise LabelError(
            f"--form {form!r} is not known; use one of {', '.join(known)}, or a public set (`bandloom labels sets`)."
            f"{nearest(form, all_known)}"
        )
    if label_set is None:
        raise LabelError(f"--form {form} needs --label-set: a shipped one (`bandloom labels list`), or your own YAML.")
    reading.check()
    told.check()
    if several and form != "bigearthnet":
        raise LabelError(f"--several is for --form bigearthnet; {form} has one class a chip or pixel.")
    if not source.exists():
        raise LabelError(f"{source} does not exist; check the path.")
    return Request(
        cast("Form", form),
        source,
        get_taxonomy(label_set),
        labels,
        reading,
        told.sensor,
        cast("str | None", told.band_map),
        told.offset,
        several,
        told.scale,
        cast("str | None", told.nodata),
        told.bands,
    )
