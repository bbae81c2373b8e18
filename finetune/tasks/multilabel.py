"""Multilabel: any number of classes for every chip."""

from bandloom.finetune.baselines.several import SEVERAL, run_several
from bandloom.finetune.data.multilabel import MultilabelData
from bandloom.finetune.scores.several_scorer import SeveralScorer
from bandloom.finetune.tasks.task import FinetuneTask
from bandloom.finetune.training.losses import MULTILABEL_LOSSES

MULTILABEL = FinetuneTask(
    answer=MultilabelData.answer,
    data=MultilabelData,
    make_data=lambda shards, config, split, sensor: MultilabelData(
        shards, split, sensor, config.presence, config.chip_labels
    ),
    losses=MULTILABEL_LOSSES,
    scorer=SeveralScorer(),
    baselines=SEVERAL,
    standard=tuple(SEVERAL),
    run_baselines=run_several,
    published_score="map_micro",
)
