# SPDX-License-Identifier: Apache-2.0
"""A chain of commands, run in the repository one after another, that can be broken off and gone on with."""

from collections.abc import Sequence
from pathlib import Path

from medti_components.apps.reproduction.stage import Stage, StageRecord, arguments_of, bundle_command
from medti_components.apps.reproduction.stage_chain import StageChain, record_of

__all__ = [
    "REPOSITORY",
    "Stage",
    "StageRecord",
    "arguments_of",
    "bundle_command",
    "is_done",
    "record_of",
    "run_stages",
]

REPOSITORY = Path(__file__).resolve().parents[1]


def is_done(stage: Stage, output_dir: Path) -> bool:
    """Whether nothing is left to do for a stage."""
    needs = [record_of(need, output_dir) for need in stage.needs]
    return record_of(stage.name, output_dir).is_done(stage.command, needs)


def run_stages(chain: Sequence[Stage], output_dir: Path) -> dict[str, str]:
    """Run what is not done yet; return the failed stages with the last line of their logs, and those left out."""
    stages = StageChain(chain, output_dir, working_dir=REPOSITORY)
    for line in stages.run():
        print(line, flush=True)
    return stages.failed
