"""Commands ``bandloom encoder``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A public encoder's files, as its authors publish them.")]


@app.callback()
def encoder() -> None:
    """List, show, fetch, check and convert encoders that others published."""


@app.command("list")
def list_families() -> None:
    """List the families that are known, with what each takes."""
    from bandloom.command_line.console import console, table
    from bandloom.public_encoders.family import families

    rows = [
        (f.family, ", ".join(f.sizes), f.licence.name, f.level, len(f.bands), f"{f.patch_px * f.gsd_m} m")
        for f in families().values()
    ]
    console.print(table("Public encoders", ["family", "sizes", "licence", "level", "bands", "token"], rows))


@app.command()
def show(name: Annotated[str, typer.Argument(help="Of the family, such as galileo.")]) -> None:
    """Print a family's record: its input contract, licence and files, and how each fact was verified."""
    from bandloom.command_line.console import console
    from bandloom.public_encoders.family import record_text

    console.print(record_text(name), markup=False, highlight=False, soft_wrap=True)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="FAMILY-SIZE", help="Such as galileo-nano.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="The new folder.")],
    revision: Annotated[str | None, typer.Option(help="Commit of the repository, 40 hexadecimal digits.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licence's conditions without being asked.")] = False,
) -> None:
    """Fetch an encoder's files from its authors' repository, after its licence was shown and accepted."""
    from bandloom.command_line.console import console, logger
    from bandloom.public_encoders.family import get_family
    from bandloom.public_encoders.fetch import fetch_encoder

    family_name, _, size = name.partition("-")
    family = get_family(family_name)
    console.print(family.notice(), markup=False, highlight=False, soft_wrap=True)
    if not yes:
        typer.confirm("Accept these conditions and fetch?", abort=True)
    logger.info("fetched into %s", fetch_encoder(family, size or next(iter(family.sizes)), to, revision))


@app.command()
def check(folder: Folder) -> None:
    """Say what a folder holds, compare its checksums, and run the golden answers that lie beside it."""
    from bandloom.command_line.console import console
    from bandloom.errors import CheckpointError
    from bandloom.public_encoders.family import get_family
    from bandloom.public_encoders.fetch import check_files
    from bandloom.public_encoders.golden import ALLOWED, check_golden
    from bandloom.public_encoders.load import read_public

    encoder = read_public(folder)
    family = get_family(encoder.config.family)
    shape = f"{encoder.config.family} {encoder.config.size}: width {encoder.embed_dim}, depth {encoder.config.depth}"
    lines = [shape, *(f"{name}: {said}" for name, said in check_files(folder, family).items())]
    answers = check_golden(folder)
    lines += [f"window {a.name}, patch {a.patch_px}: {a.tokens} tokens within {a.max_abs:.2g}" for a in answers]
    lines += [] if answers else ["no golden answers lie beside it: its numbers were not compared with its authors'"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    wrong = [answer.name for answer in answers if not answer.passes]
    if wrong:
        raise CheckpointError(
            f"{folder} answers otherwise than its authors' code on {', '.join(wrong)} (allowed {ALLOWED:g}); fetch it"
            " again."
        )


@app.command("import")
def import_encoder(
    folder: Folder,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The new checkpoint.")],
    patch_px: Annotated[
        int | None, typer.Option("--patch", help="Pixels a side of a token, else the record's.")
    ] = None,
    month: Annotated[int | None, typer.Option(help="The constant month, 1 to 12; else the record's.")] = None,
    family: Annotated[
        str | None, typer.Option(help="Where two share their files, such as terramind_l1c; else by the files.")
    ] = None,
    nearest_slot: Annotated[
        bool,
        typer.Option("--nearest-slot", help="Read a band that a sensor lacks from its nearest one, within 200 nm."),
    ] = False,
) -> None:
    """Write a public encoder as a checkpoint of this project: another patch or month, or stand-ins for absent bands."""
    from bandloom.command_line.console import logger
    from bandloom.errors import CheckpointError
    from bandloom.model.checkpoint import save_encoder
    from bandloom.public_encoders.fetch import sha256_of
    from bandloom.public_encoders.load import read_public

    if month is not None and not 1 <= month <= 12:
        raise CheckpointError(f"month is {month}; use 1 (January) to 12.")
    encoder = read_public(folder, patch_px, None if month is None else month - 1, family)
    weights = sorted({name for size in encoder.family.sizes.values() for name in size.files})
    origin = {f"sha256 of {name}": sha256_of(folder / name) for name in weights if (folder / name).is_file()}
    encoder.config = encoder.config.model_copy(update={"nearest_slot": nearest_slot})
    origin |= {"bands that a sensor lacks": "read from its nearest band"} if nearest_slot else {}
    save_encoder(to, encoder, [], {"made_of": encoder.family.title} | origin)
    logger.info("written to %s: tokens of %d m", to, encoder.config.token_m)
