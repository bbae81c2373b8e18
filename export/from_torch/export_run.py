"""``bandloom export``: from a fine-tuned checkpoint to a verified bundle."""

import datetime as dt
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bandloom import __version__
from bandloom.command_line.typed import typed_command
from bandloom.errors import BundleError, CheckpointError
from bandloom.export.bundle.answers import check_thresholds
from bandloom.export.bundle.bundle import Bundle, read_bundle, seal, sha256_of
from bandloom.export.bundle.golden import GOLDEN, golden_of, write_golden
from bandloom.export.bundle.record import BundleRecord, Contract, contract_of
from bandloom.export.bundle.tiling import Tiling
from bandloom.export.from_torch.calibrate import calibrate
from bandloom.export.from_torch.deploy import AnyModel, members_of
from bandloom.export.from_torch.ensemble import Ensemble, require_alike
from bandloom.export.from_torch.held_chips import Ground, held_chips
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.tile_sizes import in_tiles, wide_tiling
from bandloom.export.from_torch.token_space import TokenSpace, fit_token_space
from bandloom.export.from_torch.write_features import write_features
from bandloom.export.from_torch.write_model import write_precision
from bandloom.export.runtimes.verify import verify
from bandloom.files.output import new_output, one_writer
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.pull import local_folder

GOLDEN_CHIPS = 4
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@one_writer
def export_run(run: Path, out: Path, options: ExportOptions | None = None, others: Sequence[Path] = ()) -> Bundle:
    """Export a run's final checkpoint as a bundle, whole or not at all.

    Args:
        run: a fine-tuning run, or a checkpoint folder.
        out: the new bundle.
        options: precisions, tiling, and where held chips come from; a tiling that is not given is that of
            :func:`wide_tiling`.
        others: further runs of an ensemble; none: the run's own further seeds.

    Raises:
        CheckpointError: there is no fine-tuned checkpoint.
        BundleError: the model cannot be exported, or its parity with torch fails; nothing is written.
    """
    options = options or ExportOptions()
    unknown = set(options.precisions) - set(PRECISIONS)
    if unknown:
        raise BundleError(f"precision {sorted(unknown)[0]!r} is not known; use some of {', '.join(PRECISIONS)}.")
    if others and not options.ensemble:
        raise BundleError(f"{1 + len(others)} runs are named; pass --ensemble to average them, or name one.")
    if options.ensemble and options.embeddings:
        raise BundleError("an ensemble has an encoder for each member; export one of them alone for --embeddings.")
    model, provenance = (
        load_ensemble([run, *(others or seeds_in(run))], options.shards)
        if options.ensemble
        else load_model(checkpoint_of(run))
    )
    contract = contract_of_model(model, wide_tiling(model, options.tile_px, options.margin_px, options.taper_px))
    if options.embeddings and contract.dates > 1:
        raise BundleError("a model of two dates gives no embedding of one scene; leave --embeddings out.")
    ground, space = ground_of(run, provenance, options.shards), None
    if options.ood:
        chips = contract.model_copy(update={"tile_px": model.chip_px})
        space, familiar = fit_token_space(next(iter(members_of(model).values())), chips, ground)
        contract = contract.with_changes(familiar=familiar)
    with new_output(out, folder=True) as temporary:
        kinds = (options.precisions, options.embeddings, space)
        write_bundle(temporary, out.name, model, contract, ground, provenance, *kinds)
    return read_bundle(out)


