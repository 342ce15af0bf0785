# SPDX-License-Identifier: Apache-2.0
import ast
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from acceptance import markdown
from prostate_acceptance import CONCEPTS, collect, counts, main, parsed, stages

from medti_components.bundle.keys import check_key

NEGATIVE, POSITIVE = CONCEPTS


def keys_of(command):
    return {command[at][2:]: command[at + 1] for at in range(len(command) - 1) if command[at].startswith("--")}


def test_every_key_exists_in_the_config_that_it_is_given_to():
    options = ["--num_vectors=2", "--max_steps=3", "--base_model=b", "--num_inference_steps=4", "--guidance_scale=3"]
    chain = stages(parsed(["--output_dir=out", *options, "--image_size=32", "--classifier_epochs=1"]))
    bundle_runs = [stage for stage in chain if "monai.bundle" in stage.command]
    assert len(bundle_runs) == 5 * 3
    for stage in bundle_runs:
        keys = keys_of(stage.command)
        files = keys.pop("config_file")
        config = json.loads(Path(ast.literal_eval(files)[0] if files.startswith("[") else files).read_text())
        for key in keys:
            check_key(key, config)


def test_training_and_evaluation_of_a_seed_split_alike():
    chain = {stage.name: keys_of(stage.command) for stage in stages(parsed(["--output_dir=out", "--seeds", "7"]))}
    for key in ("dataset_dir", "num_cases", "num_validation_cases", "seed", "cache_dir"):
        values = {chain[f"seed_7/{name}"][key] for name in ("training", "initial", "evaluated")}
        assert len(values) == 1, key
    assert chain["seed_7/initial"]["max_steps"] == "0"
    assert chain["phantoms"]["seed"] != chain["classifier_phantoms"]["seed"]


def test_runs_share_no_generation_seed():
    chain = {stage.name: keys_of(stage.command) for stage in stages(parsed(["--output_dir=out"]))}
    first = {int(chain[f"seed_{seed}/generated"]["seed"]) for seed in (0, 1, 2)}
    assert len(first) == 3
    assert min(b - a for a, b in zip(sorted(first), sorted(first)[1:], strict=False)) >= 100


def test_real_studies_take_the_phantoms_place(tmp_path):
    arguments = [
        "--output_dir=out",
        "--dataset_dir",
        str(tmp_path / "a"),
        "--classifier_dataset_dir",
        str(tmp_path / "b"),
    ]
    chain = stages(parsed(arguments))
    assert not any("phantoms" in stage.name for stage in chain)
    assert keys_of(chain[0].command)["dataset_dir"] == str(tmp_path / "a")


def test_dry_run_writes_nothing(tmp_path, capsys):
    assert main(["--output_dir", str(tmp_path / "out"), "--dry_run"]) == 0
    assert "seed_2/evaluated: to do" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def write_figures(folder, auc=0.97, ratio=0.05, loss=0.2, minutes=5.0):
    def figure(value):
        return {"value": value, "interval": [value - 0.01, value + 0.01], "n": {}}

    kid = {"generated": figure(ratio), "initial rows": figure(1.0), "more real": figure(0.0)}
    metrics = {
        "auc": {"real": figure(1.0), "generated": figure(auc), "initial rows": figure(0.5)},
        "kid": {concept: {**kid, "ratio to initial rows": figure(ratio)} for concept in CONCEPTS},
    }
    held_out = {
        "references": {name: dict.fromkeys(CONCEPTS, 0.3) for name in ("initial rows", "empty prompt")},
        "held_out_loss": {concept: [[0, 0.3], [1000, loss], [200, 0.25]] for concept in CONCEPTS},
    }
    for name, content in (("evaluated/metrics.json", metrics), ("training/held_out_loss.json", held_out)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(content))
    record = folder.parent / "stages" / folder.name / "training.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps([{"command": [], "seconds": 60 * minutes, "status": 0, "finished": 1.0}]))


def test_table_has_mean_spread_and_interval(tmp_path):
    for seed, auc in ((0, 0.96), (1, 0.98)):
        write_figures(tmp_path / f"seed_{seed}", auc=auc)
    options = parsed(["--output_dir", str(tmp_path), "--seeds", "0", "1"])
    table = markdown(collect(options), options.seeds, counts(options))
    # mean 0.97, sd = 0.02 / sqrt 2 = 0.0141
    row = "| {} | 0.960 [0.950, 0.970] | 0.980 [0.970, 0.990] | 0.970 +- 0.014 | >= 0.95 | yes |"
    assert row.format("AUC of the classifier, generated images") in table
    assert "| held-out loss of positive, learned rows | 0.200 | 0.200 | 0.200 +- 0.000 | < both below | yes |" in table
    assert "| minutes of training | 5.000 | 5.000 | 5.000 +- 0.000 | <= 10 | yes |" in table


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        ({"auc": 0.94}, "AUC of the classifier, generated images"),
        ({"ratio": 0.11}, "KID of negative, generated / initial rows"),
        ({"loss": 0.31}, "held-out loss of negative, learned rows"),
        ({"minutes": 10.5}, "minutes of training"),
    ],
)
def test_one_seed_that_misses_is_enough_to_miss(tmp_path, figures, name):
    write_figures(tmp_path / "seed_0")
    write_figures(tmp_path / "seed_1", **figures)
    rows = {row.name: row for row in collect(parsed(["--output_dir", str(tmp_path), "--seeds", "0", "1"]))}
    assert rows[name].row([0, 1]).endswith("| no |")
    assert rows[name].row([0]).endswith("| yes |")
    others = [
        row for row in rows.values() if row.is_met is not None and row.name not in (name, name.replace("neg", "pos"))
    ]
    assert all(
        row.row([0, 1]).endswith("| yes |") for row in others if "negative" not in name or "positive" not in row.name
    )


def test_seeds_that_are_not_done_are_missing_not_met(tmp_path):
    write_figures(tmp_path / "seed_0")
    rows = collect(parsed(["--output_dir", str(tmp_path), "--seeds", "0", "1"]))
    row = next(row for row in rows if row.name == "AUC of the classifier, generated images")
    assert row.row([0, 1]) == f"| {row.name} | 0.970 [0.960, 0.980] | - | 0.970 | >= 0.95 | no |"


@pytest.mark.slow
def test_whole_chain_on_a_micro_base(tmp_path, micro_base):
    sizes = {"num_cases": 4, "num_validation_cases": 1, "num_test_cases": 4, "num_classifier_cases": 4}
    sizes |= {"num_classifier_validation_cases": 1, "classifier_epochs": 1, "image_size": 32, "num_vectors": 2}
    sizes |= {"max_steps": 2, "num_inference_steps": 2, "generation_batch_size": 4}
    arguments = [text for key, value in sizes.items() for text in (f"--{key}", str(value))]
    main(["--output_dir", str(tmp_path), "--seeds", "0", "--base_model", str(micro_base), *arguments])
    results = json.loads((tmp_path / "results.json").read_text())
    values = {figure["name"]: figure["values"]["0"] for figure in results["figures"] if figure["values"]}
    assert 0 <= values["AUC of the classifier, generated images"] <= 1
    assert values["held-out loss of positive, learned rows"] > 0
    assert values["minutes of training"] > 0
