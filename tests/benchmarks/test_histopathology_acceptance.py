# SPDX-License-Identifier: Apache-2.0
import ast
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from histopathology_acceptance import CONCEPTS, collect, main, parsed, stages

from medti_components.bundle.keys import check_key


def keys_of(command):
    return {command[at][2:]: command[at + 1] for at in range(len(command) - 1) if command[at].startswith("--")}


def test_every_key_exists_in_the_config_that_it_is_given_to():
    options = ["--num_vectors=2", "--max_steps=3", "--base_model=b", "--num_inference_steps=4", "--guidance_scale=3"]
    chain = stages(parsed(["--output_dir=out", *options, "--image_size=32", "--classifier_epochs=1"]))
    bundle_runs = [stage for stage in chain if "monai.bundle" in stage.command]
    assert len(bundle_runs) == 5 * 3
    for stage in bundle_runs:
        keys = keys_of(stage.command)
        file = ast.literal_eval(keys.pop("config_file"))[0]
        assert "histopathology" in file
        for key in keys:
            check_key(key, json.loads(Path(file).read_text()))


@pytest.mark.parametrize(("num_test_cases", "expected"), [(2, 3 + 4), (10, 10)])
def test_each_file_of_phantoms_is_enough_for_what_is_drawn_from_it(num_test_cases, expected):
    sizes = ["--num_cases=3", "--num_classifier_cases=4", "--num_validation_cases=1"]
    sizes += ["--num_classifier_validation_cases=1", f"--num_test_cases={num_test_cases}"]
    keys = keys_of(stages(parsed(["--output_dir=out", *sizes]))[0].command)
    assert keys["num_normal"] == keys["num_tumor"] == str(expected)


def test_the_classifier_learns_from_the_same_files_unless_others_are_given():
    chain = {stage.name: keys_of(stage.command) for stage in stages(parsed(["--output_dir=out", "--seeds=7"]))}
    assert set(chain) == {"phantoms"} | {
        f"seed_7/{name}" for name in ("training", "initial", "generated", "generated_initial", "evaluated")
    }
    assert "classifier_dataset_dir" not in chain["seed_7/evaluated"]
    assert chain["seed_7/evaluated"]["dataset_dir"] == chain["seed_7/training"]["dataset_dir"]
    others = stages(parsed(["--output_dir=out", "--seeds=7", "--dataset_dir=a", "--classifier_dataset_dir=b"]))
    assert others[0].name == "seed_7/training"
    assert keys_of(others[-1].command)["classifier_dataset_dir"].endswith("/b")


@pytest.mark.parametrize(("auc", "met"), [(0.86, "yes"), (0.84, "no")])
def test_what_is_required_is_the_classes_separation(tmp_path, auc, met):
    figure = {"value": auc, "interval": [auc - 0.05, auc + 0.05], "n": {}}
    metrics = {
        "auc": {"real": figure, "generated": figure},
        "kid": {concept: {"generated": figure} for concept in CONCEPTS},
    }
    (tmp_path / "seed_0" / "evaluated").mkdir(parents=True)
    (tmp_path / "seed_0" / "evaluated" / "metrics.json").write_text(json.dumps(metrics))
    rows = {row.name: row for row in collect(parsed(["--output_dir", str(tmp_path), "--seeds", "0"]))}
    assert rows["AUC of the classifier, generated images"].row([0]).endswith(f"| >= 0.85 | {met} |")
    assert rows["KID of tumor, generated / initial rows"].is_met is None
    assert rows["minutes of training"].is_met is None


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
    assert values["held-out loss of tumor, learned rows"] > 0
