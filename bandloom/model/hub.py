"""``bandloom checkpoint``: publishes a checkpoint on a model hub together with its model card, or fetches one."""

import json
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from bandloom.errors import CheckpointError, MissingExtraError, OutputError
from bandloom.model.checkpoint import checkpoint_folder, read_record
from bandloom.model.model_card import published_card, without_paths

CARD, CONFIG, WEIGHTS = "README.md", "config.json", "model.safetensors"
app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def checkpoint() -> None:
    """Publish a checkpoint, or fetch one."""


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="A run folder, or a checkpoint folder.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where it goes.")],
    licence: Annotated[str, typer.Option(help="Of the weights, as the hub names it: apache-2.0, cc-by-4.0, ...")],
    data_licence: Annotated[str, typer.Option(help="Of the training data, and whom to thank, in words.")],
    send: Annotated[
        bool, typer.Option("--send", help="Really send it; without it nothing leaves this machine.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Make the repository public; private by default.")] = False,
) -> None:
    """Show what would be published, card and all; with --send, publish it."""
    from bandloom.command_line.console import console, logger

    with TemporaryDirectory() as place:
        folder = Path(place)
        stage(run, folder, licence, data_licence)
        if not send:
            console.print((folder / CARD).read_text(), markup=False, highlight=False, soft_wrap=True)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            logger.info("%s: %s bytes", file.relative_to(folder), f"{file.stat().st_size:,}")
        if not send:
            logger.info("nothing was sent to %s; add --send to do it", repository)
            return
        logger.info("%s", send_folder(folder, repository, private=not public))


@app.command("pull")
def pull_checkpoint(
    address: Annotated[str, typer.Argument(metavar="OWNER/NAME[@REVISION]", help="On the hub, such as me/encoder.")],
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Also copy it into this new folder.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Fetch without being asked.")] = False,
) -> None:
    """Fetch a checkpoint after showing its commit, licence and files; then checkpoint=hf://OWNER/NAME names it."""
    from bandloom.command_line.console import console
    from bandloom.model.pull import copy_to, look_up, pull, read_address

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    offer = look_up(read_address(address))
    for line in offer.lines():
        say(line)
    if not yes:
        typer.confirm("Fetch it?", abort=True)
    folder, digests = pull(offer)
    read_record(folder)
    for name, digest in digests.items():
        say(f"{name}: sha256 {digest}")
    if to is not None:
        copy_to(folder, digests, to)
    say(f"use it with checkpoint={f'hf://{offer.address.repository}@{offer.commit}' if to is None else to}")


def stage(run: Path, folder: Path, licence: str, data_licence: str) -> None:
    """Lay out what is published: the weights as they are, card and config without this machine's paths.

    Raises:
        CheckpointError: ``run`` holds no finished checkpoint.
    """
    checkpoint = checkpoint_folder(run)
    for name in (CARD, CONFIG, WEIGHTS):
        if not (checkpoint / name).is_file():
            raise CheckpointError(
                f"{run} holds no finished checkpoint ({name} is missing); name a finished run folder."
            )
    held = run if checkpoint != run else run.parent
    own = held if (held / "config.yaml").is_file() else None
    try:
        card = published_card(checkpoint, own, licence, data_licence)
        config = json.loads((checkpoint / CONFIG).read_text())
    except (ValueError, KeyError, TypeError) as cause:
        raise CheckpointError(f"the checkpoint {checkpoint} is damaged ({cause!r}); train it again.") from cause
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    (folder / CARD).write_text(card)
    (folder / CONFIG).write_text(json.dumps(_scrubbed(config), indent=1) + "\n")


def send_folder(folder: Path, repository: str, *, private: bool) -> str:
    """Make the repository where there is none, send the folder as one commit, and return its address.

    Raises:
        OutputError: the name is no OWNER/NAME, or the hub refused.
        MissingExtraError: huggingface_hub is not installed.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise OutputError(f"{repository!r} is no repository; write it as OWNER/NAME.")
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as cause:
        raise MissingExtraError("huggingface_hub", "train") from cause
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Add the checkpoint")
    except Exception as cause:  # the client's own, or of whichever HTTP library it stands on
        why = " ".join(str(cause).split())[:300]
        raise OutputError(f"the hub did not take {repository} ({why}); run `hf auth login`, then try again.") from cause
    return str(done)


def _scrubbed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    return without_paths(value) if isinstance(value, str) else value
