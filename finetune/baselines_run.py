"""``bandloom baselines``: every baseline on one split: classic classifiers, networks from scratch, public encoders."""

from collections.abc import Sequence
from pathlib import Path

from bandloom.finetune.baselines.classic import check_names, chosen
from bandloom.finetune.baselines.from_scratch import run_networks
from bandloom.finetune.baselines.public_encoders import external_baseline
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.report.record import metrics_record, write_blocks, write_report
from bandloom.finetune.report.results import say
from bandloom.finetune.setting import open_setting
from bandloom.finetune.tasks.registry import get_task
from bandloom.run_folder import RunFolder
from bandloom.scores import ScoreRecord
from bandloom.training.ranks import Ranks


def baselines_run(
    config: FinetuneConfig, run: RunFolder, names: Sequence[str] | None = None, external: Sequence[Path] = ()
) -> ScoreRecord:
    """Score baselines on the config's split and write a report; returns what ``metrics.json`` holds.

    Args:
        config: shards, task and split; networks from scratch train for ``trainer.steps`` steps.
        run: where the report goes.
        names: which baselines, the first is the one whose confusion matrix is drawn; None: all of the task's.
        external: folders of public encoders, see :mod:`bandloom.finetune.baselines.public_encoders`.

    Raises:
        BandloomError: the shards, the labels, the split, a name or an encoder cannot be used; nothing was written then.
    """
    task = get_task(config.task)
    check_names(names or (), task.name, [*task.baselines, *task.networks])
    setting, _ = open_setting(config.with_changes(checkpoint=None), Ranks.from_environment())
    added = dict(external_baseline(folder, setting.data.sensor) for folder in external)
    run.start(config)
    wanted = chosen(names, setting.data, [*task.baselines, *task.networks], task.baselines)
    classic = [name for name in wanted if name not in task.networks]
    rows = task.run_baselines([*classic, *added], setting.data, config.trainer.seed, {**task.baselines, **added})
    rows += run_networks([name for name in wanted if name in task.networks], setting)
    record = metrics_record(rows, setting.data, task.scorer, config.bootstrap, steps=config.trainer.steps)
    write_report(run.path, record)
    write_blocks(run.path, rows, record.split["hash"])
    say(record, task.scorer)
    return record
