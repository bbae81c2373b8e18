"""The picture of a regression: predicted over true values, where they should lie, and what the errors are."""

from pathlib import Path

import numpy as np

from bandloom.finetune.report.pictures import new_figure, save_figure
from bandloom.target import Target


def draw_scatter(path: Path, truth: np.ndarray, predicted: np.ndarray, target: Target) -> None:
    """Draw predicted over true values ``(N,)`` in the unit, as counts in hexagons, beside the line of no error."""
    figure, axes = new_figure(4.8, 4.4)
    if truth.size:
        low, high = np.percentile(np.concatenate([truth, predicted]), (0.5, 99.5)).tolist()
        high = high if high > low else low + 1.0
        inside = (truth >= low) & (truth <= high) & (predicted >= low) & (predicted <= high)
        axes.hexbin(
            truth[inside], predicted[inside], gridsize=50, extent=(low, high, low, high), mincnt=1, cmap="viridis"
        )
        axes.plot([low, high], [low, high], color="#d7191c", linewidth=1)
        axes.set(xlim=(low, high), ylim=(low, high))
        rmse, bias = np.sqrt(np.mean((predicted - truth) ** 2)), np.mean(predicted - truth)
        axes.set_title(f"RMSE {rmse:.3g}, bias {bias:+.3g}, of {truth.size:,} values", fontsize=10)
    axes.set_xlabel(f"true {target.title}")
    axes.set_ylabel("predicted")
    save_figure(figure, path)
