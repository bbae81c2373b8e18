"""The one console command. A verb's module is imported when the verb is called, so ``--help`` answers at once."""

import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import click
import typer

# verb: where it lives (module:typer app or function), what it does
VERBS = {
    "demo": ("bandloom.demo:demo", "From nothing to a land-cover map: every stage, small."),
    "doctor": ("bandloom.doctor:doctor", "Print what an issue reporter should paste."),
    "shards": ("shards.cli:app", "Turn scenes into WebDataset shards, and look at them."),
    "pretrain": ("pretrain.cli:pretrain", "Pretrain an encoder by masked autoencoding."),
    "finetune": ("finetune.cli:finetune", "Train a segmenter or classifier on labels, beside its floors."),
    "export": ("export.cli:export", "Turn a fine-tuned run into a bundle for the GPU box."),
    "bundle": ("export.cli:bundle", "Verify or inspect a bundle."),
    "predict": ("export.cli:predict", "Map a whole scene with a bundle; needs no torch."),
    "slurm": ("slurm.cli:app", "Launch any of it on a cluster, watch it, stop it, let it go on."),
}


class _LazyVerbs(click.Group):
    """A group whose commands are imported by the table above, or from the entry points ``bandloom.verbs``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, *sorted(_added())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = VERBS[cmd_name][0] if cmd_name in VERBS else _added().get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(add_completion=False)
        single.command(name=cmd_name)(found)
        return typer.main.get_command(single)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(verb, help_line) for verb, (_, help_line) in VERBS.items()]
        rows += [(verb, f"Added by {target}.") for verb, target in sorted(_added().items())]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)


def _added() -> dict[str, str]:
    """Verbs that other packages add."""
    return {point.name: point.value for point in entry_points(group="bandloom.verbs")}


@click.group(cls=_LazyVerbs, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.option("--debug", is_flag=True, help="Show the traceback behind an error, and debug lines.")
@click.version_option(package_name="bandloom", message="bandloom %(version)s")
def bandloom(debug: bool) -> None:
    """From raw multispectral scenes to a compiled engine on a GPU box."""
    from bandloom.console import start_logging

    start_logging(debug=debug)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a :class:`~bandloom.errors.BandloomError` is one sentence on stderr and exit code 2."""
    from bandloom.errors import BandloomError

    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return bandloom.main(args=arguments, prog_name="bandloom", standalone_mode=True)
    except BandloomError as error:
        if "--debug" in arguments:
            raise
        sys.stderr.write(f"error: {error}\n")
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
    **{"deepspeed": "deepspeed", "transformers": "text", "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"},
}
