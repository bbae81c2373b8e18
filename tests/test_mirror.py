"""Tests mirror the source: tests/finetune/scores/test_confusion.py holds finetune/scores/confusion.py to its word."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
# what looks at a whole folder, by what kind of test it is
WHOLE = {
    "test_docs.py": "runs the commands of a page of the documentation",
    "test_drills.py": "kills processes and starts them again",
    "bandloom/test_small_disks.py": "types verbs on disks that are full or read-only",
    "test_fuzz.py": "damages inputs at random",
    "test_benchmarks.py": "runs the benchmarks, small",
    "shards/test_fuzz_readers.py": "damages products of every reader",
    "shards/test_real_sensors.py": "reads real pixels of other sensors",
    "shards/scenes/readers/test_fuzz_eopf.py": "damages EOPF products of Zarr v3",
    "shards/scenes/test_products_by_any_name.py": "renames and repacks products of every reader",
    "shards/scenes/test_delivered_products.py": "reads products as they were delivered",
    "shards/scenes/test_trial_of_sources.py": "draws scenes of every layout and reads them by a second way",
    "shards/scenes/test_validity_of_scenes.py": "holds every reader to one rule of validity",
    "benchmarks/gpu/test_main.py": "runs every call of a GPU's benchmark, tiny",
    "card/test_pretend_card.py": "tries the pretended card itself",
    "card/test_steps.py": "takes training steps of every task on a pretended card",
    "finetune/test_on_a_card.py": "runs whole stages on a pretended card",
    "finetune/test_stopped_anywhere.py": "stops a whole fine-tuning at random moments",
    "finetune/test_stopped_scoring.py": "stops probes, baselines, evaluations and fusions, which then go on",
    "finetune/captioner/test_real_questions.py": "reads a public set of questions",
    "finetune/labels/test_malformed.py": "reads every kind of malformed labels",
    "finetune/labels/test_same_pixels.py": "reads one file through three commands",
    "finetune/public_sets/test_damage.py": "damages files of every public set at random",
    "export/predict/test_masks.py": "hides pixels by every kind of mask, in predict and in serve",
    "export/test_full_granule.py": "maps a whole granule",
    "export/products/test_large_map.py": "makes polygons of a map of 16 million pixels",
    "export/from_torch/test_public_encoder.py": "takes a public encoder through the whole chain",
    "export/serve/test_load.py": "sixteen clients at once",
    "export/serve/test_schema.py": "requests drawn from the published interface",
    "view/test_antimeridian.py": "maps ground on both sides of 180 degrees, in every page and tile",
    "view/test_first_tile.py": "opens the map of a whole granule",
    "bandloom/public_encoders/test_authors_code.py": "runs every family of public encoders by its authors' code",
    "bandloom/test_completion.py": "asks the command line as shells do",
    "slurm/test_array_drills.py": "array jobs on a real Slurm",
    "slurm/test_bench_array.py": "a benchmark in parts on a real Slurm",
    "slurm/test_bare_srun.py": "several processes on a real Slurm that know nothing of each other",
    "slurm/test_stopped_finetuning.py": "disturbs a whole fine-tuning on a real Slurm",
    "slurm/test_user_lines.py": "a profile's own lines on a real Slurm",
    "slurm/test_dockerfile.py": "reads slurm/Dockerfile",
}


def source_of(test: Path) -> list[Path]:
    """Return the file, or else the folder, that a test mirrors; ``bandloom`` is a room like the others."""
    inner = test.relative_to(TESTS)
    name = inner.with_name(inner.name.removeprefix("test_"))
    return [ROOT / name, ROOT / name.with_suffix("")]


def whole(test: Path) -> bool:
    inner = test.relative_to(TESTS)
    return len(inner.parts) == 1 or inner.name in WHOLE or str(inner) in WHOLE


@pytest.mark.parametrize("test", sorted(TESTS.rglob("test_*.py")), ids=lambda test: str(test.relative_to(TESTS)))
def test_every_test_lies_where_its_source_lies(test: Path):
    assert whole(test) or any(path.exists() for path in source_of(test)), (
        f"{test.relative_to(ROOT)} mirrors no file; name it after the file it tests, or add it to WHOLE"
    )


def test_what_is_allowed_is_there():
    names = {str(path.relative_to(TESTS)) for path in TESTS.rglob("test_*.py")}
    assert [each for each in WHOLE if not any(name == each or name.endswith("/" + each) for name in names)] == []
