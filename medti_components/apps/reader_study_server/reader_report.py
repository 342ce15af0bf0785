# SPDX-License-Identifier: Apache-2.0
"""The figures of a reader study as an HTML page and as lines of text."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from medti_components.visualize.report_page import figures_table, report_page, settings_table

MEANINGS = {
    "accuracy": "Share of images whose origin was named rightly; 0.5 is chance: the readers can't tell.",
    "sensitivity": "Share of synthetic images that were called synthetic.",
    "specificity": "Share of real images that were called real.",
    "preference": "Share of pairs in which the synthetic image was called the more realistic; 0.5: no difference.",
}


def report_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line a reader, and one of all where there are several."""
    name, number = _main_figure(figures), figures["num_items"]
    for reader, found in figures["readers"].items():
        time = "" if found["median_seconds"] is None else f", {found['median_seconds']:.1f} s an answer"
        share = f"{name} {found[name]}, {_p(found['p_value'])}"
        yield f"{reader}: {found['num_answers']} of {number} answers, {share}{time}"
    if len(figures["readers"]) > 1:
        yield f"all {len(figures['readers'])} readers: {name} {figures['all_readers'][name]}"
    agreement = figures["agreement"]
    for readers, found in agreement["two_readers"].items():
        yield f"agreement of {readers}: Cohen's kappa {_or_undetermined(found['kappa'])}"
    if len(figures["readers"]) > 2:
        yield f"agreement of all: Fleiss' kappa {_or_undetermined(agreement['fleiss_kappa'])}"


def render_report(figures: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the page."""
    readers, pooled, agreement = figures["readers"], figures["all_readers"], figures["agreement"]
    parts = ["<h2>Answers</h2>", settings_table({reader: _answered(found) for reader, found in readers.items()})]
    for name, meaning in MEANINGS.items():
        if name not in pooled:
            continue
        rows = [(reader, found[name]) for reader, found in readers.items()]
        rows += [("all readers", pooled[name])] if len(readers) > 1 else []
        parts += [f"<h2>{name.capitalize()}</h2><p>{meaning}</p>", figures_table(rows, name, "reader")]
        if name == _main_figure(figures):
            tests = {reader: _p(found["p_value"]) for reader, found in readers.items()}
            parts += ["<p>Exact two-sided binomial test against 0.5:</p>", settings_table(tests)]
    if pooled["ratings"] is not None:
        parts.append("<h2>How realistic?</h2><p>Mean rating, 1 (not at all) to 5 (fully).</p>")
        for reader, found in [*readers.items(), *([("all readers", pooled)] if len(readers) > 1 else [])]:
            names = {"real": "real images", "synthetic": "synthetic images", "difference": "synthetic less real"}
            rows = [(names[kind], figure) for kind, figure in found["ratings"].items()]
            parts += [f"<h3>{escape(reader)}</h3>", figures_table(rows, "mean rating")]
    if len(readers) > 1:
        rows = [(f"{pair}: Cohen's kappa", found["kappa"]) for pair, found in agreement["two_readers"].items()]
        rows += [
            (f"{pair}: Cohen's kappa of the ratings, quadratic weights", found["rating_weighted_kappa"])
            for pair, found in agreement["two_readers"].items()
            if "rating_weighted_kappa" in found
        ]
        rows += [("all: Fleiss' kappa", agreement["fleiss_kappa"])] if len(readers) > 2 else []
        text = "Beyond chance, on images that all of them answered: 1 is perfect, 0 is chance."
        parts += [f"<h2>Do the readers agree?</h2><p>{text}</p>", figures_table(rows, "kappa", "readers")]
    parts += ["<h2>Settings</h2>", settings_table(settings)]
    return report_page("Blinded reader study", parts)


def _main_figure(figures: Mapping[str, Any]) -> str:
    return "preference" if "preference" in figures["all_readers"] else "accuracy"


def _answered(found: Mapping[str, Any]) -> str:
    time = "" if found["median_seconds"] is None else f", {found['median_seconds']:.1f} seconds an answer (median)"
    return f"{found['num_answers']} answers, {'complete' if found['is_complete'] else 'incomplete'}{time}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _or_undetermined(figure: object) -> str:
    return "undetermined" if figure is None else str(figure)
