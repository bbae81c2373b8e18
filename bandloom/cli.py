"""The console command ``bandloom``; a verb's module is imported when it is called, so ``--help`` answers at once."""

import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, cast

import typer
import typer.core

from bandloom import __version__
from bandloom.command_line.examples import add_examples
from bandloom.command_line.garbage import leave_at_exit, uncollected
from bandloom.command_line.omp_wait import wait_asleep

# verb: where it lives (module:typer app or function), what it does
VERBS = {
    "demo": ("bandloom.demo.cli:demo", "From nothing to a land-cover map: every stage, small."),
    "doctor": ("bandloom.doctor:doctor", "Print versions, hardware and extras, to paste into an issue."),
    "shards": ("bandloom.shards.cli:app", "Turn scenes into WebDataset shards, and look at them."),
    "pretrain": ("bandloom.pretrain.cli:pretrain", "Pretrain an encoder by masked autoencoding."),
    "embed": ("bandloom.pretrain.cli:embed", "Write the embeddings of a scene or of shards."),
    "finetune": ("bandloom.finetune.cli:finetune", "Train a segmenter or classifier on labels, beside baselines."),
    "distil": ("bandloom.distil:distil", "Make a small model of a large fine-tuned one."),
    "probe": (
        "bandloom.finetune.cli:probe",
        "Score a frozen encoder's features beside baselines.",
    ),
    "baselines": (
        "bandloom.finetune.cli:baselines",
        "Score every baseline on a split.",
    ),
    "bench": ("bandloom.finetune.bench.cli:bench", "Score encoders on many label sets beside baselines: one table."),
    "evaluate": ("bandloom.finetune.cli:evaluate", "Score a fine-tuned model on labelled shards."),
    "labels": ("bandloom.finetune.labels.cli:app", "Check labels, prepare them for shards, translate label sets."),
    "align": ("bandloom.finetune.text.cli:align", "Align an encoder with text, from captions or class names."),
    "zeroshot": (
        "bandloom.finetune.text.cli:zeroshot",
        "Classify by class names alone, or export them as a classifier.",
    ),
    "search": ("bandloom.finetune.text.cli:search", "Find chips by text or by an example chip."),
    "caption": ("bandloom.finetune.captioner.cli:app", "Experimental: caption images and answer questions about them."),
    "export": ("bandloom.export.cli:export", "Turn a fine-tuned run into a bundle for the GPU box."),
    "bundle": ("bandloom.export.cli:bundle", "Verify, inspect, compile or prune a bundle."),
    "predict": ("bandloom.export.cli:predict", "Map a whole scene with a bundle; needs no torch."),
    "map": ("bandloom.export.place.cli:map_place", "From a box and a date to a map, polygons, areas and a page."),
    "assess": (
        "bandloom.export.assess.cli:app",
        "Estimate a map's accuracy and class areas from points.",
    ),
    "polygons": (
        "bandloom.export.products.cli:polygons",
        "Write a map as polygons with hectares and confidence.",
    ),
    "zones": ("bandloom.export.products.cli:zones", "Add up hectares and shares of a map's classes by zone."),
    "similar": ("bandloom.export.products.cli:similar", "Map what looks like a place, or what looks alike."),
    "qgis": ("bandloom.export.qgis.cli:qgis", "Write the plugin that runs these verbs in QGIS, as a zip."),
    "serve": ("bandloom.export.serve.cli:serve", "Answer map requests over HTTP with a bundle; needs no torch."),
    "encoder": ("bandloom.public_encoders.cli:app", "Fetch, check and convert encoders that others published."),
    "checkpoint": (
        "bandloom.model.hub:app",
        "Publish a checkpoint with its model card, or fetch one from a hub.",
    ),
    "view": ("bandloom.view.cli:view", "Look at a map in a browser: classes over the scene, areas, spectra."),
    "report": ("bandloom.view.cli:report", "Write a page to send about a run, shards, a bundle or a map."),
    "slurm": ("bandloom.slurm.cli:app", "Run any stage on a Slurm cluster: submit, status, stop, resume."),
}

