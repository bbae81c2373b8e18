"""Checkpoints from a model hub: ``bandloom checkpoint pull`` fetches one, ``hf://OWNER/NAME`` names it afterwards.

Nothing is fetched by naming an address: what ``pull`` has not brought into the hub's cache of this machine is refused
with the command that does. The commit is pinned, and every file's sha256 is shown; no file that can hold code is taken.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandloom.command_line.console import logger
from bandloom.errors import CheckpointError, MissingExtraError, OutputError
from bandloom.files.output import disk_refusal, new_output
from bandloom.public_encoders.fetch import sha256_of

ADDRESS = re.compile(r"(?:hf:/{1,2})?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")  # a Path makes hf:/ of hf://
TAKEN = ("*.json", "*.safetensors", "*.md", "*.txt", "LICENSE*")  # weights and words; nothing that is unpickled or run


@dataclass(frozen=True)
class Address:
    """A repository on a hub, and the revision that was asked for; None: its main branch."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


@dataclass(frozen=True)
class Offer:
    """What a hub has under an address: the commit that it is pinned to, its licence, and its files.

    Attributes:
        files: bytes, and the sha256 that the hub states (of weights), by name.
    """

    address: Address
    commit: str
    licence: str
    files: dict[str, tuple[int, str | None]]

    def lines(self) -> list[str]:
        """Return what is shown before anything is fetched."""
        return [
            f"{self.address.repository}, commit {self.commit}, licence: {self.licence}",
            *(
                f"  {name}: {size:,} bytes" + ("" if digest is None else f", sha256 {digest}")
                for name, (size, digest) in self.files.items()
            ),
        ]


def is_address(path: Path | str) -> bool:
    """Tell whether a path is an address on a hub."""
    return str(path).startswith("hf:/")


def read_address(text: str) -> Address:
    """Read ``OWNER/NAME[@REVISION]``, with or without ``hf://`` before it.

    Raises:
        CheckpointError: it is none.
    """
    match = ADDRESS.fullmatch(text)
    if match is None:
        raise CheckpointError(
            f"{text!r} is no address on a hub; write it as hf://OWNER/NAME or hf://OWNER/NAME@COMMIT."
        )
    return Address(match[1], match[2])


def local_folder(path: Path) -> Path:
    """Return where the checkpoint of an address lies on this machine; a path that is none is returned as it is.

    Raises:
        CheckpointError: it was not pulled yet, with the command that does.
    """
    if not is_address(path):
        return path
    address = read_address(str(path))
    try:
        folder = Path(
            _hub().snapshot_download(
                address.repository, revision=address.revision, allow_patterns=list(TAKEN), local_files_only=True
            )
        )
    except Exception as cause:  # the client's own, or of its cache
        raise CheckpointError(
            f"hf://{address} is not on this machine; nothing is fetched without being asked for: run `bandloom"
            f" checkpoint pull {address}` first."
        ) from cause
    logger.info("hf://%s is commit %s", address, folder.name)
    return folder


def look_up(address: Address) -> Offer:
    """Ask the hub what it has under an address.

    Raises:
        CheckpointError: the hub does not answer, or there is no such repository or revision, or no checkpoint in it.
    """
    hub = _hub()
    try:
        info = hub.HfApi().model_info(address.repository, revision=address.revision, files_metadata=True)
    except Exception as cause:
        raise _refused(address, cause) from cause
    names = [file.rfilename for file in info.siblings or ()]
    kept = set(hub.utils.filter_repo_objects(names, allow_patterns=list(TAKEN)))
    files = {
        file.rfilename: (file.size or 0, None if file.lfs is None else file.lfs.sha256)
        for file in info.siblings or ()
        if file.rfilename in kept
    }
    if info.sha is None or not {"config.json", "model.safetensors"} <= files.keys():
        raise CheckpointError(
            f"hf://{address} holds no checkpoint of bandloom (config.json and model.safetensors); for encoders of"
            " others see `bandloom encoder list`."
        )
    said = info.card_data.get("license") if info.card_data is not None else None
    return Offer(address, info.sha, str(said or "not said by its card"), files)


def pull(offer: Offer) -> tuple[Path, dict[str, str]]:
    """Fetch what was offered into the hub's cache, and return the folder and every file's sha256.

    Raises:
        CheckpointError: the hub does not give it, gives another commit or another sha256, or it cannot be read.
    """
    address = offer.address
    try:
        folder = _hub().snapshot_download(address.repository, revision=address.revision, allow_patterns=list(TAKEN))
    except Exception as cause:
        raise _refused(address, cause) from cause
    folder = Path(folder)
    digests = {name: sha256_of(folder / name) for name in offer.files}
    wrong = [name for name, (_, stated) in offer.files.items() if stated not in (None, digests[name])]
    if folder.name != offer.commit or wrong:
        changed = f"{wrong[0]} has another sha256 than stated" if wrong else f"it is now commit {folder.name}"
        raise CheckpointError(f"hf://{address} is not what was shown ({changed}); pull it again with @{offer.commit}.")
    return folder, digests


def copy_to(folder: Path, digests: dict[str, str], to: Path) -> None:
    """Copy a fetched checkpoint out of the cache into a new folder, all or nothing."""
    with new_output(to, folder=True) as temporary:
        for name in digests:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes((folder / name).read_bytes())


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as cause:
        raise MissingExtraError("huggingface_hub", "train") from cause
    return huggingface_hub


def _refused(address: Address, cause: Exception) -> CheckpointError | OutputError:
    if (refused := disk_refusal(Path(_hub().constants.HF_HUB_CACHE), cause)) is not None:
        return refused
    why = " ".join(str(cause).split())[:200]
    if type(cause).__name__ == "OfflineModeIsEnabled":
        why = "HF_HUB_OFFLINE is set: unset it to fetch"
    return CheckpointError(
        f"hf://{address} cannot be fetched ({why}); check the name, the revision and the network, or `hf auth login`"
        " where it is private."
    )
