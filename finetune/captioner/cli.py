"""``bandloom caption train`` and ``generate``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.run_options import FromScratch, Out, Overrides, Resume

app = typer.Typer(
    help="Experimental: caption images and answer questions about them.", no_args_is_help=True, add_completion=False
)


@app.command()
def train(
    config: Annotated[
        Path | None, typer.Argument(help="YAML config; `shards` and `language.model` it must have. Not with --resume.")
    ] = None,
    overrides: Overrides = None,
    out: Out = Path("runs/caption"),
    resume: Resume = None,
    from_scratch: FromScratch = False,
) -> None:
    """Show a language model images, with captions and questions to learn from."""
    from bandloom.command_line.config import config_of_run
    from bandloom.finetune.captioner.config import CaptionerConfig
    from bandloom.finetune.captioner.train import train_captioner
    from bandloom.run_state.run_folder import RunFolder

    resolved, folder = config_of_run(CaptionerConfig, config, overrides or [], out, resume)
    run = RunFolder(folder, goes_on=resume is not None)
    raise typer.Exit(train_captioner(resolved, run, from_scratch=from_scratch))


@app.command()
def generate(
    run: Annotated[Path, typer.Argument(help="A run of `bandloom caption train`, or its checkpoint folder.")],
    images: Annotated[Path, typer.Option(help="Shards, a scene, or a folder of scenes.")],
    question: Annotated[str | None, typer.Option(help="Asked of every chip; else it is captioned.")] = None,
    questions: Annotated[Path | None, typer.Option(help="JSON lines with image and question, as RSVQA's.")] = None,
    out: Annotated[Path, typer.Option(help="New file of JSON lines.")] = Path("answers.jsonl"),
    language: Annotated[Path | None, typer.Option(help="The language model, where it lies elsewhere now.")] = None,
    most_new: Annotated[int | None, typer.Option(min=1, help="Tokens of an answer at most.")] = None,
) -> None:
    """Caption chips, or answer questions about them."""
    from bandloom.finetune.captioner.checkpoint import load_captioner
    from bandloom.finetune.captioner.generate import generate as write

    write(load_captioner(run, language), images, out, question, questions, most_new)
