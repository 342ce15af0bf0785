# SPDX-License-Identifier: Apache-2.0
"""The histopathology bundle from phantom patches to figures, once a seed, by the commands that a user types.

For each seed: train both words, write the initial rows (``--max_steps 0``), generate from both, evaluate by a
classifier that learns from other patches. What is done already is skipped when the command is the same, and a training
that was broken off goes on from its checkpoint. The figures of all seeds, their mean and standard deviation, and
whether each is as good as it has to be, go to ``results.md`` and ``results.json`` in the output folder; logs and stage
times lie beside them.

    python benchmarks/histopathology_acceptance.py --output_dir output/histopathology_acceptance
    python benchmarks/histopathology_acceptance.py --output_dir output/histopathology_acceptance --dry_run
"""

import argparse
import sys
from collections.abc import Sequence

from acceptance import Requirement, acceptance_parser, run_acceptance, whole_path
from command_stages import REPOSITORY, Stage, arguments_of
from two_class_acceptance import TwoClassAcceptance, counts

CONCEPTS = ("<histopathology_normal>", "<histopathology_tumor>")
ACCEPTANCE = TwoClassAcceptance(
    configs=REPOSITORY / "bundles" / "histopathology_textual_inversion" / "configs",
    concepts=CONCEPTS,
    lowest_auc=0.85,
)


def stages(options: argparse.Namespace) -> list[Stage]:
    """Return all commands, in order."""
    data, phantoms = options.dataset_dir, []
    if data is None:
        data = options.output_dir / "phantoms"
        # as many in each of the three files as the fullest needs
        num = max(
            options.num_cases + options.num_classifier_cases,
            options.num_validation_cases + options.num_classifier_validation_cases,
            options.num_test_cases,
        )
        keys = {"output_dir": data, "num_normal": num, "num_tumor": num, "seed": options.data_seed}
        command = [sys.executable, "-m", "medti_components", "phantoms", "histopathology", *arguments_of(keys)]
        phantoms.append(Stage("phantoms", command))
    return ACCEPTANCE.stages(options, data, options.classifier_dataset_dir, phantoms)


def collect(options: argparse.Namespace) -> list[Requirement]:
    """Read the figures of all seeds whose stages are done."""
    return ACCEPTANCE.collect(options)


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = acceptance_parser(__doc__)
    parser.add_argument("--dataset_dir", type=whole_path, help="Patch Camelyon's files in place of phantoms")
    parser.add_argument("--classifier_dataset_dir", type=whole_path, help="other patches, for the classifier")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chain; return 0 when all stages ran and all requirements are met."""
    options = parsed(arguments)
    return run_acceptance(options, stages(options), collect, counts(options))


if __name__ == "__main__":
    sys.exit(main())
