"""Fine-tuned rows: every encoder trained on a set by the set's own ``finetune.yaml``, beside its random weights."""

from pathlib import Path
from typing import Any

from bandloom.block_scores import BLOCKS, read_blocks
from bandloom.finetune.bench.config import BenchConfig
from bandloom.finetune.bench.rows import Seen, digest, slug
from bandloom.finetune.bench.sets import BenchSet
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.train import finetune
from bandloom.run_state.markers import EXIT_DONE
from bandloom.run_state.pulse import StopRequested
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import METRICS, MODEL_ROW, RANDOM_ROW, read_scores
from bandloom.several_scores import drawn_averages, read_decisions

FINETUNED = "finetuned"  # run folders, and the name of the method


def recipe(label_set: BenchSet, encoder: Path, bench: BenchConfig, seed: int = 0) -> FinetuneConfig:
    """Return the config of one fine-tuning: the set's own, from this encoder, without what the table does not show."""
    told = {"checkpoint": encoder, "baselines": [], "band_drops": False, "seeds": 1}
    own = label_set.config
    trainer = own.trainer.with_changes(seed=own.trainer.seed + seed)
    return own.with_changes(**told, compare_random=bench.baselines, bootstrap=bench.bootstrap, trainer=trainer)


def finetuned_rows(
    label_set: BenchSet, name: str, encoder: Path, bench: BenchConfig, made_of: Any
) -> dict[str, list[Seen]]:
    """Fine-tune from every seed, or go on with fine-tunings that were stopped.

    Args:
        label_set: under its split.
        name: of the encoder.
        encoder: where it lies.
        bench: the options.
        made_of: what its weights and the set are: other weights in the same place are another fine-tuning.

    Returns:
        What each seed scored, by the encoder's name, and by that of its random weights.

    Raises:
        StopRequested: it was asked to stop; typed again, it goes on.
    """
    rows: dict[str, list[Seen]] = {}
    for seed in range(bench.seeds):
        config = recipe(label_set, encoder, bench, seed)
        place = bench.out / FINETUNED / slug(label_set.name) / slug(name) / f"{digest([made_of, seed])}-seed-{seed}"
        if finetune(config, RunFolder(place)) != EXIT_DONE:
            raise StopRequested
        for called, seen in _rows_of(place, name, label_set.score, bench.bootstrap).items():
            rows.setdefault(called, []).append(seen)
    return rows


def _rows_of(folder: Path, name: str, score: str, draws: int) -> dict[str, Seen]:
    record = read_scores(folder / METRICS)
    blocks = read_blocks(folder) if (folder / BLOCKS).is_file() else {}
    chips = read_decisions(folder) if draws else {}
    drawn = {row: tuple(drawn_averages(several, draws)[score].tolist()) for row, several in chips.items()}
    called = {MODEL_ROW: name, RANDOM_ROW: f"{name}, random weights"}
    return {
        called[row.name]: Seen(row, blocks.get(row.name, {}), {}, drawn.get(row.name, ()))
        for row in record.rows
        if row.name in called
    }