def write_bundle(
    folder: Path,
    name: str,
    model: AnyModel,
    contract: Contract,
    ground: Ground,
    provenance: Mapping[str, Any],
    precisions: Sequence[str] = ("fp32",),
    embeddings: bool = False,
    space: TokenSpace | None = None,
) -> None:
    """Fill an empty folder with the bundle of ``model`` and verify it as a user of it would.

    ``space`` is that by which the contract is familiar with ground.
    """
    model, chips = in_tiles(model, contract.tile_px), held_chips(contract, ground, part_px=model.chip_px)
    expected = torch_logits(model, chips.groups)
    models = [
        write_precision(folder, model, contract, chips, expected, precision, ground, space)
        for precision in PRECISIONS
        if precision == "fp32" or precision in precisions
    ]
    single = next(iter(members_of(model).values()))
    encoder, features = write_features(folder, single, contract, chips) if embeddings else (None, None)
    # from the end on: the last chip has the absent samples
    last = slice(-max(1, GOLDEN_CHIPS * model.chip_px**2 // contract.tile_px**2), None)
    features = None if features is None else features[last]
    golden = {gsd_m: dn[last] for gsd_m, dn in chips.groups.items()}
    write_golden(folder / GOLDEN, golden_of(golden, expected[last], contract, features))
    record = BundleRecord(
        name=name,
        contract=contract,
        files={},
        versions=versions(),
        provenance={**provenance, **({"command": words} if (words := typed_command()) else {})},
        models=tuple(models),
        features=encoder,
        created=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    seal(folder, record)
    verify(read_bundle(folder))


def checkpoint_of(run: Path) -> Path:
    """Return the checkpoint folder of a run, or ``run`` itself when it is one.

    Raises:
        CheckpointError: there is none.
    """
    run = local_folder(run)
    for folder in (run / "checkpoint", run):
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(f"{run} has no finished checkpoint; pass a run of `bandloom finetune` that has ended.")


def load_model(folder: Path) -> tuple[TaskModel, dict[str, Any]]:
    """Return the model of a checkpoint and where it came from."""
    from bandloom.finetune.model.checkpoint import load_task_model
    from bandloom.model.checkpoint import CONFIG, WEIGHTS, read_folder

    model = load_task_model(folder)
    record, _ = read_folder(folder)
    provenance = {
        "checkpoint": str(folder.parent.name if folder.name == "checkpoint" else folder.name),
        "weights_sha256": sha256_of(folder / WEIGHTS),
        "config_sha256": sha256_of(folder / CONFIG),
        "training": record.get("provenance", {}),
    }
    if said := model.encoder.stand_ins(model.sensor):
        provenance["encoder_bands"] = said
    if "encoder_licence" in record:
        provenance["encoder_licence"] = record["encoder_licence"]
    return model, provenance


def seeds_in(run: Path) -> list[Path]:
    """Return the folders of a run's further seeds, in their order."""
    seeds = [(int(path.name.removeprefix("seed-")), path) for path in local_folder(run).glob("seed-*") if path.is_dir()]
    return [path for _, path in sorted(seeds)]


def load_ensemble(runs: Sequence[Path], shards: Path | None = None) -> tuple[Ensemble, dict[str, Any]]:
    """Return the calibrated ensemble of several runs' models and where it came from.

    Raises:
        CheckpointError: a run has no fine-tuned checkpoint.
        BundleError: the models are not alike.
    """
    loaded = [load_model(checkpoint_of(run)) for run in runs]
    models, provenances = [model for model, _ in loaded], [provenance for _, provenance in loaded]
    require_alike(models, runs)
    _require_different(provenances, runs)
    ensemble = Ensemble(models).eval()
    checked = calibrate(ensemble, ground_of(runs[0], provenances[0], shards), provenances)
    return ensemble, {**provenances[0], "members": provenances, **({"calibration": checked} if checked else {})}


def _require_different(provenances: Sequence[Mapping[str, Any]], runs: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for provenance, run in zip(provenances, runs, strict=True):
        if (other := seen.setdefault(provenance["weights_sha256"], run)) is not run:
            raise BundleError(f"{run} holds the same weights as {other}; name each run of an ensemble once.")


def ground_of(run: Path, provenance: Mapping[str, Any], shards: Path | None = None) -> Ground:
    """Return where chips of a run's ground come from: ``shards``, or those that its config names where they still are.

    The config is the run's own file, or what its checkpoint says of it; a run without one, such as a classifier baked
    from words, leaves chips without labels.
    """
    try:
        config = yaml.safe_load((run / "config.yaml").read_text())
    except (OSError, yaml.YAMLError):
        config = provenance.get("training", {}).get("config")
    config = config if isinstance(config, dict) else None
    if shards is None and config and isinstance(config.get("shards"), str) and Path(config["shards"]).is_dir():
        shards = Path(config["shards"])
    return Ground(shards, config)


def contract_of_model(model: AnyModel, tiling: Tiling) -> Contract:
    """Return what the numbers of ``model`` mean."""
    check_thresholds(model.thresholds, len(model.label_set))
    statistics = model.encoder.statistics
    slots = model.sensor.slots
    used = {
        "mean": {slot: float(statistics.mean[slot]) for slot in slots},
        "std": {slot: float(statistics.std[slot]) for slot in slots},
    }
    return contract_of(
        model.sensor,
        model.label_set,
        model.task,
        model.encoder.config.token_m,
        tiling,
        used,
        temperature=model.temperature,
        thresholds=model.thresholds,
        target=model.target,
        members=len(members_of(model)),
    )


def versions() -> dict[str, str]:
    """Return the versions that made the bundle."""
    import onnx
    import onnxruntime
    import torch

    return {
        "bandloom": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
