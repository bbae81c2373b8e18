"""A usable model first: it is saved before anything is compared with it, and what follows is said with its time."""

from pathlib import Path
from typing import Any

from bandloom.command_line.console import logger
from bandloom.errors import CheckpointError
from bandloom.finetune.baselines.classic import chosen
from bandloom.finetune.baselines.seconds import seconds_of
from bandloom.finetune.experiment import Experiment
from bandloom.finetune.model.checkpoint import save_task_model, short_card
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.checkpoint import read_record
from bandloom.run_state.run_folder import RunFolder, commit

NOT_SCORED = "\nIts scores are not known yet: the run that trained it had not ended when this card was written.\n"


def save_first(experiment: Experiment, model: TaskModel, run: RunFolder) -> None:
    """Save a model of which the head alone is fitted: it can be exported while the rest of it trains.

    A model that trained longer stays where it lies until its successor has trained.
    """
    if _steps_of(run.checkpoint) > 0:
        return
    _save(experiment, model, run)
    logger.info(
        "a first model, its head fitted alone, lies in %s: `bandloom export %s` takes it from now on; %d steps of"
        " everything on chips follow, and if the run is stopped it stays",
        run.checkpoint,
        run.path,
        experiment.config.trainer.steps,
    )


def say_what_compares(
    experiment: Experiment, model: TaskModel, run: RunFolder, trained_s: float, seeds_s: float
) -> None:
    """Save the trained model, and say what is compared with it, about how long that takes, and how to leave it out.

    Args:
        experiment: of the run.
        model: trained.
        run: its folder.
        trained_s: how long the training on chips took.
        seeds_s: how long trainings from further seeds will take; 0: there are none.
    """
    config, task = experiment.config, experiment.task
    if not model.answer.several:  # whose thresholds come with the scores
        _save(experiment, model, run)
    names = chosen(config.baselines, experiment.data, task.standard, task.baselines)
    parts = {
        "the same network from random weights (compare_random=false leaves it out)": (
            trained_s if config.compare_random and config.checkpoint is not None else 0.0
        ),
        "further seeds (seeds=1 leaves them out)": seeds_s,
        "baselines (baselines=[] leaves them out)": (
            seconds_of(names, experiment.data, task.baselines, config.trainer.seed) if names else 0.0
        ),
    }
    told = "; ".join(f"{name}: about {seconds:.0f} s" for name, seconds in parts.items() if seconds)
    logger.info(
        "the trained model lies in %s; now it is scored. Compared with it: %s", run.checkpoint, told or "nothing"
    )


def provenance_of(experiment: Experiment, model: TaskModel) -> dict[str, Any]:
    """Return where a model came from, as plain JSON types."""
    config = experiment.config
    return {
        "shards": str(config.shards),
        "checkpoint": str(config.checkpoint),
        "mode": config.mode,
        "steps": model.trained_steps,
        "seed": config.trainer.seed,
        "commit": commit(),
        "temperature": model.temperature,
        "config": config.model_dump(mode="json"),
    }


def _save(experiment: Experiment, model: TaskModel, run: RunFolder) -> None:
    provenance = provenance_of(experiment, model)
    save_task_model(run.checkpoint, model, provenance, card=short_card(model) + NOT_SCORED, overwrite=True)


def _steps_of(checkpoint: Path) -> int:
    """Return how long the model in a folder trained; 0 where there is none that can be read."""
    try:
        return int(read_record(checkpoint)["provenance"]["steps"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return 0
