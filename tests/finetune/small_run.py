"""A whole fine-tuning with scoring that ends in seconds, for tests that disturb it, and what two of them compare."""

import json
from pathlib import Path
from typing import Any

WITHIN_S = 20.0  # from a request to stop to the end
CONFIG: dict[str, Any] = {
    "chip_px": 24,
    "bootstrap": 50,
    "warm_steps": 10,
    "seeds": 1,
    "compare_random": False,
    "band_drops": False,
    "baselines": ["majority", "pixel_logistic", "pixel_rf", "context_rf"],
    "trainer": {
        "steps": 6,
        "batch_size": 4,
        "workers": 0,
        "log_every": 1,
        "snapshot_every": 2,
        "engine": {"precision": "fp32", "warmup_steps": 1},
    },
}


def scores(run: Path) -> tuple[Any, Any]:
    """Return the scores without times, and the blocks' matrices."""
    record = json.loads((run / "metrics.json").read_text())
    for row in [*record["rows"], *record.get("bands", [])]:
        row.pop("seconds", None)  # what took less than a hundredth is left out
    record["validation"].pop("seconds", None)
    return record, json.loads((run / "blocks.json").read_text())
