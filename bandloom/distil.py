"""``bandloom distil``: a small model from a large fine-tuned one, by its tokens and then by its soft labels.

The verb only writes two configs and types ``pretrain`` and ``finetune``; both go on after a stop.
"""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from bandloom.command_line.child import child_command, child_environment
from bandloom.command_line.console import console, logger
from bandloom.errors import BandloomError, ConfigError, OutputError
from bandloom.run_state.markers import EXIT_STOPPED

PX_M = 10
MASKED = 0.5  # of a student's tokens: half of what the teacher says, it says without having seen the place


def distil(
    teacher: Annotated[Path, typer.Argument(help="A run of `bandloom finetune`.")],
    out: Annotated[Path, typer.Option(help="Folder of both runs, OUT/tokens and OUT/student; run again, it goes on.")],
    size: Annotated[str, typer.Option(help="Of the student: demo, tiny, S, B, L, H or g.")] = "tiny",
    shards: Annotated[
        Path | None, typer.Option(help="Shards to learn the teacher's tokens on, no labels needed; else its own.")
    ] = None,
    token_steps: Annotated[int, typer.Option(min=1, help="Steps on the teacher's tokens.")] = 2000,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps on labels and soft labels; else the teacher's.")
    ] = None,
    weight: Annotated[float, typer.Option(min=0, max=1, help="Share of the soft labels; 0: labels alone.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of both trainings.")] = 0,
) -> None:
    """Make a small model of a large fine-tuned one: it learns its tokens, then the labels beside its soft labels."""
    held = _teacher_config(teacher)
    if (out / "config.yaml").exists():
        raise OutputError(f"{out} holds a run of its own; choose another --out.")
    tokens, student = out / "tokens", out / "student"
    out.mkdir(parents=True, exist_ok=True)
    configs = {
        "tokens.yaml": token_config(held, teacher, size, shards, token_steps, seed),
        "student.yaml": student_config(held, teacher, tokens, steps, weight, seed),
    }
    for name, config in configs.items():
        (out / name).write_text(yaml.safe_dump(config, sort_keys=False))
    _type("pretrain", out / "tokens.yaml", "--out", tokens)
    _type("finetune", out / "student.yaml", "--out", student)
    logger.info("the student is %s; `bandloom export %s --out student.bundle` makes its bundle", student, student)


def token_config(
    held: dict[str, Any], teacher: Path, size: str, shards: Path | None, steps: int, seed: int
) -> dict[str, Any]:
    """Return the config of the first training, on the tokens of the teacher; no label is read."""
    chosen = str(shards or held["shards"])
    objective = {"kind": "distil", "teacher": str(teacher), "mask_ratio": MASKED}
    trainer = {"steps": steps, "seed": seed, "batch_size": 16}
    config = {"shards": chosen, "size": size, "split": None, "crop_px": crop_px(chosen, teacher)}
    return config | {"objective": objective, "trainer": trainer}


def student_config(
    held: dict[str, Any], teacher: Path, tokens: Path, steps: int | None, weight: float, seed: int
) -> dict[str, Any]:
    """Return the config of the second training: the teacher's own, from the student's encoder, with soft labels."""
    trainer = held.get("trainer", {}) | {"seed": seed} | ({"steps": steps} if steps else {})
    soft = {"teacher": str(teacher), "weight": weight} if weight else None
    chip_px = _record(teacher)["chip_px"]
    own = {"checkpoint": str(tokens), "mode": "full", "chip_px": chip_px, "soft": soft, "trainer": trainer}
    dropped = {"size", "token_m", "last_blocks", "lora_rank"}  # of the teacher's encoder and mode
    return {key: value for key, value in held.items() if key not in dropped} | own


def crop_px(shards: str, teacher: Path) -> int | None:
    """Return the side of a crop that suits the teacher; None: whole samples."""
    from bandloom.model.checkpoint import checkpoint_folder, load_encoder

    longest_m = load_encoder(checkpoint_folder(teacher)).longest_chip_m
    manifest = Path(shards) / "manifest.json"
    if longest_m is None or not manifest.is_file():  # a bucket's samples: the training says what to set
        return None
    side_px = int(json.loads(manifest.read_text())["side_px"])
    return longest_m // 60 * 60 // PX_M if side_px * PX_M > longest_m else None


def _teacher_config(teacher: Path) -> dict[str, Any]:
    """Return the config of a fine-tuned run.

    Raises:
        ConfigError: the folder is none.
    """
    try:
        held = yaml.safe_load((teacher / "config.yaml").read_text())
    except (OSError, yaml.YAMLError) as cause:
        raise ConfigError(f"{teacher} is no run folder ({cause}); pass a run of `bandloom finetune`.") from cause
    if not isinstance(held, dict) or "task" not in held or _record(teacher).get("model_type") != "bandloom-task":
        raise ConfigError(f"{teacher} is no run of `bandloom finetune` that has ended; pass one that has a checkpoint.")
    return held


def _record(teacher: Path) -> dict[str, Any]:
    from bandloom.model.checkpoint import checkpoint_folder, read_record

    return read_record(checkpoint_folder(teacher))


def _type(*arguments: str | Path) -> None:
    words = [str(argument) for argument in arguments]
    console.print(f"$ bandloom {shlex.join(words)}", style="dim", soft_wrap=True)
    code = subprocess.run(child_command(words), env=child_environment(), check=False).returncode
    if code == EXIT_STOPPED:
        logger.info("stopped on request; the same command goes on")
        raise typer.Exit(code)
    if code:
        raise BandloomError(f"`bandloom {shlex.join(words)}` stopped (exit code {code}); what it said stands above.")
