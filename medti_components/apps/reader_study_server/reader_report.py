# SPDX-License-Identifier: Apache-2.0
"""The metrics of a reader study as a report and as lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

from medti_components.visualize.report import Block, Report, Section, Subheading
from medti_components.visualize.tables import metrics_table, settings_table

MEANINGS = {
    "accuracy": "Share of images whose origin was named rightly; 0.5 is chance: the readers can't tell.",
    "sensitivity": "Share of synthetic images that were called synthetic.",
    "specificity": "Share of real images that were called real.",
    "preference": "Share of pairs in which the synthetic image was called the more realistic; 0.5: no difference.",
}


def report_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per reader, and one on all where there are several."""
    name, number = _main_metric(metrics), metrics["num_items"]
    for reader, found in metrics["readers"].items():
        time = "" if found["median_seconds"] is None else f", {found['median_seconds']:.1f} s an answer"
        share = f"{name} {found[name]}, {_p(found['p_value'])}"
        yield f"{reader}: {found['num_answers']} of {number} answers, {share}{time}"
    if len(metrics["readers"]) > 1:
        yield f"all {len(metrics['readers'])} readers: {name} {metrics['all_readers'][name]}"
    agreement = metrics["agreement"]
    for readers, found in agreement["two_readers"].items():
        yield f"agreement of {readers}: Cohen's kappa {_or_undetermined(found['kappa'])}"
    if len(metrics["readers"]) > 2:
        yield f"agreement of all: Fleiss' kappa {_or_undetermined(agreement['fleiss_kappa'])}"


def render_report(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the page."""
    readers, pooled = metrics["readers"], metrics["all_readers"]
    together = {"all readers": pooled} if len(readers) > 1 else {}
    answered = settings_table({reader: _answered(found) for reader, found in readers.items()})
    report = Report("Blinded reader study", settings=settings)
    report.add([Section("Answers", [answered])])
    for name, meaning in MEANINGS.items():
        if name not in pooled:
            continue
        rows = [(reader, found[name]) for reader, found in {**readers, **together}.items()]
        blocks: list[Block] = [meaning, metrics_table(rows, name, "reader")]
        if name == _main_metric(metrics):
            tests = settings_table({reader: _p(found["p_value"]) for reader, found in readers.items()})
            blocks += ["Exact two-sided binomial test against 0.5:", tests]
        report.add([Section(name.capitalize(), blocks)])
    if pooled["ratings"] is not None:
        blocks = ["Mean rating, 1 (not at all) to 5 (fully)."]
        for reader, found in {**readers, **together}.items():
            names = {"real": "real images", "synthetic": "synthetic images", "difference": "synthetic less real"}
            rows = [(names[kind], rating) for kind, rating in found["ratings"].items()]
            blocks += [Subheading(reader), metrics_table(rows, "mean rating")]
        report.add([Section("How realistic?", blocks)])
    if len(readers) > 1:
        report.add([_agreement(metrics["agreement"], len(readers))])
    return report.render()


def _agreement(agreement: Mapping[str, Any], num_readers: int) -> Section:
    rows = [(f"{pair}: Cohen's kappa", found["kappa"]) for pair, found in agreement["two_readers"].items()]
    rows += [
        (f"{pair}: Cohen's kappa of the ratings, quadratic weights", found["rating_weighted_kappa"])
        for pair, found in agreement["two_readers"].items()
        if "rating_weighted_kappa" in found
    ]
    rows += [("all: Fleiss' kappa", agreement["fleiss_kappa"])] if num_readers > 2 else []
    text = "Beyond chance, on images that all of them answered: 1 is perfect, 0 is chance."
    return Section("Do the readers agree?", [text, metrics_table(rows, "kappa", "readers")])


def _main_metric(metrics: Mapping[str, Any]) -> str:
    return "preference" if "preference" in metrics["all_readers"] else "accuracy"


def _answered(found: Mapping[str, Any]) -> str:
    time = "" if found["median_seconds"] is None else f", {found['median_seconds']:.1f} seconds an answer (median)"
    return f"{found['num_answers']} answers, {'complete' if found['is_complete'] else 'incomplete'}{time}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _or_undetermined(metric: object) -> str:
    return "undetermined" if metric is None else str(metric)
