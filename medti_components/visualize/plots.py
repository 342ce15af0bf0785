# SPDX-License-Identifier: Apache-2.0
"""The plots of reports, each as a PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from torch import Tensor

from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.roc_auc import Calibration


def roc_plot(curves: Mapping[str, tuple[NDArray[np.bool_], Tensor]]) -> bytes:
    """Plot ROC curves in one panel, with a legend.

    Args:
        curves: by name, whether each case is positive, (n,), and its score, (n,).
    """
    figure = Figure(figsize=(5, 6), layout="constrained")
    axes = figure.subplots()
    for name, (truth, scores) in curves.items():
        false_positive, true_positive, _ = roc_curve(truth, scores.numpy())
        axes.plot(false_positive, true_positive, label=name)
    _finish_roc(axes)
    figure.legend(loc="outside lower center")
    return _png(figure)


def operating_point_plot(truth: Tensor, scores: Tensor, said: Tensor) -> bytes:
    """Plot one ROC curve and the point on it at which the cases that are ``said`` to be positive are.

    Args:
        truth: whether each case is positive, bool (n,).
        scores: larger meaning more likely positive, (n,).
        said: whether each case is called positive, bool (n,).
    """
    false_positive, true_positive, _ = roc_curve(truth.numpy(), scores.numpy())
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(false_positive, true_positive)
    _finish_roc(axes)
    at = [float(said[group].double().mean()) for group in (~truth, truth)]
    axes.plot(*at, marker="o", color="C3")
    return _png(figure)


def _finish_roc(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")


def calibration_plot(calibration: Calibration) -> bytes:
    """Plot the share of positives over the mean probability of each bin, with the bin's number of cases."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.plot(calibration.means, calibration.shares, marker="o")
    for mean, share, count in zip(calibration.means, calibration.shares, calibration.counts, strict=True):
        axes.annotate(f"n={count}", (mean, share), textcoords="offset points", xytext=(6, -12), fontsize="small")
    axes.set(
        xlabel="mean probability", ylabel="share of positives", aspect="equal", xlim=(-0.05, 1.1), ylim=(-0.1, 1.05)
    )
    return _png(figure)


def histograms_plot(rows: Sequence[Sequence[tuple[str, Mapping[str, Tensor], Sequence[float]]]]) -> bytes:
    """Plot panels of histograms that share their bins.

    Args:
        rows: of panels, each the label of its axis, the values (n,) by name, and limits, drawn as broken lines.
    """
    figure = Figure(figsize=(10, 3.2 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for axes, (label, values, limits) in zip(panels.flat, [panel for row in rows for panel in row], strict=True):
        arrays = {name: own.numpy() for name, own in values.items()}
        edges = np.histogram_bin_edges(np.concatenate([*arrays.values(), limits]), bins=30)
        for name, own in arrays.items():
            axes.hist(own, edges, density=True, alpha=0.5, label=name)
        for limit in limits:
            axes.axvline(limit, color="black", linestyle="--")
        axes.set(xlabel=label, ylabel="density")
    figure.axes[0].legend()
    return _png(figure)


def intervals_plot(panels: Mapping[str, Mapping[str, Mapping[str, IntervalEstimate]]], rows: Sequence[str]) -> bytes:
    """Plot a panel per metric, in each a dot and its interval for each row: in blue the first kind, grey the second.

    Args:
        panels: metrics by panel, by kind and by row; a kind may have no metric of a row.
        rows: their names, from top to bottom.
    """
    columns = 4
    height = -(-len(panels) // columns)
    figure = Figure(figsize=(11, (1.0 + 0.45 * len(rows)) * height), layout="constrained")
    axes = figure.subplots(height, columns, squeeze=False, sharey=True)
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    for (title, kinds), panel in zip(panels.items(), axes.flat, strict=False):
        styles = ((-0.14, "tab:blue"), (0.14, "grey"))
        for (label, metrics), (offset, colour) in zip(kinds.items(), styles, strict=True):
            found = [(place, metrics[row]) for place, row in enumerate(rows) if row in metrics]
            values = [each.value for _, each in found]
            ends = [
                [each.value - each.low for _, each in found],
                [each.high - each.value for _, each in found],
            ]
            places = [place + offset for place, _ in found]
            panel.errorbar(values, places, xerr=ends, fmt="o", markersize=4, color=colour, label=label)
        panel.set_title(title, fontsize=10)
        panel.set_yticks(range(len(rows)), rows, fontsize=8)
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return _png(figure)


def curves_plot(panels: Sequence[tuple[str, Tensor, Tensor]], label: str) -> bytes:
    """Plot panels of curves in grey, and their mean in black.

    Args:
        panels: the label of the horizontal axis, the positions on it (steps,), and the curves (rows, steps).
        label: of the vertical axis.
    """
    figure = Figure(figsize=(4 * len(panels), 3.5), layout="constrained")
    for axes, (name, positions, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        table = curves.numpy()
        axes.plot(positions.numpy(), table.T, color="grey", alpha=0.4, linewidth=1)
        axes.plot(positions.numpy(), table.mean(axis=0), color="black")
        axes.set(xlabel=name, ylabel=label)
    return _png(figure)


def scatter_plot(panels: Mapping[str, Mapping[str, NDArray[np.float64]]], labels: tuple[str, str]) -> bytes:
    """Plot panels of points, dots of the first kind and crosses of the second.

    Args:
        panels: points (n, 2) by title and by kind.
        labels: of both axes.
    """
    figure = Figure(figsize=(4.5 * len(panels), 4), layout="constrained")
    for axes, (title, kinds) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for (name, points), marker in zip(kinds.items(), ("o", "x"), strict=True):
            axes.scatter(*points.T, s=14, marker=marker, label=name, alpha=0.7)
        axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
        axes.legend()
    return _png(figure)


def encircled_plot(images: Tensor, places: Tensor, is_shown: Tensor, radius: float) -> bytes:
    """Show images side by side, channels one above the other, with a circle in each channel where there is a spot.

    Args:
        images: (n, channels, H, W) in [-1, 1].
        places: (row, column) of each image's spot, (n, 2).
        is_shown: whether it is encircled, bool (n,).
        radius: of the circles, in pixels.
    """
    size = images.shape[-1]
    pixels = torch.cat(list(torch.cat(list(images.unbind(1)), dim=1)), dim=1)
    figure = Figure(figsize=(1.3 * len(images), 2.6))
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.imshow(pixels.numpy(), cmap="gray", vmin=-1, vmax=1)
    axes.set_axis_off()
    for index in torch.nonzero(is_shown).flatten().tolist():
        y, x = places[index].tolist()
        for row in range(images.shape[1]):
            axes.add_patch(Circle((index * size + x, row * size + y), radius, fill=False, color="yellow"))
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
