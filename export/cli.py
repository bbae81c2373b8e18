"""Commands ``export``, ``bundle`` and ``predict``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.options import fills
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.predict.options import PredictOptions
from bandloom.export.runtimes.engine_builder import BuildOptions

bundle = typer.Typer(help="Verify or inspect a bundle.", no_args_is_help=True, add_completion=False)

BundlePath = Annotated[Path, typer.Argument(help="The bundle's folder.")]


@fills
def export(
    runs: Annotated[
        list[Path], typer.Argument(help="A fine-tuning run, or the checkpoint folder in it; with --ensemble several.")
    ],
    out: Annotated[Path, typer.Option(help="The new bundle's folder.")],
    options: ExportOptions,
) -> None:
    """Turn a fine-tuned run into a bundle for the GPU box; nothing is written when parity with torch fails."""
    from bandloom.export.from_torch.export_run import export_run
    from bandloom.export.from_torch.parity import say_parity

    made = export_run(runs[0], out, options, runs[1:])
    for model in made.record.models:
        say_parity(model)
    target = "MAP.tif" if made.contract.makes_map else "TILES.json"
    scenes = "SCENE" if made.contract.dates == 1 else "--change BEFORE AFTER"
    typer.echo(f"wrote the bundle {out}; use it with: bandloom predict {out} {scenes} --out {target}")


@bundle.command()
def verify(path: BundlePath) -> None:
    """Check every file, the record's meaning, and the model's answers on the golden chips."""
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.runtimes.choose import NoRuntimeError, load_runner
    from bandloom.export.runtimes.verify import check_files, check_meaning

    opened = read_bundle(path)
    check_files(opened)
    check_meaning(opened)
    for model in opened.record.models:
        try:
            runner = load_runner(opened, model.precision)
        except NoRuntimeError as cause:
            typer.echo(f"{model.file} ({model.precision}): checksum and record fit; not run here: {cause}")
        else:
            typer.echo(f"{model.file} ({model.precision}): golden chips reproduced on {runner.name}")
    typer.echo(f"{path} is whole: {len(opened.record.files)} files")


@bundle.command()
def inspect(path: BundlePath) -> None:
    """Show what a bundle takes, what it gives, and how close it is to torch."""
    from bandloom.command_line.console import console
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.runtimes.show_bundle import tables

    for table in tables(read_bundle(path)):
        console.print(table)


@bundle.command()
def bench(
    path: BundlePath,
    threads: Annotated[str, typer.Option(help="Threads of runtimes on the CPU, comma-separated.")] = "1,2",
    seconds: Annotated[float, typer.Option(help="How long each row is measured.")] = 2.0,
    batch: Annotated[int | None, typer.Option(help="Tiles a call, beside single ones; as a map's by default.")] = None,
) -> None:
    """Measure size, memory and milliseconds a tile on this box; prints JSON to paste into an issue."""
    import json

    from bandloom.errors import BundleError
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.runtimes.bench import bench as measure

    if not all(part.strip().isdigit() for part in threads.split(",")):
        raise BundleError(f"--threads is {threads!r}; pass whole numbers with commas, such as --threads 1,2.")
    counts = [int(part) for part in threads.split(",")]
    typer.echo(json.dumps(measure(read_bundle(path), counts, seconds, batch), indent=1))


@bundle.command()
@fills
def build(
    path: BundlePath,
    options: BuildOptions,
    backend: Annotated[str, typer.Option(help="tensorrt or tensorrt-rtx.")] = "tensorrt",
    precision: Annotated[str, typer.Option(help="Comma-separated; all of the bundle's by default.")] = "",
) -> None:
    """Compile engines into a bundle; tensorrt-rtx needs no GPU for it."""
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.runtimes.add_engines import add_engines, build_lines

    opened = read_bundle(path)
    for engine in add_engines(opened, backend, [part for part in precision.split(",") if part], options):
        note = "built without a GPU, never run" if engine.built_without_gpu else "built on this GPU"
        typer.echo(f"{engine.file}: {note}")
    for line in build_lines(opened, options):
        typer.echo(f"the same with trtexec: {line}")


@bundle.command()
def prune(
    path: BundlePath,
    out: Annotated[Path, typer.Option(help="The new, small bundle.")],
    target: Annotated[str, typer.Option("--for", help="A compute capability such as sm_90, or cpu.")],
) -> None:
    """Write the small bundle to ship to one kind of box."""
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.runtimes.add_engines import prune as prune_bundle

    made = prune_bundle(read_bundle(path), out, target)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    typer.echo(f"{out}: {len(made.record.files)} files, {size / 1e6:.1f} MB")


@bundle.command()
def triton(
    path: BundlePath,
    out: Annotated[Path, typer.Argument(help="The new model repository.")],
    precision: Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8; the bundle's first.")] = None,
) -> None:
    """Write a Triton model repository."""
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.runtimes.triton import write_repository

    made = write_repository(read_bundle(path), out, precision)
    typer.echo(f"{made}: start it with: tritonserver --model-repository={out}")


@fills
def predict(
    bundle: BundlePath,
    scenes: Annotated[list[str], typer.Argument(help="Scenes, folders of scenes, or .txt lists of them.")],
    out: Annotated[Path, typer.Option(help="MAP.tif (or .json, .csv for a classifier); a folder for several scenes.")],
    options: PredictOptions,
    change: Annotated[
        bool, typer.Option("--change", help="The two scenes are BEFORE and AFTER; also map what changed.")
    ] = False,
    part: Annotated[str, typer.Option(help="i/n: only every n-th scene, for n machines.")] = "1/1",
) -> None:
    """Map whole scenes with a bundle; needs no torch."""
    from bandloom.export.predict.many_scenes import predict_scenes

    for line in predict_scenes(bundle, scenes, out, options, part, change=change):
        typer.echo(line)
