# SPDX-License-Identifier: Apache-2.0
"""What the acceptance runs of bundles with two classes have in common: their commands and their figures."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acceptance import Requirement, figure
from command_stages import Stage, bundle_command, record_of


@dataclass(frozen=True)
class TwoClassAcceptance:
    """A bundle whose words stand for the absence and the presence of something, and what its figures have to be.

    For each seed: train, write the initial rows (``--max_steps 0``), generate from both, evaluate.
    """

    configs: Path
    concepts: tuple[str, str]
    lowest_auc: float
    highest_ratio: float | None = None
    longest_training_minutes: float | None = None

    def stages(
        self, options: argparse.Namespace, data: Path, classifier_data: Path | None, phantoms: Sequence[Stage]
    ) -> list[Stage]:
        """Return the commands of all seeds, in order, after those that draw phantoms."""
        output = options.output_dir
        chain = [*phantoms]
        names = tuple(stage.name for stage in phantoms)
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
                chain.append(
                    Stage(f"seed_{seed}/{name}", self._command("training", "train", options.overlays, keys), names)
                )
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
                        self._command("generating", "inference", options.overlays, keys),
                        (f"seed_{seed}/{source}",),
                        images=folder / name,
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
                    self._command("evaluating", "evaluate", options.overlays, keys),
                    (f"seed_{seed}/generated", f"seed_{seed}/generated_initial"),
                )
            )
        return chain

    def _command(self, run_id: str, config: str, overlays: Sequence[Path], keys: Mapping[str, Any]) -> list[str]:
        return bundle_command(run_id, [self.configs / f"{config}.json", *overlays], keys)

    def collect(self, options: argparse.Namespace) -> list[Requirement]:
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
        rows = [row for concept in self.concepts for row in _loss_rows(concept, losses)]
        rows += [
            figure(
                f"AUC of the classifier, {words}",
                {seed: found["auc"].get(name) for seed, found in metrics.items()},
                **asked,
            )
            for name, words, asked in (
                ("real", "held-out real images", {"at_least": self.lowest_auc}),
                ("generated", "generated images", {"at_least": self.lowest_auc}),
                ("initial rows", "images from the initial rows", {}),
            )
        ]
        for concept in self.concepts:
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
                    ("ratio to initial rows", "generated / initial rows", {"at_most": self.highest_ratio}),
                )
            ]
        for name, words in (("training", "training"), ("generated", "generating"), ("evaluated", "evaluating")):
            values = {seed: found[name] for seed, found in minutes.items()}
            limit = self.longest_training_minutes if name == "training" else None
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
    return concept.strip("<>").rpartition("_")[2]


def counts(options: argparse.Namespace) -> str:
    """Return how many cases and images the figures are of."""
    return (
        f"{options.num_cases} training, {options.num_validation_cases} held-out-loss and {options.num_test_cases} test "
        f"cases and {options.num_test_cases} generated images a concept; classifier on {options.num_classifier_cases} "
        "others a concept."
    )
