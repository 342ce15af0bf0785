# SPDX-License-Identifier: Apache-2.0
"""The table of an acceptance run: figures of each seed beside what they have to be."""

import argparse
import json
import os
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_stages import REPOSITORY, Stage, is_done, run_stages


def acceptance_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every acceptance run has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=whole_path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data_seed", type=int, default=100, help="of the phantoms; other sets have the next ones")
    embedded = REPOSITORY / "configs" / "embedded.json"
    parser.add_argument("--overlays", type=whole_path, nargs="*", default=[embedded])
    parser.add_argument("--base_model", help="in place of the overlay's")
    parser.add_argument("--num_cases", type=int, default=100, help="training cases of each concept")
    parser.add_argument("--num_validation_cases", type=int, default=20)
    parser.add_argument("--num_test_cases", type=int, default=100, help="held-out and generated images of each concept")
    parser.add_argument("--num_classifier_cases", type=int, default=125)
    parser.add_argument("--num_classifier_validation_cases", type=int, default=25)
    parser.add_argument("--classifier_epochs", type=int)
    parser.add_argument("--image_size", type=int, help="of the classifier")
    parser.add_argument("--num_vectors", type=int)
    parser.add_argument("--max_steps", type=int)
    parser.add_argument("--num_inference_steps", type=int)
    parser.add_argument("--guidance_scale", type=float)
    parser.add_argument("--generation_batch_size", type=int, default=25)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dry_run", action="store_true", help="show the commands and what is done, run nothing")
    return parser


def whole_path(text: str) -> Path:
    """Return the path from the root: stages run in the repository."""
    return Path(text).resolve()


@dataclass(frozen=True)
class Requirement:
    """A figure of each run: what it is, where it is found, and what it has to be."""

    name: str
    values: dict[int, float]
    intervals: dict[int, list[float]]
    required: str = ""
    is_met: dict[int, bool] | None = None

    def row(self, seeds: Sequence[int]) -> str:
        """Return a line of the markdown table."""
        cells = [self.name]
        for seed in seeds:
            text = _number(self.values.get(seed, float("nan")))
            if seed in self.intervals:
                text += " [{}, {}]".format(*(_number(end) for end in self.intervals[seed]))
            cells.append(text)
        known = [value for value in self.values.values() if value == value]
        mean = _number(statistics.fmean(known)) if known else "-"
        cells.append(f"{mean} +- {_number(statistics.stdev(known))}" if len(known) > 1 else mean)
        met = "" if self.is_met is None else "yes" if all(self.is_met.get(seed, False) for seed in seeds) else "no"
        return "| " + " | ".join([*cells, self.required, met]) + " |"


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def figure(
    name: str, figures: Mapping[int, Any], at_least: float | None = None, at_most: float | None = None
) -> Requirement:
    """Return a figure of ``metrics.json`` with its interval; None where a seed does not have it."""
    known = {seed: figure for seed, figure in figures.items() if figure is not None}
    values = {seed: figure["value"] for seed, figure in known.items()}
    intervals = {seed: figure["interval"] for seed, figure in known.items()}
    if at_least is not None:
        met = {seed: value >= at_least for seed, value in values.items()}
        return Requirement(name, values, intervals, f">= {at_least:g}", met)
    if at_most is not None:
        met = {seed: value <= at_most for seed, value in values.items()}
        return Requirement(name, values, intervals, f"<= {at_most:g}", met)
    return Requirement(name, values, intervals)


def markdown(rows: Sequence[Requirement], seeds: Sequence[int], counts: str) -> str:
    """Return the table, with the numbers of cases above it."""
    head = ["figure", *(f"seed {seed}" for seed in seeds), "mean +- sd", "required", "met"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *(row.row(seeds) for row in rows)]
    return f"{counts} Intervals: 95 %. The sd is over the seeds.\n\n" + "\n".join(lines) + "\n"


def as_json(rows: Sequence[Requirement], options: argparse.Namespace, chain: Sequence[Stage]) -> str:
    """Return figures, settings and commands as JSON; figures that are not known are null."""
    figures = [
        {
            "name": row.name,
            "values": {seed: value if value == value else None for seed, value in row.values.items()},
            "intervals": row.intervals,
            "required": row.required,
            "is_met": row.is_met,
        }
        for row in rows
    ]
    settings = {
        key: value if isinstance(value, int | float | None) else str(value) for key, value in vars(options).items()
    }
    machine = {"cpus": os.cpu_count(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
    commands = {stage.name: shlex.join(stage.command) for stage in chain}
    return (
        json.dumps({"figures": figures, "settings": settings, "machine": machine, "commands": commands}, indent=2)
        + "\n"
    )


def run_acceptance(
    options: argparse.Namespace,
    chain: Sequence[Stage],
    collect: Callable[[argparse.Namespace], list[Requirement]],
    counts: str,
) -> int:
    """Run the chain and write ``results.md`` and ``results.json``; return 0 when all requirements are met.

    With ``options.dry_run`` the commands are shown with what is done, and nothing is run.
    """
    if options.dry_run:
        for stage in chain:
            state = "done" if is_done(stage, options.output_dir) else "to do"
            print(f"# {stage.name}: {state}\n{shlex.join(stage.command)}")
        return 0
    failed = run_stages(chain, options.output_dir)
    rows = collect(options)
    table = markdown(rows, options.seeds, counts)
    (options.output_dir / "results.md").write_text(table)
    (options.output_dir / "results.json").write_text(as_json(rows, options, chain))
    print("\n" + table)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    is_met = all(row.is_met is None or all(row.is_met.get(seed, False) for seed in options.seeds) for row in rows)
    return 0 if is_met and not failed else 1
