# SPDX-License-Identifier: Apache-2.0
"""The section of a report on how near generated images are to real ones, in words that a clinician reads."""

from collections.abc import Mapping
from html import escape
from typing import Any

from matplotlib.figure import Figure

from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.report_page import picture, plain_table, plot_png

SCORES = {
    "fid": (
        "FID",
        "Distance between the two sets, each seen as one cloud. Few images alone make it large, so only the gap to the "
        "real images' own figure counts.",
    ),
    "kid": (
        "KID",
        "The same distance freed of the error of few images: 0 where the sets can't be told apart. An interval that "
        "holds 0 shows no difference at this number of images.",
    ),
    "precision": ("precision", "Share of generated images that resemble some real one. Low: odd images."),
    "recall": ("recall", "Share of real images whose like could be generated. Low: kinds of images are missing."),
    "density": (
        "density",
        "How crowded generated images lie where real ones are, 1 as real ones do. Above 1: mostly typical images.",
    ),
    "coverage": ("coverage", "Share of real images that have a generated one nearby. Low: variety is missing."),
    "similarity": (
        "MS-SSIM",
        "How alike two images of the set are, 1 for the same. Above the real images' figure: images repeat themselves.",
    ),
    "fid_as_published": (
        "FID as published",
        "As the paper on medical textual inversion has it: brightness and contrast evened out, against the training "
        "images. Copies of those would score best.",
    ),
}
"""Heading of each score, and what it says."""


def quality_sections(figures: Mapping[str, Any], features: str) -> list[str]:
    """Return the section as parts of a page.

    Args:
        figures: of each concept, of "generated" and, where there is a second set of real images, "real", each score.
        features: what the features are of.
    """
    parts = [
        "<h2>How near are generated to real images, and how varied?</h2>",
        f"<p>Compared by the features of the network '{escape(features)}' against held-out real images. Beside each "
        "figure stands that of other real images at their own n: what perfect images would reach. In brackets 95% "
        "intervals.</p>",
        picture(_plot(figures), "Generated beside other real images, with 95% intervals", "Scores with intervals"),
    ]
    for concept, of_concept in figures.items():
        parts += [f"<h3>{escape('all concepts' if concept == 'all' else concept)}</h3>", _table(of_concept)]
    return parts


def quality_summary(figures: Mapping[str, Any]) -> str:
    """Return a sentence on all images together for the head of a report."""
    generated, real = (figures.get("all", {}).get(kind, {}).get("kid") for kind in ("generated", "real"))
    if generated is None:
        return ""
    beside = "" if real is None else f"; other real images reach {real}"
    if generated.low <= 0 <= generated.high:
        found = "At this number of images generated ones can't be told from real ones by their features"
    else:
        found = "Generated images differ from real ones in their features"
    return f"{found}: KID {generated}{beside}."


def _table(figures: Mapping[str, Mapping[str, IntervalEstimate]]) -> str:
    rows = [
        [heading, *(_cell(figures.get(kind, {}).get(name)) for kind in ("generated", "real")), meaning]
        for name, (heading, meaning) in SCORES.items()
        if name in figures["generated"]
    ]
    return plain_table(["score", "generated", "other real images", "what it says"], rows)


def _cell(figure: IntervalEstimate | None) -> str:
    if figure is None:
        return "not enough images"
    counts = ", ".join(f"{count} {group}" for group, count in figure.counts.items())
    return f"{figure}, n = {counts}"


def _plot(figures: Mapping[str, Any]) -> bytes:
    """A panel a score: a dot and its interval for each concept, generated above other real images."""
    names = [name for name in SCORES if any(name in own["generated"] for own in figures.values())]
    columns = 4
    plot = Figure(figsize=(11, (1.0 + 0.45 * len(figures)) * -(-len(names) // columns)), layout="constrained")
    panels = plot.subplots(-(-len(names) // columns), columns, squeeze=False, sharey=True)
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for name, panel in zip(names, panels.flat, strict=False):
        for kind, offset, colour in (("generated", -0.14, "tab:blue"), ("real", 0.14, "grey")):
            label = "generated" if kind == "generated" else "other real images"
            found = [(row, own[kind][name]) for row, own in enumerate(figures.values()) if name in own.get(kind, {})]
            values = [each.value for _, each in found]
            ends = [
                [each.value - each.low for _, each in found],
                [each.high - each.value for _, each in found],
            ]
            rows = [row + offset for row, _ in found]
            panel.errorbar(values, rows, xerr=ends, fmt="o", markersize=4, color=colour, label=label)
        panel.set_title(SCORES[name][0], fontsize=10)
        panel.set_yticks(range(len(figures)), [concept.strip("<>") for concept in figures], fontsize=8)
    panels[0, 0].invert_yaxis()
    plot.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return plot_png(plot)
