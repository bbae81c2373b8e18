"""Replay of golden chips: the difference between two answers, and whether it is within tolerance."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bandloom.errors import BundleError
from bandloom.export.bundle.answers import agreement, decisions
from bandloom.export.bundle.golden import GOLDEN, read_golden
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.bundle.record import CONTRACT_KEY, Contract, FeatureFile, ModelFile
from bandloom.export.runtimes.onnx_runner import OnnxRunner, Runner

if TYPE_CHECKING:
    from bandloom.export.bundle.bundle import Bundle


def compare(given: np.ndarray, expected: np.ndarray, contract: Contract) -> tuple[float, float]:
    """Return the largest absolute difference and the share of equal decisions of two logit arrays ``(B, K, ...)``.

    Answers of another shape, or that are not finite, are infinitely far apart and agree nowhere.
    """
    if given.shape != expected.shape or not np.isfinite(given).all():
        return float("inf"), 0.0
    max_abs = float(np.abs(given.astype(np.float64) - expected).max())
    return max_abs, agreement(contract, given, expected)


# without VNNI 8-bit weights came out 3.5 to 7.5 of these units off, 7-bit weights 0.01 (docs/decisions/int8.md)
MOST_EXECUTED_ERROR = 0.5


def executed_error(executed: np.ndarray, exact: np.ndarray, expected: np.ndarray) -> float:
    """Return how far an int8 answer lies from exact arithmetic, in units of what quantisation itself costs.

    Args:
        executed: logits ``(B, K, ...)`` as this processor computed them.
        exact: the same graph in float arithmetic.
        expected: the fp32 model's logits. A hundredth of their deviation is added to the unit, for models that
            quantisation hardly changes.
    """
    unit = _rms(exact - expected) + 0.01 * float(expected.std())
    return _rms(executed - exact) / max(unit, 1e-12)


def require_exact(path: Path, runner: Runner, groups: Groups, expected: np.ndarray) -> None:
    """Refuse an int8 model whose products this machine does not compute as they are meant.

    Raises:
        BundleError: how far they are off, and what to do.
    """
    error = executed_error(runner.run(groups), OnnxRunner(path, exact=True).run(groups), expected)
    if not error <= MOST_EXECUTED_ERROR:
        raise BundleError(
            f"{path.name} is computed wrongly by {runner.name} on this processor: it differs from exact arithmetic by"
            f" {error:.2g} times what quantisation costs (allowed {MOST_EXECUTED_ERROR}); bundles exported before int8"
            " weights kept to seven bits do so on processors without VNNI: export the bundle anew, or pass"
            " --precision fp32."
        )


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))


def needed_agreement(share: float, decisions: int) -> float:
    """Return ``share``, or less where so few decisions are compared that a single one would fall short of it."""
    return min(share, 1 - 1 / max(decisions, 1))


def replay(bundle: "Bundle", runner: Runner, model: ModelFile) -> tuple[float, float]:
    """Run the golden chips, compare with what torch said of them, and return what :func:`compare` does.

    Raises:
        BundleError: the answers differ by more than the parity report allows.
    """
    golden = read_golden(bundle.path / GOLDEN)
    answer = runner.run(golden.groups(bundle.contract))
    max_abs, agreeing = compare(answer, golden.logits, bundle.contract)
    parity = model.parity
    needed = needed_agreement(parity.required_agreement, decisions(bundle.contract, golden.logits).size)
    if not (max_abs <= parity.allowed_max_abs and agreeing >= needed):
        raise BundleError(
            f"{model.file} does not reproduce {GOLDEN} on {runner.name}: logits differ by {max_abs:.3g} (allowed"
            f" {parity.allowed_max_abs:g}) and {agreeing:.5f} of the classes agree (needed"
            f" {needed:g}); the band order, the values or the weights were changed, export it anew."
        )
    if model.precision == "int8":
        require_exact(bundle.path / model.file, runner, golden.groups(bundle.contract), golden.logits)
    return max_abs, agreeing


def replay_features(bundle: "Bundle", runner: Runner, record: FeatureFile) -> None:
    """Run the golden chips through the encoder alone and compare with torch's features.

    Raises:
        BundleError: there are none to compare with, or the answers differ by more than is allowed.
    """
    golden = read_golden(bundle.path / GOLDEN)
    if golden.features is None:
        raise BundleError(f"{bundle.path / GOLDEN} holds no features for {record.file}; export the bundle anew.")
    given = runner.run(golden.groups(bundle.contract))
    if given.shape != golden.features.shape or not np.abs(given - golden.features).max() <= record.allowed_max_abs:
        raise BundleError(
            f"{record.file} does not reproduce the features in {GOLDEN} on {runner.name}; export it anew."
        )


def check_graph(bundle: "Bundle", runner: OnnxRunner, model: ModelFile) -> None:
    """Check that a model file was exported for the bundle's record and takes what the record says.

    Raises:
        BundleError: it is another's.
    """
    if runner.metadata.get(CONTRACT_KEY) != bundle.contract.digest():
        raise BundleError(
            f"{model.file} was exported for another record than {bundle.path / 'bundle.json'}; the bundle was mixed"
            " from two, copy it again."
        )
    side_m = bundle.contract.tile_px * 10
    expected = {g.name: (len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m, 2) for g in bundle.contract.groups}
    given = {name: shape[1:] for name, shape in runner.input_shapes.items()}
    if given != expected:
        raise BundleError(f"{model.file} takes {given}, the record says {expected}; copy the bundle again.")
