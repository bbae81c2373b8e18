"""Classify: a class for every chip."""

from functools import partial

from bandloom.finetune.baselines.classic import (
    FIT_SVM,
    MAJORITY,
    Baseline,
    random_filters,
    run_baselines,
    statistics_of_chip,
)
from bandloom.finetune.baselines.classifiers import forest, linear_svm, logistic, majority, neighbours, rbf_svm
from bandloom.finetune.baselines.pixel_networks import on_pixels, random_vit, timm_classifier
from bandloom.finetune.data.chips import ChipData
from bandloom.finetune.scores.class_scorer import ClassScorer
from bandloom.finetune.tasks.task import FinetuneTask
from bandloom.finetune.training.losses import LOSSES

CLASSIFY = FinetuneTask(
    answer=ChipData.answer,
    data=ChipData,
    make_data=lambda shards, config, split, sensor: ChipData(shards, split, sensor),
    losses=LOSSES,
    scorer=ClassScorer(),
    baselines={
        MAJORITY: Baseline(statistics_of_chip, majority, kind="trivial"),
        "stats_knn": Baseline(statistics_of_chip, neighbours),
        "stats_logistic": Baseline(statistics_of_chip, logistic),
        "stats_rf": Baseline(statistics_of_chip, forest),
        "stats_svm": Baseline(statistics_of_chip, rbf_svm, FIT_SVM),
        "stats_linear_svm": Baseline(statistics_of_chip, linear_svm),
        "random_conv": Baseline(random_filters, logistic),
    },
    standard=(MAJORITY, "stats_knn", "stats_logistic", "stats_rf", "stats_svm"),
    run_baselines=run_baselines,
    networks={
        "resnet50": on_pixels(partial(timm_classifier, "resnet50")),
        "efficientnet_b0": on_pixels(partial(timm_classifier, "efficientnet_b0")),
        "random_vit": random_vit,
    },
    leakage="stats_rf",
    probed=True,
    published_score="overall",
)
