"""Every floor on one split: classic classifiers, networks from scratch, public encoders; one table, one report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bandloom.errors import ConfigError
from bandloom.finetune.baselines.classic import BASELINES, check_names, chosen, run_baselines
from bandloom.finetune.baselines.from_scratch import RIVALS, run_rivals
from bandloom.finetune.baselines.public_encoders import external_baseline
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.report.record import metrics_record, write_blocks, write_report
from bandloom.finetune.report.results import say
from bandloom.finetune.setting import open_setting
from bandloom.run_folder import RunFolder
from bandloom.training.ranks import Ranks


def baselines_run(
    config: FinetuneConfig, run: RunFolder, names: Sequence[str] | None = None, external: Sequence[Path] = ()
) -> dict[str, Any]:
    """Score floors on the config's split and write a report; returns what ``metrics.json`` holds.

    Args:
        config: shards, task and split; networks from scratch train for ``trainer.steps`` steps.
        run: where the report goes.
        names: which floors, the first is the one whose confusion matrix is drawn; None: all of the task's.
        external: folders of public encoders, see :mod:`bandloom.finetune.baselines.public_encoders`.

    Raises:
        BandloomError: the shards, the labels, the split, a name or an encoder cannot be used; nothing was written then.
    """
    task = config.task
    if task == "multilabel":
        raise ConfigError(
            "the floors of task multilabel are scored by `bandloom finetune`; use classify, segment or change."
        )
    check_names(names or (), task, RIVALS[task])
    added = dict(external_baseline(folder) for folder in external)
    setting, _ = open_setting(config.with_changes(checkpoint=None), Ranks.from_environment())
    run.start(config)
    wanted = [*chosen(names, setting.data, {each: [*BASELINES[each], *RIVALS[each]] for each in BASELINES})]
    classic = [name for name in wanted if name not in RIVALS[task]]
    known = BASELINES[task] | added
    rows = run_baselines([*classic, *added], setting.data, config.trainer.seed, known)
    rows += run_rivals([name for name in wanted if name in RIVALS[task]], setting)
    record = metrics_record(rows, setting.data, config.bootstrap, steps=config.trainer.steps)
    write_report(run.path, record)
    write_blocks(run.path, rows, record["split"]["hash"])
    say(record)
    return record
