# SPDX-License-Identifier: Apache-2.0
"""Copies in a report: shares, histograms of nearest distances, and the closest pairs side by side."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from medti_components.visualize.report_page import figures_table, grid_png, picture, plain_table, plot_png

if TYPE_CHECKING:
    from medti_components.evaluation.copy_detection import CopySearch

_WORDS = {"generated": "generated images", "real": "held-out real images"}


def copy_sections(
    figures: Mapping[str, Any],
    searches: Mapping[str, "CopySearch"],
    images: Mapping[str, Tensor],
    num_pairs: int,
    in_colour: bool,
) -> list[str]:
    """Return the HTML parts.

    Args:
        figures: as ``CopyDetection`` has them.
        searches: by space.
        images: "generated" and "training", each (n, 3, H, W) in [-1, 1].
        num_pairs: pairs to show.
        in_colour: whether images are shown in colour, else channel by channel in grey.
    """
    rate = figures["false_positive_rate"]
    return [
        "<h2>Copies</h2>",
        "<p>For each image the nearest of the images that the words were learned from, mirrored ones included, once by "
        "its pixels, shifted and cropped for the best correlation, and once on features of the network "
        f"'{escape(figures['network'])}'. Closeness says how far the nearest one stands out: 0 where the next ones are "
        "as near, 1 where they are 2.7 times as far, 2 where they are 7.4 times as far. An image is called a copy "
        f"where its closeness is above what all but {rate:g} of real images reach, as estimated from "
        f"{figures['num_calibration_images']} real images.</p>",
        figures_table([(_WORDS[name], share) for name, share in figures["share"].items()], "called copies"),
        "<h3>Authenticity</h3>",
        "<p>Share of images that are farther from their nearest training image than that one is from the next training "
        "image (Alaa et al., 2022), on features. Held-out real images show what to expect of images that copy "
        "nothing.</p>",
        figures_table([(_WORDS[name], share) for name, share in figures["authenticity"].items()], "authentic"),
        picture(
            _histograms_png(searches),
            "How near the nearest training image is, and how far it stands out. Broken line: from here on, a copy.",
            "Histograms of nearest distances and of closeness",
        ),
        *_closest_pairs(searches, images, num_pairs, in_colour),
    ]


def _closest_pairs(
    searches: Mapping[str, "CopySearch"], images: Mapping[str, Tensor], num_pairs: int, in_colour: bool
) -> list[str]:
    spaces = list(searches)
    margins = torch.stack([search.sets["generated"].closeness - search.threshold.value for search in searches.values()])
    closest = margins.max(dim=0)
    rows, columns = [], []
    for rank, index in enumerate(closest.values.argsort(descending=True)[:num_pairs].tolist(), start=1):
        space = spaces[int(closest.indices[index])]
        nearest = searches[space].sets["generated"]
        columns.append(_beside(images["generated"][index], images["training"][nearest.indices[index]]))
        found = nearest.distances[index], nearest.closeness[index], searches[space].threshold.value
        is_copy = "copy" if closest.values[index] > 0 else "no copy"
        rows.append([str(rank), space, *(f"{float(value):.3g}" for value in found), is_copy])
    headings = ["pair", "found by", "distance", "closeness", "copy from", "called"]
    return [
        "<h3>Closest pairs</h3>",
        picture(
            grid_png([_shown(column, in_colour) for column in columns], in_colour=in_colour),
            f"The {len(columns)} generated images closest to a training image, left to right; below each, that "
            "training image. Training images are private: do not pass this report on.",
            "Generated images above their nearest training images",
        ),
        plain_table(headings, rows),
    ]


def _beside(generated: Tensor, training: Tensor) -> Tensor:
    """One image above the other, with a white line between, (3, H, W) each."""
    line = torch.ones(generated.shape[0], max(1, generated.shape[1] // 32), generated.shape[2])
    return torch.cat([generated, line, training], dim=1)


def _shown(column: Tensor, in_colour: bool) -> Tensor:
    return column[:1] if not in_colour and bool((column == column[:1]).all()) else column


def _histograms_png(searches: Mapping[str, "CopySearch"]) -> bytes:
    figure = Figure(figsize=(10, 3.2 * len(searches)), layout="constrained")
    for row, (space, search) in zip(figure.subplots(len(searches), 2, squeeze=False), searches.items(), strict=True):
        for axes, name in zip(row, ("distances", "closeness"), strict=True):
            values = {kind: getattr(search.sets[kind], name).numpy() for kind in _WORDS}
            limits = [search.threshold.value] if name == "closeness" else []
            edges = np.histogram_bin_edges(np.concatenate([*values.values(), limits]), bins=30)
            for kind, own in values.items():
                axes.hist(own, edges, density=True, alpha=0.5, label=_WORDS[kind])
            for limit in limits:
                axes.axvline(limit, color="black", linestyle="--")
            label = "distance to the nearest training image" if name == "distances" else "closeness"
            axes.set(xlabel=f"{label}, by {space}", ylabel="density")
    figure.axes[0].legend()
    return plot_png(figure)
