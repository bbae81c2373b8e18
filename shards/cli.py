"""Commands ``bandloom shards``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.options import Only, fills
from bandloom.shards.build.plan import BuildOptions

app = typer.Typer(no_args_is_help=True, add_completion=False)
Out = Annotated[Path, typer.Option("--out", help="Where to write; must not exist.")]


@app.callback()
def shards() -> None:
    """Turn scenes into WebDataset shards, and look at them."""


@app.command()
def synth(
    out: Out,
    scenes: Annotated[int, typer.Option(help="How many places.")] = 12,
    size: Annotated[int, typer.Option(help="Side in pixels of 10 m, a multiple of 6.")] = 480,
    seed: Annotated[int, typer.Option(help="The first place; the next ones follow.")] = 0,
    acquisitions: Annotated[int, typer.Option(help="How many days each place is seen.")] = 1,
    clouds: Annotated[float, typer.Option(help="Share of each scene under cloud.")] = 0.02,
    chips: Annotated[int | None, typer.Option(help="Write class folders of chips of this side instead.")] = None,
    ground: Annotated[
        str, typer.Option(help="land-cover, or surroundings: classes by what lies a few hundred metres away.")
    ] = "land-cover",
) -> None:
    """Write synthetic 13-band Sentinel-2 scenes with land-cover labels: OUT/scenes, OUT/labels, OUT/label_set.yaml."""
    from bandloom.command_line.console import logger
    from bandloom.shards.synth import ground_kind
    from bandloom.shards.synth.chips import write_chips
    from bandloom.shards.synth.write import write_scenes

    kind = ground_kind(ground)
    if chips is not None:
        counts = write_chips(out, scenes, size, seed, chips, ground=kind)
        logger.info("%d chips of %d classes in %s", sum(counts.values()), len(counts), out)
        return
    write_scenes(out, scenes, size, seed, acquisitions=acquisitions, cloud_fraction=clouds, ground=kind)
    logger.info("%d scenes of %d x %d pixels in %s", scenes * acquisitions, size, size, out)


@app.command()
@fills
def build(
    sources: Annotated[list[str], typer.Argument(help="Scenes, or folders of scenes.")],
    out: Out,
    options: BuildOptions,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    part: Annotated[str, typer.Option(help="I/N: build part I of N, counted from 1; then finalize.")] = "",
) -> None:
    """Cut scenes into WebDataset shards; run again after a stop, it goes on and gives the same bytes."""
    from bandloom.command_line.console import logger
    from bandloom.shards.build.build import build as run_build
    from bandloom.shards.build.build import parse_part

    run_build(sources, out, options, part=parse_part(part), workers=workers, finish=not part)
    if not part:
        logger.info("%s", describe(out))


@app.command()
def finalize(
    folder: Annotated[Path | None, typer.Argument(help="The folder whose parts are all built.", metavar="OUT")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The same.", hidden=True)] = None,
) -> None:
    """Merge the parts of a build: splits, statistics, index, manifest."""
    from bandloom.command_line.console import logger
    from bandloom.errors import OutputError
    from bandloom.shards.build.build import finish_build

    place = folder or out
    if place is None or (folder and out and folder != out):
        raise OutputError("finalize needs one folder: bandloom shards finalize OUT, as in --out of the build.")
    finish_build(place)
    logger.info("%s", describe(place))


@app.command()
@fills
def plan(
    sources: Annotated[list[str], typer.Argument(help="Scenes, or folders of scenes.")],
    options: Annotated[
        BuildOptions,
        Only("side_px", "sensor", "band_order", "offset", "scale", "nodata", "bands", "class_folders"),
    ],
) -> None:
    """Open every scene and say what a build would make of it, and which scenes it cannot use; writes nothing."""
    from bandloom.command_line.console import console
    from bandloom.shards.build.plan import make_plan

    made = make_plan(sources, options, thorough=True)
    raw_bytes = sum(made.samples) * made.sample_bytes
    console.print(
        f"{len(made.sources)} scenes, {sum(made.samples)} samples of {options.side_px} px in {len(made.units)} units of"
        f" work; {raw_bytes / 1e9:.2f} GB raw, about {raw_bytes / 1e9 / 1.6:.2f} GB as shards"
    )
    for index, reason in made.failures.items():
        console.print(f"cannot be used: {made.sources[index].path}: {reason}", markup=False)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A shard folder, or its s3:// address.")],
    deep: Annotated[bool, typer.Option("--deep", help="Decode every sample and check its sums.")] = False,
) -> None:
    """Check that a shard folder is what was written: every file's sha256; with --deep every array of every sample."""
    from bandloom.command_line.console import logger
    from bandloom.errors import ShardError
    from bandloom.shards.read.verify import verify as find_problems

    problems = find_problems(path, deep)
    for problem in problems[1:]:
        logger.warning("%s", problem)
    if problems:
        raise ShardError(problems[0] + (f" ({len(problems) - 1} more problems above)" if problems[1:] else ""))
    logger.info("%s is as it was written", path)


