# SPDX-License-Identifier: Apache-2.0
"""The prostate bundle from phantom studies to figures, once a seed, by the commands that a user types.

For each seed: train, write the initial rows (``--max_steps 0``), generate from both, evaluate. What is done already is
skipped when the command is the same, and a training that was broken off goes on from its checkpoint. The figures of all
seeds, their mean and standard deviation, and whether each is as good as it has to be, go to ``results.md`` and
``results.json`` in the output folder; logs and stage times lie beside them.

    python benchmarks/prostate_acceptance.py --output_dir output/acceptance
    python benchmarks/prostate_acceptance.py --output_dir output/acceptance --dry_run
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from acceptance import Requirement, acceptance_parser, run_acceptance, whole_path
from command_stages import REPOSITORY, Stage, arguments_of
from two_class_acceptance import TwoClassAcceptance, counts

CONCEPTS = ("<prostate_mri_negative>", "<prostate_mri_positive>")
ACCEPTANCE = TwoClassAcceptance(
    configs=REPOSITORY / "bundles" / "prostate_mri_textual_inversion" / "configs",
    concepts=CONCEPTS,
    lowest_auc=0.95,
    highest_ratio=0.1,
    longest_training_minutes=10.0,
)


def stages(options: argparse.Namespace) -> list[Stage]:
    """Return all commands, in order."""
    output = options.output_dir
    data, classifier_data = options.dataset_dir, options.classifier_dataset_dir
    chain = []
    if data is None:
        data = output / "phantoms"
        total = options.num_cases + options.num_validation_cases + options.num_test_cases
        chain.append(_phantoms("phantoms", data, total, options.data_seed))
    if classifier_data is None:
        classifier_data = output / "classifier_phantoms"
        total = options.num_classifier_cases + options.num_classifier_validation_cases
        chain.append(_phantoms("classifier_phantoms", classifier_data, total, options.data_seed + 1))
    return ACCEPTANCE.stages(options, data, classifier_data, chain)


def _phantoms(name: str, folder: Path, num_studies: int, seed: int) -> Stage:
    # some patients have two studies, and a split takes all of a patient's or none: a few more than are counted
    num = num_studies + num_studies // 20 + 2
    keys = {"output_dir": folder, "num_negative": num, "num_positive": num, "seed": seed}
    return Stage(name, [sys.executable, "-m", "medti_components", "phantoms", "prostate_mri", *arguments_of(keys)])


def collect(options: argparse.Namespace) -> list[Requirement]:
    """Read the figures of all seeds whose stages are done."""
    return ACCEPTANCE.collect(options)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = acceptance_parser(__doc__)
    parser.add_argument("--dataset_dir", type=whole_path, help="studies in PI-CAI's layout in place of phantoms")
    parser.add_argument("--classifier_dataset_dir", type=whole_path, help="other studies, for the classifier")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chain; return 0 when all stages ran and all requirements are met."""
    options = parsed(arguments)
    return run_acceptance(options, stages(options), collect, counts(options))


if __name__ == "__main__":
    sys.exit(main())
