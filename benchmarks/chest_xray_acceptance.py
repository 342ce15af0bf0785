# SPDX-License-Identifier: Apache-2.0
"""The chest bundle from phantom radiographs to figures, once a seed, by the commands that a user types.

For each seed: train, generate from each word, compose the findings in pairs, interpolate from no finding to each,
paint each into healthy pictures where it belongs, evaluate. Findings, alone and in pairs, take the word of no finding
as a negative part, and paintings take it for the empty prompt, so that guidance strengthens what is ill and not all of
a chest. What is done already is skipped when the command is the same, and a training that was broken off goes on from
its checkpoint. The figures of all seeds, their mean and standard deviation, and whether each is as good as it has to
be, go to ``results.md`` and ``results.json`` in the output folder; logs and stage times lie beside them.

    python benchmarks/chest_xray_acceptance.py --output_dir output/chest_acceptance
    python benchmarks/chest_xray_acceptance.py --output_dir output/chest_acceptance --dry_run
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acceptance import Requirement, acceptance_parser, figure, run_acceptance
from command_stages import REPOSITORY, Stage, arguments_of, bundle_command, record_of

CONFIGS = REPOSITORY / "bundles" / "chest_xray_textual_inversion" / "configs"
PICTURES = REPOSITORY / "benchmarks" / "chest_inpainting_pictures.py"
HEALTHY = "<chest_xray_no_finding>"
FINDINGS = ("cardiomegaly", "pleural_effusion", "pneumonia")
PAIRS = tuple(itertools.combinations(FINDINGS, 2))
SETS = ("phantoms", "classifier_phantoms")

LOWEST_AUC = 0.85
LOWEST_PAIR_RATE = 0.6
LOWEST_TREND = 0.8
LOWEST_PAINTED_RATE = 0.7


def token(finding: str) -> str:
    """Return the word of a finding.

    >>> token("pneumonia")
    '<chest_xray_pneumonia>'
    """
    return f"<chest_xray_{finding}>"


def stages(options: argparse.Namespace) -> list[Stage]:
    """Return all commands, in order."""
    chain = [
        _phantoms(
            SETS[0],
            options,
            options.num_cases + options.num_validation_cases + options.num_test_cases,
            options.num_several_test_cases,
            options.data_seed,
        ),
        _phantoms(
            SETS[1],
            options,
            options.num_classifier_cases + options.num_classifier_validation_cases,
            options.num_several_cases + options.num_several_validation_cases,
            options.data_seed + 1,
        ),
        _pictures(options),
    ]
    for seed in options.seeds:
        chain += _stages_of_seed(options, seed)
    return chain


def _phantoms(name: str, options: argparse.Namespace, num_single: int, num_several: int, seed: int) -> Stage:
    # some patients have two studies, and a split takes all of a patient's or none: a few more than are counted
    num = num_single + num_single // 20 + 2
    # a third of the others has several findings
    num_others = 3 * (num_several + num_several // 20 + 2)
    num = max(num, math.ceil(num_others / (len(FINDINGS) + 1)))
    keys = {"output_dir": options.output_dir / name, "seed": seed}
    keys |= {f"num_{finding}": num for finding in ("no_finding", *FINDINGS)}
    keys |= {"share_of_others": math.ceil(1000 * num_others / (num * (len(FINDINGS) + 1))) / 1000}
    return Stage(name, [sys.executable, "-m", "medti_components", "phantoms", "chest_xray", *arguments_of(keys)])


def _pictures(options: argparse.Namespace) -> Stage:
    keys = {"output_dir": options.output_dir / "pictures", "num_pictures": options.num_pictures}
    keys |= {"seed": options.data_seed + 2, "size": options.image_size or 64}
    return Stage("pictures", [sys.executable, str(PICTURES), *arguments_of(keys)])


def _stages_of_seed(options: argparse.Namespace, seed: int) -> list[Stage]:
    folder = options.output_dir / f"seed_{seed}"
    base = {"base_model": options.base_model, "device": options.device, "show_progress": "true"}
    split = {
        "dataset_dir": options.output_dir / SETS[0],
        "cache_dir": options.output_dir / "cache",
        "num_cases": options.num_cases,
        "num_validation_cases": options.num_validation_cases,
        "seed": seed,
    }
    keys = {**split, **base, "output_dir": folder / "training", "resume": "true"}
    keys |= {"max_steps": options.max_steps, "num_vectors": options.num_vectors}
    training = Stage(f"seed_{seed}/training", _bundle("training", "train", options, keys), SETS[:1])
    images = _image_stages(options, seed, folder, base)
    keys = {**split, "device": options.device, "show_progress": "true", "output_dir": folder / "evaluated"}
    keys |= {"classifier_dataset_dir": options.output_dir / SETS[1]}
    keys |= {f"{name}_dir": folder / name for name in ("generated", "composed", "interpolated", "inpainted")}
    for name in ("test", "classifier", "classifier_validation", "several", "several_validation", "several_test"):
        keys[f"num_{name}_cases"] = getattr(options, f"num_{name}_cases")
    keys |= {"image_size": options.image_size, "classifier_epochs": options.classifier_epochs}
    needs = (*SETS, *(stage.name for stage in images))
    evaluated = Stage(f"seed_{seed}/evaluated", _bundle("evaluating", "evaluate", options, keys), needs)
    return [training, *images, evaluated]


def _image_stages(options: argparse.Namespace, seed: int, folder: Path, base: Mapping[str, Any]) -> list[Stage]:
    """Return what makes images; no two stages of any seed start from the same noise."""
    first = 100_000 * (seed + 1)
    shared = {**base, "embeddings": folder / "training" / "embeddings"}
    shared |= {"num_inference_steps": options.num_inference_steps, "batch_size": options.generation_batch_size}
    shared |= {"guidance_scale": options.guidance_scale}
    found = []

    def add(run_id: str, name: str, keys: Mapping[str, Any], needs: Sequence[str] = ()) -> None:
        command = _bundle(run_id, "inference", options, {**shared, "output_dir": folder / name, **keys})
        needs = (f"seed_{seed}/training", *needs)
        found.append(Stage(f"seed_{seed}/{name}", command, needs, images=folder / name))

    singles = {finding: _prompt([finding], options.single_weight, 1 - options.single_weight) for finding in FINDINGS}
    for number, (name, prompt) in enumerate({"no_finding": HEALTHY, **singles}.items()):
        keys: dict[str, Any] = {"seed": first + 1000 * number, "num_images": options.num_test_cases, "prompt": prompt}
        add("generating", f"generated/{name}", keys)
    for number, pair in enumerate(PAIRS):
        prompt = _prompt(pair, options.composition_weight, options.healthy_weight)
        keys = {"seed": first + 10_000 + 1000 * number, "num_images": options.num_composed, "prompt": prompt}
        keys |= {"guidance_scale": options.composition_guidance_scale}
        add("generating", f"composed/{'_and_'.join(pair)}", keys)
    for number, finding in enumerate(FINDINGS):
        keys = {"seed": first + 20_000 + 1000 * number, "num_images": options.num_rows}
        keys |= {"concepts": [HEALTHY, token(finding)], "guidance_scale": options.row_guidance_scale}
        add("interpolating", f"interpolated/{finding}", keys)
    pictures = options.output_dir / "pictures"
    for number, (finding, index) in enumerate(itertools.product(FINDINGS, range(options.num_pictures))):
        keys = {"seed": first + 30_000 + 100 * number, "num_images": options.num_paintings, "prompt": token(finding)}
        keys |= {"image": pictures / f"{index}.png", "mask": pictures / f"{index}_{finding}.png"}
        keys |= {"strength": options.strength, "negative_prompt": options.negative_prompt}
        keys |= {"guidance_scale": options.painting_guidance_scale}
        add("inpainting", f"inpainted/{finding}_{index}", keys, ["pictures"])
    return found


def _prompt(findings: Sequence[str], weight: float, healthy_weight: float) -> str:
    weights = {token(finding): weight for finding in findings} | {HEALTHY: healthy_weight}
    return " AND ".join(f"{word} :{weight:g}" for word, weight in weights.items() if weight)


def _bundle(run_id: str, config: str, options: argparse.Namespace, keys: Mapping[str, Any]) -> list[str]:
    return bundle_command(run_id, [CONFIGS / f"{config}.json", *options.overlays], keys)


def collect(options: argparse.Namespace) -> list[Requirement]:
    """Read the figures of all seeds whose stages are done."""
    metrics = {}
    for seed in options.seeds:
        path = options.output_dir / f"seed_{seed}" / "evaluated" / "metrics.json"
        if path.is_file():
            metrics[seed] = json.loads(path.read_text())

    def row(name: str, *keys: str, at_least: float | None = None) -> Requirement:
        return figure(name, {seed: _inside(found, keys) for seed, found in metrics.items()}, at_least)

    rows = []
    for finding in FINDINGS:
        rows.append(row(f"AUC of {finding}, held-out real images", "auc", "real", finding))
        rows.append(row(f"AUC of {finding}, generated images", "auc", "generated", finding, at_least=LOWEST_AUC))
    for name, words in (("real", "held-out real"), ("generated", "generated")):
        rows.append(row(f"finding seen, {words} images of one", "detection", name, "1 finding"))
        rows.append(row(f"nothing seen, {words} images of none", "nothing_seen", name))
    rows.append(row("both seen, held-out real images of two", "detection", "real", "2 findings"))
    for pair in PAIRS:
        rows.append(row(f"both seen, composed, {' and '.join(pair)}", "detection", "composed", " + ".join(pair)))
    rows.append(
        row("both seen, composed images of two", "detection", "composed", "2 findings", at_least=LOWEST_PAIR_RATE)
    )
    for finding in FINDINGS:
        name = f"{HEALTHY} to {token(finding)}"
        rows.append(row(f"interpolation, Spearman of {finding}", "interpolation", name))
    rows.append(row("interpolation, Spearman, mean", "interpolation", "all", at_least=LOWEST_TREND))
    for finding in FINDINGS:
        rows.append(row(f"inpainting, {finding} seen inside", "inpainting", finding, "seen_inside"))
    rows.append(
        row("inpainting, finding seen inside", "inpainting", "all", "seen_inside", at_least=LOWEST_PAINTED_RATE)
    )
    rows.append(row("inpainting, unchanged outside", "inpainting", "all", "unchanged_outside", at_least=1.0))
    rows.append(_largest_change(metrics))
    return rows + _minutes(options)


def _inside(found: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        found = (found or {}).get(key)
    return found


def _largest_change(metrics: Mapping[int, Any]) -> Requirement:
    found = {seed: _inside(each, ("inpainting", "all", "largest_change_outside")) for seed, each in metrics.items()}
    values = {seed: value for seed, value in found.items() if value is not None}
    met = {seed: value == 0 for seed, value in values.items()}
    return Requirement("inpainting, largest change outside", values, {}, "0", met)


def _minutes(options: argparse.Namespace) -> list[Requirement]:
    """Return how long the stages took, those of a kind together."""
    kinds: dict[str, Callable[[str], bool]] = {
        "training": lambda name: name == "training",
        "making images": lambda name: name not in ("training", "evaluated"),
        "evaluating": lambda name: name == "evaluated",
    }
    names = {seed: [stage.name.partition("/")[2] for stage in _stages_of_seed(options, seed)] for seed in options.seeds}
    return [
        Requirement(
            f"minutes of {kind}",
            {
                seed: sum(record_of(f"seed_{seed}/{name}", options.output_dir).minutes() for name in own if is_of(name))
                for seed, own in names.items()
            },
            {},
        )
        for kind, is_of in kinds.items()
    ]


def counts(options: argparse.Namespace) -> str:
    """Return how many cases and images the figures are of."""
    return (
        f"{options.num_cases} training, {options.num_validation_cases} held-out-loss and {options.num_test_cases} test "
        f"cases and {options.num_test_cases} generated images a concept, {options.num_several_test_cases} test cases "
        f"with several findings, {options.num_composed} composed images a pair, {options.num_rows} rows a finding, "
        f"{options.num_pictures * options.num_paintings} paintings a finding; classifier on "
        f"{options.num_classifier_cases} others a concept and {options.num_several_cases} with several findings."
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = acceptance_parser(__doc__)
    parser.add_argument("--num_several_test_cases", type=int, default=50, help="held-out images of several findings")
    parser.add_argument("--num_several_cases", type=int, default=100, help="the classifier's, of several findings")
    parser.add_argument("--num_several_validation_cases", type=int, default=20)
    parser.add_argument("--num_composed", type=int, default=34, help="images of each pair")
    parser.add_argument("--single_weight", type=float, default=1.5, help="of a finding alone; no finding: 1 less this")
    parser.add_argument("--composition_weight", type=float, default=1.0, help="of each finding of a pair")
    parser.add_argument("--healthy_weight", type=float, default=-1.0, help="of no finding in a pair")
    parser.add_argument("--composition_guidance_scale", type=float, default=1.5)
    parser.add_argument("--negative_prompt", default=HEALTHY, help="of paintings")
    parser.add_argument("--num_rows", type=int, default=16, help="of each interpolation")
    parser.add_argument("--row_guidance_scale", type=float, default=4.0)
    parser.add_argument("--num_pictures", type=int, default=4, help="to paint each finding into")
    parser.add_argument("--num_paintings", type=int, default=6, help="of each finding in each picture")
    parser.add_argument("--strength", type=float, help="of painting")
    parser.add_argument("--painting_guidance_scale", type=float, default=4.0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chain; return 0 when all stages ran and all requirements are met."""
    options = parsed(arguments)
    return run_acceptance(options, stages(options), collect, counts(options))


if __name__ == "__main__":
    sys.exit(main())
