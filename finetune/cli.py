"""``bandloom finetune``, ``probe``, ``baselines`` and ``evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.run_options import ConfigOrOverride, FromScratch, Out, Overrides, Resume

ConfigFile = Annotated[Path, typer.Argument(help="YAML config; `shards` is the one key it must have.")]


def finetune(
    config: ConfigOrOverride = None,
    overrides: Overrides = None,
    out: Out = Path("runs/finetune"),
    resume: Resume = None,
    from_scratch: FromScratch = False,
) -> None:
    """Train a segmenter or classifier on labels, and score it beside baselines."""
    from bandloom.command_line.config import config_of_run, load_config
    from bandloom.finetune.config import FinetuneConfig
    from bandloom.finetune.fusion.config import FusionConfig, is_fusion
    from bandloom.finetune.train import finetune as train
    from bandloom.run_state.run_folder import RunFolder

    if resume is None and config is not None and is_fusion(config, overrides or []):
        from bandloom.finetune.fusion.run import fusion

        fused = load_config(FusionConfig, config, overrides or [])
        raise typer.Exit(fusion(fused, RunFolder(out), from_scratch=from_scratch))
    resolved, folder = config_of_run(FinetuneConfig, config, overrides or [], out, resume)
    raise typer.Exit(train(resolved, RunFolder(folder, goes_on=resume is not None), from_scratch=from_scratch))


def probe(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Run folder; features kept in it are used again.")] = Path("runs/probe"),
    few_shot: Annotated[
        bool, typer.Option("--few-shot", help="Also score on 1 to 50 labels a class, 1 and 10 %.")
    ] = False,
) -> None:
    """Score a frozen encoder by neighbours, a linear map and attention, beside random weights and baselines."""
    from bandloom.command_line.config import load_config
    from bandloom.finetune.config import FinetuneConfig
    from bandloom.finetune.probe_run import probe_run
    from bandloom.run_state.run_folder import RunFolder

    resolved = load_config(FinetuneConfig, config, overrides or [])
    raise typer.Exit(probe_run(resolved, RunFolder(out), few_shot=few_shot))


def baselines(
    config: ConfigFile,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/baselines"),
    only: Annotated[str | None, typer.Option(help="Names with commas; else all of the task's.")] = None,
    external: Annotated[list[Path] | None, typer.Option(help="A public encoder: files or external.yaml.")] = None,
) -> None:
    """Score every baseline on the config's split: classic classifiers, networks from scratch, public encoders."""
    from bandloom.command_line.config import load_config
    from bandloom.finetune.baselines_run import baselines_run
    from bandloom.finetune.config import FinetuneConfig
    from bandloom.run_state.run_folder import RunFolder

    names = only.split(",") if only else None
    resolved = load_config(FinetuneConfig, config, overrides or [])
    raise typer.Exit(baselines_run(resolved, RunFolder(out), names, external or []))


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A fine-tuning run, or its checkpoint folder.")],
    shards: Annotated[Path, typer.Argument(help="Labelled shards with the model's sensor and classes.")],
    out: Annotated[Path, typer.Option(help="New folder for the report.")] = Path("runs/evaluate"),
    ground: Annotated[
        str | None, typer.Option(help="own (the test part of its split) or all; else own on its own shards.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Draws of blocks behind the intervals.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Chips a forward pass.")] = 16,
    level: Annotated[
        list[str] | None, typer.Option(help="A coarser label set to score on too, such as corine15; may be repeated.")
    ] = None,
) -> None:
    """Score a fine-tuned model on labelled shards."""
    from typing import cast, get_args

    from bandloom.errors import ConfigError
    from bandloom.finetune.evaluate_run import EvaluateConfig, Ground, evaluate_run
    from bandloom.run_state.run_folder import RunFolder

    if ground is not None and ground not in get_args(Ground):
        raise ConfigError(f"--ground {ground!r} is not known; use own or all.")
    wanted = EvaluateConfig(
        checkpoint=checkpoint,
        shards=shards,
        ground=cast("Ground | None", ground),
        bootstrap=bootstrap,
        levels=tuple(level or ()),
        batch_size=batch_size,
    )
    raise typer.Exit(evaluate_run(wanted, RunFolder(out)))
