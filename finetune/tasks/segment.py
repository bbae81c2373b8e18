"""Segment: a class for every 10 m pixel."""

from functools import partial

from bandloom.finetune.baselines.classic import (
    FIT_SVM,
    MAJORITY,
    Baseline,
    pixel_spectrum,
    pixel_surroundings,
    random_filters,
    run_baselines,
)
from bandloom.finetune.baselines.classifiers import forest, linear_svm, logistic, majority, neighbours, rbf_svm
from bandloom.finetune.baselines.pixel_networks import UNet, on_pixels, random_vit
from bandloom.finetune.baselines.strength import KERNEL_STRENGTHS, candidates
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.scores.class_scorer import ClassScorer
from bandloom.finetune.tasks.task import FinetuneTask
from bandloom.finetune.training.losses import LOSSES

many_filters = partial(random_filters, filters=256)  # rectified both ways: 512 random convolutional features

SEGMENT = FinetuneTask(
    answer=PixelData.answer,
    data=PixelData,
    make_data=lambda shards, config, split, sensor: PixelData(shards, split, sensor),
    losses=LOSSES,
    scorer=ClassScorer(),
    baselines={
        MAJORITY: Baseline(pixel_spectrum, majority, kind="trivial"),
        "pixel_logistic": Baseline(pixel_spectrum, logistic),
        "pixel_rf": Baseline(pixel_spectrum, forest),
        "context_rf": Baseline(pixel_surroundings, forest),
        "pixel_knn": Baseline(pixel_spectrum, neighbours),
        "pixel_linear_svm": Baseline(pixel_spectrum, linear_svm),
        "pixel_svm": Baseline(pixel_spectrum, rbf_svm, FIT_SVM),
        "random_conv": Baseline(random_filters, logistic),
        # what validation chooses on small ground is at times worse than what stands there, so both are rows
        "pixel_logistic_tuned": Baseline(pixel_spectrum, logistic, candidates=candidates(logistic)),
        "pixel_linear_svm_tuned": Baseline(pixel_spectrum, linear_svm, candidates=candidates(linear_svm)),
        "pixel_svm_tuned": Baseline(pixel_spectrum, rbf_svm, FIT_SVM, candidates=candidates(rbf_svm, KERNEL_STRENGTHS)),
        "random_conv_tuned": Baseline(many_filters, logistic, candidates=candidates(logistic)),
    },
    standard=(MAJORITY, "pixel_logistic", "pixel_rf", "context_rf"),
    run_baselines=run_baselines,
    networks={"unet": on_pixels(UNet), "random_vit": random_vit},
    leakage="context_rf",
    probed=True,
    published_score="mean_iou",
)