# verbs of one room under the name of another, which may not import it
SUBVERBS = {"labels": {"suggest": "bandloom.export.suggest.cli:suggest"}}


class _LazyVerbs(typer.core.TyperGroup):
    """A group whose commands are imported by the table above, or from the entry points ``bandloom.verbs``."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*VERBS, *sorted(_added())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        target = VERBS[cmd_name][0] if cmd_name in VERBS else _added().get(cmd_name)
        if target is None:
            return None
        command = typer.main.get_command(_app(cmd_name, _load(target)))
        for name, place in SUBVERBS.get(cmd_name, {}).items():
            cast(Any, command).add_command(typer.main.get_command(_app(name, _load(place))), name)
        add_examples(command, cmd_name)
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the table, importing no verb: typer's own help would import them all."""
        self.format_usage(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(self.help or "")
        rows = [(verb, help_line) for verb, (_, help_line) in VERBS.items()]
        rows += [(verb, f"Added by {target}.") for verb, target in sorted(_added().items())]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)
        options = [record for option in self.get_params(ctx) if (record := option.get_help_record(ctx))]
        with formatter.section("Options"):
            formatter.write_dl(options)


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    with uncollected():
        return getattr(import_module(module), attribute)


def _app(name: str, made: Any) -> typer.Typer:
    """Return a typer app as it is, and a function as an app of that one command."""
    if isinstance(made, typer.Typer):
        return made
    single = typer.Typer(add_completion=False)
    single.command(name=name)(made)
    return single


def _added() -> dict[str, str]:
    """Verbs that other packages add."""
    return {point.name: point.value for point in entry_points(group="bandloom.verbs")}


bandloom = typer.Typer(
    cls=_LazyVerbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bandloom {__version__}")
        raise typer.Exit


@bandloom.callback()
def _start(
    debug: Annotated[bool, typer.Option(help="Show the traceback behind an error, and debug lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From raw multispectral scenes to a compiled engine on a GPU box."""
    from bandloom.command_line.child import end_with_parent
    from bandloom.command_line.console import start_logging

    end_with_parent()
    start_logging(debug=debug)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line.

    A :class:`~bandloom.errors.BandloomError`, and what the operating system refuses, is one sentence on stderr and exit
    code 2.
    """
    from bandloom.command_line.typed import typed
    from bandloom.errors import BandloomError

    leave_at_exit()
    wait_asleep()  # before a verb loads torch
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with typed(arguments):
            return bandloom(args=arguments, prog_name="bandloom")
    except BandloomError as error:
        if "--debug" in arguments:
            raise
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except OSError as error:
        from bandloom.command_line.os_errors import sentence_of

        said = sentence_of(error)
        if said is None or "--debug" in arguments:
            raise
        sys.stderr.write(f"error: {said}\n")
        sys.exit(2)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None or "--debug" in arguments:
            raise
        sys.stderr.write(f"error: {error.name} is not installed; install it with: pip install 'bandloom[{extra}]'.\n")
        sys.exit(2)


_EXTRA_OF = {
    **dict.fromkeys(("blosc2", "webdataset", "xxhash"), "shards"),
    **dict.fromkeys(("torch", "timm", "safetensors", "huggingface_hub", "onnx", "sklearn", "matplotlib"), "train"),
    "jinja2": "view",
    **dict.fromkeys(("pyogrio", "shapely", "pyarrow", "scipy"), "vector"),
    **dict.fromkeys(("fastapi", "uvicorn", "prometheus_client", "starlette"), "serve"),
    **{
        "deepspeed": "deepspeed",
        "transformers": "text",
        "tensorrt": "tensorrt",
        "tensorrt_rtx": "tensorrt-rtx",
        "openvino": "openvino",
    },
}


if __name__ == "__main__":
    main()
