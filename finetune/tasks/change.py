"""Change: for every 10 m pixel of two dates, what changed between them."""

from bandloom.finetune.baselines.change import knows_both_dates, pair_bands, post_classification
from bandloom.finetune.baselines.classic import MAJORITY, Baseline, OwnBaseline, run_baselines
from bandloom.finetune.baselines.classifiers import forest, logistic, majority
from bandloom.finetune.baselines.pixel_networks import random_vit
from bandloom.finetune.data.change import ChangeData
from bandloom.finetune.scores.class_scorer import ClassScorer
from bandloom.finetune.tasks.task import FinetuneTask
from bandloom.finetune.training.losses import LOSSES

CHANGE = FinetuneTask(
    answer=ChangeData.answer,
    data=ChangeData,
    make_data=lambda shards, config, split, sensor: ChangeData(shards, split, sensor, config.change_labels),
    losses=LOSSES,
    scorer=ClassScorer(),
    baselines={
        MAJORITY: Baseline(pair_bands, majority, kind="trivial"),
        "post_classification": OwnBaseline(post_classification, fits=knows_both_dates),
        "pair_logistic": Baseline(pair_bands, logistic),
        "pair_rf": Baseline(pair_bands, forest),
    },
    standard=(MAJORITY, "post_classification", "pair_logistic", "pair_rf"),
    run_baselines=run_baselines,
    networks={"random_vit": random_vit},
    leakage="pair_rf",
)
