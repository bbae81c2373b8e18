"""``bandloom align``, ``zeroshot`` and ``search``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.options import fills
from bandloom.command_line.run_options import ConfigOrOverride, FromScratch, Out, Overrides, Resume
from bandloom.finetune.text.options import SearchOptions, ZeroshotOptions


def align(
    config: ConfigOrOverride = None,
    overrides: Overrides = None,
    out: Out = Path("runs/align"),
    resume: Resume = None,
    from_scratch: FromScratch = False,
) -> None:
    """Align an encoder with words, and say what it knows of them."""
    from bandloom.command_line.config import config_of_run
    from bandloom.finetune.text.config import AlignConfig
    from bandloom.finetune.text.train import align as train
    from bandloom.run_state.run_folder import RunFolder

    resolved, folder = config_of_run(AlignConfig, config, overrides or [], out, resume)
    raise typer.Exit(train(resolved, RunFolder(folder, goes_on=resume is not None), from_scratch=from_scratch))


Run = Annotated[Path, typer.Argument(help="A run of `bandloom align`, or its checkpoint folder.")]
TextModel = Annotated[str | None, typer.Option("--text", help="The text model, where it lies elsewhere now.")]


@fills
def zeroshot(run: Run, options: ZeroshotOptions, text: TextModel = None) -> None:
    """Classify chips by words alone, map words in a scene, or bake them into a classifier that can be exported."""
    options.check()
    from bandloom.command_line.console import logger
    from bandloom.finetune.text.aligned_model import load_aligned
    from bandloom.finetune.text.captions.words import TEMPLATES
    from bandloom.finetune.text.search.similarity_map import map_words
    from bandloom.finetune.text.zeroshot import bake, choose_classes, print_scores
    from bandloom.finetune.text.zeroshot import zeroshot as classify
    from bandloom.training.device_memory import default_device

    aligned = load_aligned(run, text)
    if options.bake is None:
        aligned.model.to(default_device())
    if options.scene is not None:
        map_words(aligned, options.scene, options.query, options.map_out or Path("words.tif"))
    if options.images is None and options.bake is None:
        return
    templates = TEMPLATES if options.templates is None else _lines(options.templates)
    chosen = choose_classes(aligned, options.classes.split(","), options.classes_file, templates)
    if options.bake is not None:
        bake(aligned, chosen, run, options.bake)
        logger.info("the classifier is in %s; `bandloom export` makes a bundle of it", options.bake)
    if options.images is not None:
        out = options.out or Path("zeroshot.csv")
        print_scores(classify(aligned, chosen, options.images, out), out)


@fills
def search(run: Run, options: SearchOptions, text: TextModel = None) -> None:
    """Find chips by words or by a chip, in an index of their embeddings."""
    options.check()
    from bandloom.command_line.console import console, logger
    from bandloom.finetune.text.aligned_model import load_aligned
    from bandloom.finetune.text.search.index import build_index
    from bandloom.finetune.text.search.search import search as find
    from bandloom.finetune.text.search.search import words_for
    from bandloom.training.device_memory import default_device

    aligned = load_aligned(run, text)
    aligned.model.to(default_device())
    if options.images is not None:
        logger.info("%d chips are in %s", build_index(aligned, options.images, options.index), options.index)
    if options.words is not None:
        for key, nearest in words_for(aligned, options.words, min(options.top, 3)):
            console.print(f"{key}: " + ", ".join(f"{words} ({score:.2f})" for words, score in nearest))
    if options.query is not None or options.like is not None:
        find(aligned, options.index, options.query, options.like, options.top, options.out, options.method)


def _lines(path: Path) -> tuple[str, ...]:
    """Return the sentences of a file of templates.

    Raises:
        TextError: it cannot be read or holds none.
    """
    from bandloom.errors import TextError

    try:
        templates = tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8-sig").splitlines())))
    except (OSError, UnicodeDecodeError) as cause:
        raise TextError(
            f"the templates {path} cannot be read ({cause}); write one sentence with {{}} a line."
        ) from cause
    if not templates:
        raise TextError(f"the templates {path} hold no sentence; write one with {{}} a line.")
    return templates
