"""Pictures of a report: confusion matrix, reliability, learning curves, and the worst test chips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX, LabelSet
from bandloom.files.output import new_output
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.finetune.model.task_model import split_dates
from bandloom.finetune.scores.evaluation import Example
from bandloom.sensors import Sensor

TRUE_COLOUR = ("B04", "B03", "B02")
SMALLEST_RANGE = 0.08  # reflectance; dark water is not stretched into noise
GAMMA = 0.75  # lifts dark ground beside bright
COLUMNS = 4  # examples side by side
LOOKED = "validation_"  # begins the names of scores on validation ground
SCORE_NAMES = {"macro_f1": "macro-F1", "rmse": "RMSE", "map_macro": "macro mAP"}


def draw_confusion(path: Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Draw the confusion matrix, each row as shares of its true class; classes that never occur are left out."""
    shown = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    part = confusion[np.ix_(shown, shown)]
    share = part / np.maximum(part.sum(1, keepdims=True), 1)
    side = 2.6 + 0.55 * len(shown)
    figure, axes = new_figure(side + 0.6, side)
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    labels = [names[i] for i in shown.tolist()]
    axes.set_xticks(range(len(shown)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), [f"{name} ({count:,})" for name, count in zip(labels, part.sum(1), strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth (labels)")
    for (y, x), value in np.ndenumerate(share):
        if value >= 0.005:
            axes.text(
                x,
                y,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if value > 0.55 else "black",
            )
    axes.set_title("% of each true class", fontsize=10)
    save_figure(figure, path)


def draw_reliability(path: Path, calibration: Mapping[str, Any]) -> None:
    """Draw accuracy over confidence before and after temperature scaling, and how the labels spread over it."""
    figure, (upper, lower) = new_figure(4.6, 5.4, rows=2, heights=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfect")
    for key, colour in (("before", "#d95f02"), ("after", "#1b6ca8")):
        part = calibration[key]
        counts = np.array(part["counts"])
        seen = counts > 0
        name = "as trained" if key == "before" else f"temperature {calibration['temperature']:.2f}"
        upper.plot(
            np.array(part["confidence"])[seen],
            np.array(part["accuracy"])[seen],
            color=colour,
            marker="o",
            markersize=3.5,
            label=f"{name}: error {part['error']:.3f}",
        )
        edges = np.linspace(0, 1, len(counts) + 1)
        lower.stairs(100 * counts / max(1, counts.sum()), edges, color=colour, linewidth=1.2)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    upper.legend(loc="upper left", fontsize=8, frameon=False)
    upper.set_title("Does its confidence hold?", fontsize=10)
    lower.set(xlim=(0, 1), xlabel="confidence", ylabel="% of labels")
    _tidy(upper, lower)
    save_figure(figure, path)


def draw_curves(path: Path, training: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]]) -> None:
    """Draw the training loss and, where it was measured, the score on validation ground, over steps.

    Args:
        path: of the picture.
        training: lines with ``step`` and ``loss``.
        validation: lines with ``step`` and scores named ``validation_...``; the first of them is drawn.
    """
    figure, axes = new_figure(5.6, 3.4)
    steps = [line["step"] for line in training if line.get("loss") is not None]
    losses = [line["loss"] for line in training if line.get("loss") is not None]
    (loss_line,) = axes.plot(steps, losses, color="#555555", linewidth=1.2)
    axes.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    _tidy(axes)
    if validation:
        right = axes.twinx()
        key = next(key for key in validation[0] if key.startswith(LOOKED))
        name = SCORE_NAMES.get(key.removeprefix(LOOKED), key.removeprefix(LOOKED))
        (score_line,) = right.plot(
            [line["step"] for line in validation],
            [line[key] for line in validation],
            color="#1b6ca8",
            marker="o",
            markersize=3.5,
        )
        right.set(ylabel=f"{name}, validation", ylim=(0, None if name == "RMSE" else 1))
        right.spines["top"].set_visible(False)
        axes.legend(
            [loss_line, score_line],
            ["training loss", f"validation {name}"],
            fontsize=8,
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, 1.14),
            ncols=2,
        )
    save_figure(figure, path)


def draw_worst(path: Path, examples: Sequence[Example], label_set: LabelSet, sensor: Sensor) -> None:
    """Draw the worst examples: chips with both class names, or pixels, truth and prediction beside each other."""
    if not examples:
        return
    chips = examples[0].label.ndim == 0
    dates = _dates(examples[0], sensor)
    panels = dates if chips else dates + 2
    columns = min(len(examples), COLUMNS if chips else 2)
    rows = -(-len(examples) // columns)
    figure, axes = new_figure(
        (2.1 if chips else 1.5 * panels) * columns,
        (2.55 if chips else 1.75) * rows,
        rows=rows,
        columns=columns * panels,
    )
    grid = np.atleast_1d(np.asarray(axes, object)).reshape(rows, columns * panels)
    for panel in grid.flat:
        panel.set_axis_off()
    for place, example in enumerate(examples):
        row, column = divmod(place, columns)
        own = grid[row, column * panels : (column + 1) * panels]
        for axis, groups in zip(own, split_dates(example.groups) if dates > 1 else [example.groups], strict=False):
            axis.imshow(true_colour(groups, sensor), interpolation="nearest")
        if chips:
            own[0].set_title(_chip_title(example, label_set), fontsize=8)
            continue
        for axis, label, title in ((own[-2], example.label, "truth"), (own[-1], example.predicted, "predicted")):
            axis.imshow(coloured(label, label_set), interpolation="nearest")
            axis.set_title(title, fontsize=7)
        if dates > 1:
            own[1].set_title("later", fontsize=7)
        known = example.label != IGNORE_INDEX
        right = float((example.label == example.predicted)[known].mean())
        own[0].set_title(f"{100 * right:.0f} % right", fontsize=7)
    if not chips:
        _class_legend(figure, examples, label_set)
    save_figure(figure, path)


def true_colour(groups: Mapping[int, np.ndarray], sensor: Sensor) -> np.ndarray:
    """Return a picture of native groups, ``(H, W, 3)`` 0..1; bands keep their relation, what is absent is black."""
    slots = [slot for group in sensor.groups for slot in group.slots]
    wanted = [slots.index(slot) for slot in TRUE_COLOUR if slot in slots]
    bands = pixel_bands(groups, sensor)[wanted if len(wanted) == len(TRUE_COLOUR) else [0, 0, 0]]
    if not np.isfinite(bands).any():
        return np.zeros((*bands.shape[1:], 3), np.float32)
    low = [np.percentile(band[np.isfinite(band)], 1) if np.isfinite(band).any() else 0.0 for band in bands]
    above = bands - np.array(low)[:, None, None]
    span = max(SMALLEST_RANGE, float(np.nanpercentile(above, 97)))
    return (np.nan_to_num(np.clip(above / span, 0, 1)) ** GAMMA).transpose(1, 2, 0)


def coloured(label: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Return class indices ``(H, W)`` in their colours, ``(H, W, 3)`` uint8; white where there is no class."""
    table = np.full((256, 3), 255, np.uint8)
    table[: len(label_set)] = label_set.rgb
    return table[label]


def _dates(example: Example, sensor: Sensor) -> int:
    group = sensor.groups[0]
    return example.groups[group.gsd_m].shape[0] // len(group.bands)


def _chip_title(example: Example, label_set: LabelSet) -> str:
    truth, predicted = label_set.names[int(example.label)], label_set.names[int(example.predicted)]
    return f"{truth}\ntaken for {predicted}\n({100 * example.confidence:.0f} % sure)"


def _class_legend(figure: Any, examples: Sequence[Example], label_set: LabelSet) -> None:
    from matplotlib.patches import Patch

    seen = np.unique(np.concatenate([np.concatenate([e.label.ravel(), e.predicted.ravel()]) for e in examples]))
    patches = [
        Patch(color=label_set.classes[i].colour, label=label_set.names[i]) for i in seen.tolist() if i != IGNORE_INDEX
    ]
    if (seen == IGNORE_INDEX).any():
        patches.append(Patch(facecolor="white", edgecolor="0.6", label="no label"))
    figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=7, frameon=False)


def new_figure(
    width: float, height: float, *, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Any, Any]:
    """Return a figure that needs no display, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, height_ratios=heights)


def _tidy(*axes: Any) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as a PNG, in place of one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=130, format="png", bbox_inches="tight")
