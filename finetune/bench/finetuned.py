"""Fine-tuned rows: every encoder trained on a set by the set's own ``finetune.yaml``, beside its random weights."""

from pathlib import Path
from typing import Any

from bandloom.errors import TrainingError
from bandloom.finetune.bench.config import BenchConfig
from bandloom.finetune.bench.rows import Seen, slug
from bandloom.finetune.bench.sets import BenchSet
from bandloom.finetune.report.record import read_blocks
from bandloom.finetune.train import finetune
from bandloom.markers import EXIT_DONE
from bandloom.run_folder import RunFolder
from bandloom.scores import METRICS, MODEL_ROW, RANDOM_ROW, read_scores

FINETUNED = "finetuned"  # run folders, and the name of the method


def recipe(label_set: BenchSet, encoder: Path, bench: BenchConfig) -> Any:
    """Return the config of one fine-tuning: the set's own, from this encoder, without what the table does not show."""
    told = {"checkpoint": encoder, "baselines": [], "band_drops": False, "curve_points": 0}
    compared = {"compare_random": bench.baselines, "seeds": bench.seeds, "bootstrap": bench.bootstrap}
    return label_set.config.with_changes(**told, **compared)


def finetuned_rows(label_set: BenchSet, name: str, encoder: Path, bench: BenchConfig) -> dict[str, Seen]:
    """Fine-tune, or go on with a fine-tuning that was stopped.

    Returns:
        By the encoder's name, and by that of its random weights.

    Raises:
        TrainingError: it was asked to stop; typed again, it goes on.
    """
    folder = bench.out / FINETUNED / slug(label_set.name) / slug(name)
    if finetune(recipe(label_set, encoder, bench), RunFolder(folder)) != EXIT_DONE:
        raise TrainingError(f"the fine-tuning in {folder} was stopped; the same command goes on with it.")
    record = read_scores(folder / METRICS)
    blocks = read_blocks(folder) if (folder / "blocks.json").is_file() else {}
    seeds = {summary.name: summary for summary in record.over_seeds}
    rows: dict[str, Seen] = {}
    for title, called in ((MODEL_ROW, name), (RANDOM_ROW, f"{name}, random weights")):
        row = next((row for row in record.rows if row.name == title), None)
        if row is not None:
            told = {"by_seed": seeds[title].by_seed} if title in seeds else {}
            rows[called] = Seen(row.model_copy(update=told), blocks.get(title, {}), {})
    return rows