@app.command()
def stats(
    path: Annotated[Path, typer.Argument(help="A shard folder, or its s3:// address.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
) -> None:
    """Print exact mean, deviation and quantiles of every band over a split, in reflectance."""
    from bandloom.command_line.console import console, table
    from bandloom.errors import ShardError
    from bandloom.shards.build.geography import SPLITS
    from bandloom.shards.build.statistics import split_statistics
    from bandloom.shards.read.shard_set import ShardSet
    from bandloom.shards.store.manifest import check_file

    if split not in SPLITS:
        raise ShardError(f"--split {split!r} is not known; use one of {', '.join(SPLITS)}.")
    shards = ShardSet(path)
    for name in shards.manifest.get("files", {}):
        shards.fetch(name)
        check_file(shards.path, shards.manifest, name)
    statistics = split_statistics(shards.path, shards.manifest["sensors"], shards.entries, split)
    quantiles = list(next(iter(statistics["quantiles"].values())))
    rows = (
        (slot, statistics["mean"][slot], statistics["std"][slot], *statistics["quantiles"][slot].values())
        for slot in statistics["mean"]
    )
    console.print(table(f"{statistics['split']}: reflectance", ("band", "mean", "std", *quantiles), rows))


@app.command()
def info(path: Annotated[Path, typer.Argument(help="A shard folder, or its s3:// address.")]) -> None:
    """Print what a shard folder holds: samples, splits, sensors, labels, and the statistics of every band."""
    from bandloom.command_line.console import console, table
    from bandloom.shards.read.shard_set import ShardSet

    shards = ShardSet(path)
    console.print(describe(path))
    mean, std = shards.statistics["mean"], shards.statistics["std"]
    console.print(table("reflectance", ("band", "mean", "std"), ((slot, mean[slot], std[slot]) for slot in mean)))


@app.command()
def fetch(
    out: Annotated[Path, typer.Option("--out", help="Where each item gets a folder; what is there is kept.")],
    bbox: Annotated[str | None, typer.Option(help="west,south,east,north in degrees.")] = None,
    dates: Annotated[str | None, typer.Option(help="First and last day: 2024-01-01/2024-02-01.")] = None,
    api: Annotated[
        str, typer.Option(help="A STAC API, or a static catalogue: its catalog.json or folder.")
    ] = "https://earth-search.aws.element84.com/v1",
    collection: Annotated[str, typer.Option(help="The collection's name there.")] = "sentinel-2-l2a",
    max_cloud: Annotated[float, typer.Option(help="Leave out items with more cloud, in percent.")] = 100.0,
    limit: Annotated[int, typer.Option(help="How many items at most, the least cloudy first.")] = 10,
    assets: Annotated[str | None, typer.Option(help="Keys of assets, with commas; else bands and cloud masks.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched.")] = False,
    corpus: Annotated[str | None, typer.Option(help="A public corpus, from the Hugging Face hub.")] = None,
    part: Annotated[str, typer.Option(help="I/N: part I of N of a corpus's files, counted from 1.")] = "",
    repository: Annotated[str | None, typer.Option(help="OWNER/NAME of a corpus, where it is not its own.")] = None,
    only: Annotated[str | None, typer.Option(help="Pattern of a corpus's files, such as 'train/S2L2A/*'.")] = None,
) -> None:
    """Fetch scenes from a STAC catalogue, or a corpus from its hub, whole and checked, for shards build OUT."""
    from bandloom.errors import SceneError

    if corpus is not None:
        if bbox or dates:
            raise SceneError("--bbox and --dates are of catalogues; a corpus is fetched by --part and --only.")
        _fetch_corpus(corpus, out, part, repository, only, dry_run)
        return
    if not bbox or not dates:
        raise SceneError("fetch needs --corpus, or --bbox and --dates; bandloom shards fetch --help has examples.")
    from bandloom.command_line.console import console, logger
    from bandloom.shards import fetch as fetching
    from bandloom.shards.scenes.cut import parse_bbox

    items = fetching.search(fetching.Search(api, collection, parse_bbox(bbox), dates, max_cloud, limit))
    if dry_run:
        for item in items:
            console.print(fetching.describe(item), markup=False)
        size, room = fetching.total_bytes(items), fetching.free_bytes(out)
        stated = f"{size / 1e9:.2f} GB" if size else "size not stated"
        console.print(f"{len(items)} items, {stated}; {room / 1e9:.1f} GB free")
        return
    done = fetching.fetch(items, out, [key.strip() for key in assets.split(",")] if assets else None)
    logger.info("%d of %d items in %s", len(done), len(items), out)


def _fetch_corpus(name: str, out: Path, part: str, repository: str | None, only: str | None, dry_run: bool) -> None:
    from bandloom.command_line.console import console, logger
    from bandloom.shards import fetch_corpus
    from bandloom.shards.build.build import parse_part
    from bandloom.shards.fetch import free_bytes

    offer = fetch_corpus.look_up(name, parse_part(part), repository, only)
    if dry_run:
        for file in offer.files:
            console.print(f"{file.path}  {file.bytes:,} bytes", markup=False)
        console.print(
            f"{len(offer.files)} files, {offer.bytes:,} bytes of {offer.repository}, commit {offer.commit},"
            f" {offer.licence}; {free_bytes(out) / 1e9:.1f} GB free"
        )
        return
    done = fetch_corpus.fetch(offer, out)
    logger.info("%d files in %s", len(done), out)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A shard folder.")],
    key: Annotated[str | None, typer.Argument(help="A sample's key, or its number; none: a page of all.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture: true colour, infrared, short-wave, masks.")] = None,
    page: Annotated[Path, typer.Option(help="The page to write when no key is given.")] = Path("shards.html"),
    most: Annotated[int, typer.Option(min=1, help="How many samples the page draws, evenly spread.")] = 240,
) -> None:
    """Write a page of all samples: pictures, places, statistics, quarantine. With a KEY: print what that one holds."""
    from bandloom.command_line.console import console, logger, table
    from bandloom.shards.read.contact_sheet import write_page
    from bandloom.shards.read.picture import draw, facts
    from bandloom.shards.read.shard_set import ShardSet

    shards = ShardSet(path)
    if key is None:
        drawn = write_page(shards, page, most)
        logger.info("%s shows %d of %d samples", page, drawn, len(shards))
        return
    index = shards.find(key)
    console.print(table(shards.entries[index].key, ("what", "value"), facts(shards, index)))
    if png is not None:
        names = draw(shards, index, png)
        console.print(f"{png}: {', '.join(names)}", markup=False)


@app.command()
def repack(
    path: Annotated[Path, typer.Argument(help="A shard folder, or its s3:// address.")],
    out: Out,
    codec: Annotated[str, typer.Option(help="speed, default or archive.")],
) -> None:
    """Write the same samples with another codec, every one verified on the way; says the sizes."""
    from bandloom.command_line.console import logger
    from bandloom.shards.read.repack import repack as run_repack

    before, after = run_repack(path, out, codec)
    logger.info("%s: %.1f MB, %s: %.1f MB (%.0f %%)", path, before / 1e6, out, after / 1e6, 100 * after / before)


def describe(path: Path) -> str:
    """Return one line about a shard folder."""
    from bandloom.shards.read.shard_set import ShardSet

    manifest = ShardSet(path).manifest
    splits = ", ".join(f"{name} {count}" for name, count in sorted(manifest["splits"].items()))
    megabytes = sum(tar["bytes"] for tar in manifest["shards"]) / 1e6
    labels = f", {manifest['labelled']} labelled ({manifest['label_set']['name']})" if manifest["label_set"] else ""
    return (
        f"{path}: {manifest['samples']} samples of {manifest['side_px']} px in {len(manifest['shards'])} tars,"
        f" {megabytes:.1f} MB; {splits}; {', '.join(manifest['sensors'])}{labels}"
    )
