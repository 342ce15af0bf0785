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
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acceptance import Requirement, acceptance_parser, figure, run_acceptance, whole_path
from command_stages import REPOSITORY, Stage, arguments_of, bundle_command, record_of

CONFIGS = REPOSITORY / "bundles" / "prostate_mri_textual_inversion" / "configs"
CONCEPTS = ("<prostate_mri_negative>", "<prostate_mri_positive>")

LOWEST_AUC = 0.95
HIGHEST_RATIO = 0.1
LONGEST_TRAINING_MINUTES = 10.0


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
    phantoms = tuple(stage.name for stage in chain)
    shared = {"device": options.device, "show_progress": "true"}
    split = {
        "dataset_dir": data,
        "cache_dir": output / "cache",
        "num_cases": options.num_cases,
        "num_validation_cases": options.num_validation_cases,
    }
    for seed in options.seeds:
        folder = output / f"seed_{seed}"
        base = {"base_model": options.base_model}
        for name, max_steps in (("training", options.max_steps), ("initial", 0)):
            keys = {**split, **base, **shared, "seed": seed, "output_dir": folder / name, "resume": "true"}
            keys |= {"max_steps": max_steps, "num_vectors": options.num_vectors}
            chain.append(Stage(f"seed_{seed}/{name}", _bundle("training", "train", options.overlays, keys), phantoms))
        for name, source in (("generated", "training"), ("generated_initial", "initial")):
            keys = {**base, **shared, "seed": 10_000 * seed, "num_images": options.num_test_cases}
            keys |= {"embeddings": folder / source / "embeddings", "output_dir": folder / name}
            keys |= {
                "num_inference_steps": options.num_inference_steps,
                "guidance_scale": options.guidance_scale,
                "batch_size": options.generation_batch_size,
            }
            chain.append(
                Stage(
                    f"seed_{seed}/{name}",
                    _bundle("generating", "inference", options.overlays, keys),
                    (f"seed_{seed}/{source}",),
                )
            )
        keys = {**split, **shared, "seed": seed, "classifier_dataset_dir": classifier_data}
        keys |= {"generated_dir": folder / "generated", "baseline_dir": folder / "generated_initial"}
        keys |= {"output_dir": folder / "evaluated", "num_test_cases": options.num_test_cases}
        keys |= {"num_classifier_cases": options.num_classifier_cases}
        keys |= {"num_classifier_validation_cases": options.num_classifier_validation_cases}
        keys |= {"image_size": options.image_size, "classifier_epochs": options.classifier_epochs}
        chain.append(
            Stage(
                f"seed_{seed}/evaluated",
                _bundle("evaluating", "evaluate", options.overlays, keys),
                (f"seed_{seed}/generated", f"seed_{seed}/generated_initial"),
            )
        )
    return chain


def _phantoms(name: str, folder: Path, num_studies: int, seed: int) -> Stage:
    # some patients have two studies, and a split takes all of a patient's or none: a few more than are counted
    num = num_studies + num_studies // 20 + 2
    keys = {"output_dir": folder, "num_negative": num, "num_positive": num, "seed": seed}
    return Stage(name, [sys.executable, "-m", "medti_components", "phantoms", "prostate_mri", *arguments_of(keys)])


def _bundle(run_id: str, config: str, overlays: Sequence[Path], keys: Mapping[str, Any]) -> list[str]:
    return bundle_command(run_id, [CONFIGS / f"{config}.json", *overlays], keys)


def collect(options: argparse.Namespace) -> list[Requirement]:
    """Read the figures of all seeds whose stages are done."""
    losses, metrics, minutes = {}, {}, {}
    for seed in options.seeds:
        folder = options.output_dir / f"seed_{seed}"
        if (path := folder / "training" / "held_out_loss.json").is_file():
            losses[seed] = json.loads(path.read_text())
        if (path := folder / "evaluated" / "metrics.json").is_file():
            metrics[seed] = json.loads(path.read_text())
        minutes[seed] = {
            name: record_of(f"seed_{seed}/{name}", options.output_dir).minutes()
            for name in ("training", "generated", "evaluated")
        }
    rows = [row for concept in CONCEPTS for row in _loss_rows(concept, losses)]
    rows += [
        figure(
            f"AUC of the classifier, {words}",
            {seed: found["auc"].get(name) for seed, found in metrics.items()},
            **asked,
        )
        for name, words, asked in (
            ("real", "held-out real images", {"at_least": LOWEST_AUC}),
            ("generated", "generated images", {"at_least": LOWEST_AUC}),
            ("initial rows", "images from the initial rows", {}),
        )
    ]
    for concept in CONCEPTS:
        rows += [
            figure(
                f"KID of {_short(concept)}, {words}",
                {seed: found["kid"][concept].get(name) for seed, found in metrics.items()},
                **asked,
            )
            for name, words, asked in (
                ("generated", "generated", {}),
                ("initial rows", "initial rows", {}),
                ("more real", "real against real", {}),
                ("ratio to initial rows", "generated / initial rows", {"at_most": HIGHEST_RATIO}),
            )
        ]
    for name, words in (("training", "training"), ("generated", "generating"), ("evaluated", "evaluating")):
        values = {seed: found[name] for seed, found in minutes.items()}
        limit = LONGEST_TRAINING_MINUTES if name == "training" else None
        met = None if limit is None else {seed: value <= limit for seed, value in values.items()}
        rows.append(Requirement(f"minutes of {words}", values, {}, "" if limit is None else f"<= {limit:g}", met))
    return rows


def _loss_rows(concept: str, losses: Mapping[int, Any]) -> list[Requirement]:
    final = {
        seed: max(found["held_out_loss"][concept])[1]
        for seed, found in losses.items()
        if concept in found["held_out_loss"]
    }
    references = {
        name: {seed: losses[seed]["references"].get(name, {}).get(concept, float("nan")) for seed in final}
        for name in ("initial rows", "empty prompt")
    }
    met = {seed: all(value < references[name][seed] for name in references) for seed, value in final.items()}
    name = f"held-out loss of {_short(concept)}"
    return [
        Requirement(f"{name}, learned rows", final, {}, "< both below", met),
        *(Requirement(f"{name}, {reference}", values, {}) for reference, values in references.items()),
    ]


def _short(concept: str) -> str:
    return concept.strip("<>").removeprefix("prostate_mri_")


def counts(options: argparse.Namespace) -> str:
    """Return how many cases and images the figures are of."""
    return (
        f"{options.num_cases} training, {options.num_validation_cases} held-out-loss and {options.num_test_cases} test "
        f"cases and {options.num_test_cases} generated images a concept; classifier on {options.num_classifier_cases} "
        "others a concept."
    )


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
