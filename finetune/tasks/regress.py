"""Regress: a measured value, in its unit, for every 10 m pixel or for every chip."""

from bandloom.finetune.baselines.classic import pixel_spectrum, pixel_surroundings, statistics_of_chip
from bandloom.finetune.baselines.pixel_networks import UNet, on_pixels, random_vit
from bandloom.finetune.baselines.values import ValueBaseline, boosting, forest, mean, ridge, run_values
from bandloom.finetune.data.values import ChipValueData, ValueData
from bandloom.finetune.scores.value_scorer import ValueScorer
from bandloom.finetune.tasks.task import FinetuneTask
from bandloom.finetune.training.losses import VALUE_LOSSES

REGRESS = FinetuneTask(
    answer=ValueData.answer,
    data=ValueData,
    make_data=lambda shards, config, split, sensor: ValueData(shards, split, sensor),
    losses=VALUE_LOSSES,
    scorer=ValueScorer(),
    baselines={
        "mean": ValueBaseline(pixel_spectrum, mean, kind="trivial"),
        "pixel_ridge": ValueBaseline(pixel_spectrum, ridge),
        "pixel_rf": ValueBaseline(pixel_spectrum, forest),
        "context_rf": ValueBaseline(pixel_surroundings, forest),
        "pixel_boosting": ValueBaseline(pixel_spectrum, boosting),
    },
    standard=("mean", "pixel_ridge", "pixel_rf", "pixel_boosting"),
    run_baselines=run_values,
    networks={"unet": on_pixels(UNet), "random_vit": random_vit},
)

REGRESS_CHIPS = FinetuneTask(
    answer=ChipValueData.answer,
    data=ChipValueData,
    make_data=lambda shards, config, split, sensor: ChipValueData(shards, split, sensor),
    losses=VALUE_LOSSES,
    scorer=ValueScorer(),
    baselines={
        "mean": ValueBaseline(statistics_of_chip, mean, kind="trivial"),
        "stats_ridge": ValueBaseline(statistics_of_chip, ridge),
        "stats_rf": ValueBaseline(statistics_of_chip, forest),
        "stats_boosting": ValueBaseline(statistics_of_chip, boosting),
    },
    standard=("mean", "stats_ridge", "stats_rf", "stats_boosting"),
    run_baselines=run_values,
    networks={"random_vit": random_vit},
)
