"""``bandloom baselines``: every baseline on one split: classic classifiers, networks from scratch, public encoders."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bandloom.finetune.baselines.classic import Known, check_names, chosen
from bandloom.finetune.baselines.from_scratch import run_networks
from bandloom.finetune.baselines.public_encoders import external_baseline
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.experiment import Experiment, open_experiment
from bandloom.finetune.report.record import metrics_record, write_blocks, write_report
from bandloom.finetune.report.results import say
from bandloom.finetune.tasks.registry import get_task
from bandloom.run_state.pulse import alive
from bandloom.run_state.run_folder import RunFolder
from bandloom.training.attempt import SCORING_TIMEOUT_S, Attempt


def baselines_run(
    config: FinetuneConfig, run: RunFolder, names: Sequence[str] | None = None, external: Sequence[Path] = ()
) -> int:
    """Score baselines on the config's split and write a report, or go on with those that a stopped call has not done.

    Args:
        config: shards, task and split; networks from scratch train for ``trainer.steps`` steps.
        run: where the report goes.
        names: which baselines, the first is the one whose confusion matrix is drawn; None: all of the task's.
        external: folders of public encoders, see :mod:`bandloom.finetune.baselines.public_encoders`.

    Returns:
        The exit code: 0 done, 75 stopped.

    Raises:
        BandloomError: the shards, the labels, the split, a name or an encoder cannot be used; nothing was written then.
    """
    task = get_task(config.task)
    check_names(names or (), task.name, [*task.baselines, *task.networks])
    with Attempt(run, SCORING_TIMEOUT_S) as attempt:
        alone = replace(attempt.ranks, rank=0, world=1)
        experiment, _ = open_experiment(config.with_changes(checkpoint=None), alone)
        added = dict(external_baseline(folder, experiment.data.sensor) for folder in external)
        attempt.open(config, made_of=[experiment.data.shards.manifest, [str(folder.resolve()) for folder in external]])
        attempt.alone(lambda: _score(experiment, run, names, added))
        attempt.code = attempt.finish()
    return attempt.code


def _score(experiment: Experiment, run: RunFolder, names: Sequence[str] | None, added: Known) -> None:
    config, task = experiment.config, experiment.task
    wanted = chosen(names, experiment.data, [*task.baselines, *task.networks], task.baselines)
    classic = [name for name in wanted if name not in task.networks]
    rows = task.run_baselines([*classic, *added], experiment.data, config.trainer.seed, {**task.baselines, **added})
    rows += run_networks([name for name in wanted if name in task.networks], experiment)
    record = alive(
        lambda: metrics_record(rows, experiment.data, task.scorer, config.bootstrap, steps=config.trainer.steps),
        "intervals",
    )
    write_report(run.path, record)
    write_blocks(run.path, rows, record.split["hash"])
    say(record, task.scorer)
