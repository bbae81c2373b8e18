"""``bandloom align``, ``zeroshot`` and ``search``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.run_options import ConfigOrOverride, FromScratch, Out, Overrides, Resume


def align(
    config: ConfigOrOverride = None,
    overrides: Overrides = None,
    out: Out = Path("runs/align"),
    resume: Resume = None,
    from_scratch: FromScratch = False,
) -> None:
    """Align an encoder with words, and say what it knows of them."""
    from bandloom.config import config_of_run
    from bandloom.finetune.text.config import AlignConfig
    from bandloom.finetune.text.train import align as train
    from bandloom.run_folder import RunFolder

    resolved, folder = config_of_run(AlignConfig, config, overrides or [], out, resume)
    raise typer.Exit(train(resolved, RunFolder(folder, goes_on=resume is not None), from_scratch=from_scratch))


Run = Annotated[Path, typer.Argument(help="A run of `bandloom align`, or its checkpoint folder.")]
TextModel = Annotated[str | None, typer.Option("--text", help="The text model, where it lies elsewhere now.")]


def zeroshot(
    run: Run,
    classes: Annotated[str, typer.Option(help="Words with commas; else the classes it was aligned on.")] = "",
    classes_file: Annotated[str | None, typer.Option(help="Label set instead, shipped or YAML with synonyms.")] = None,
    templates: Annotated[Path | None, typer.Option(help="File of sentences with {}, one a line.")] = None,
    images: Annotated[Path | None, typer.Option(help="Shards, a scene, or a folder of scenes.")] = None,
    out: Annotated[Path, typer.Option(help="New CSV of the chips' classes and cosines.")] = Path("zeroshot.csv"),
    bake: Annotated[Path | None, typer.Option(help="New run folder with the words as an ordinary classifier.")] = None,
    scene: Annotated[Path | None, typer.Option("--map", help="A scene to map --query in, token by token.")] = None,
    query: Annotated[list[str] | None, typer.Option(help="Words to map; may be given several times.")] = None,
    map_out: Annotated[Path, typer.Option(help="New GeoTIFF of --map; PNGs go beside it.")] = Path("words.tif"),
    text: TextModel = None,
) -> None:
    """Classify chips by words alone, map words in a scene, or bake them into a classifier that can be exported."""
    from bandloom.console import logger
    from bandloom.errors import ConfigError
    from bandloom.finetune.text.aligned_model import load_aligned
    from bandloom.finetune.text.captions.words import TEMPLATES
    from bandloom.finetune.text.search.similarity_map import map_words
    from bandloom.finetune.text.zeroshot import bake as write
    from bandloom.finetune.text.zeroshot import choose_classes, print_scores
    from bandloom.finetune.text.zeroshot import zeroshot as classify

    if images is None and bake is None and scene is None:
        raise ConfigError(
            "say what to do with the words: --images SOURCE to classify, --bake FOLDER to export later,"
            " --map SCENE --query WORDS to map."
        )
    aligned = load_aligned(run, text)
    if scene is not None:
        map_words(aligned, scene, query or [], map_out)
    if images is None and bake is None:
        return
    lines = TEMPLATES if templates is None else tuple(filter(None, map(str.strip, _lines(templates))))
    chosen = choose_classes(aligned, classes.split(","), classes_file, lines)
    if bake is not None:
        write(aligned, chosen, run, bake)
        logger.info("the classifier is in %s; `bandloom export` makes a bundle of it", bake)
    if images is not None:
        print_scores(classify(aligned, chosen, images, out), out)


def search(
    run: Run,
    index: Annotated[Path, typer.Option(help="The index; built from --images where it does not exist.")] = Path(
        "index.parquet"
    ),
    images: Annotated[Path | None, typer.Option(help="Shards, a scene, or a folder of scenes to index.")] = None,
    query: Annotated[str | None, typer.Option(help="Words to look for.")] = None,
    like: Annotated[str | None, typer.Option(help="A chip's key, or a scene, to find the like of.")] = None,
    words: Annotated[Path | None, typer.Option(help="Say the nearest kept sentences of this source's chips.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Folder for found.csv and the contact sheet found.png.")] = None,
    method: Annotated[str, typer.Option(help="auto, numpy or faiss; all are exact.")] = "auto",
    text: TextModel = None,
) -> None:
    """Find chips by words or by a chip, in an index of their embeddings."""
    from typing import cast, get_args

    from bandloom.console import console, logger
    from bandloom.errors import ConfigError
    from bandloom.finetune.text.aligned_model import load_aligned
    from bandloom.finetune.text.search.index import build_index
    from bandloom.finetune.text.search.nearest import Method
    from bandloom.finetune.text.search.search import search as find
    from bandloom.finetune.text.search.search import words_for

    if method not in get_args(Method):
        raise ConfigError(f"--method {method!r} is not known; use {', '.join(get_args(Method))}.")
    if images is None and query is None and like is None and words is None:
        raise ConfigError("say what to do: --images SOURCE builds the index, --query WORDS or --like KEY asks it.")
    aligned = load_aligned(run, text)
    if images is not None:
        logger.info("%d chips are in %s", build_index(aligned, images, index), index)
    if words is not None:
        for key, found in words_for(aligned, words, min(top, 3)):
            console.print(f"{key}: " + ", ".join(f"{text} ({score:.2f})" for text, score in found))
    if query is not None or like is not None:
        find(aligned, index, query, like, top, out, cast("Method", method))


def _lines(path: Path) -> list[str]:
    from bandloom.errors import TextError

    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise TextError(
            f"the templates {path} cannot be read ({cause}); write one sentence with {{}} a line."
        ) from cause
