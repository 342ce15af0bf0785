# SPDX-License-Identifier: Apache-2.0
import ast
import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from acceptance import markdown
from chest_xray_acceptance import FINDINGS, HEALTHY, PAIRS, collect, counts, main, parsed, stages, token

from medti_components.bundle.keys import check_key


def keys_of(command):
    return {command[at][2:]: command[at + 1] for at in range(len(command) - 1) if command[at].startswith("--")}


def chain_of(*arguments):
    return {stage.name: stage for stage in stages(parsed(["--output_dir=out", *arguments]))}


def test_every_key_exists_in_the_config_that_it_is_given_to():
    sizes = ["--num_vectors=2", "--max_steps=3", "--base_model=b", "--num_inference_steps=4", "--guidance_scale=3"]
    chain = chain_of(*sizes, "--image_size=32", "--classifier_epochs=1", "--strength=0.5", "--seeds", "0", "1")
    bundle_runs = [stage for stage in chain.values() if "monai.bundle" in stage.command]
    assert len(bundle_runs) == 2 * (1 + 4 + 3 + 3 + 3 * 4 + 1)
    for stage in bundle_runs:
        keys = keys_of(stage.command)
        files = keys.pop("config_file")
        config = json.loads(Path(ast.literal_eval(files)[0] if files.startswith("[") else files).read_text())
        for key in keys:
            check_key(key, config)


def test_training_and_evaluation_of_a_seed_split_alike():
    chain = {name: keys_of(stage.command) for name, stage in chain_of("--seeds", "7").items()}
    for key in ("dataset_dir", "num_cases", "num_validation_cases", "seed", "cache_dir"):
        assert chain["seed_7/training"][key] == chain["seed_7/evaluated"][key], key
    seeds = {chain[name]["seed"] for name in ("phantoms", "classifier_phantoms", "pictures")}
    assert len(seeds) == 3


def test_each_run_starts_from_noise_of_its_own():
    drawn = []
    for stage in chain_of().values():
        keys = keys_of(stage.command)
        if "embeddings" in keys:
            first = int(keys["seed"])
            drawn += range(first, first + int(keys["num_images"]))
    assert len(drawn) == 3 * (4 * 100 + 3 * 34 + 3 * 16 + 3 * 4 * 6) == len(set(drawn))


def test_evaluation_waits_for_everything_that_it_judges():
    chain = chain_of("--seeds", "0")
    needs = set(chain["seed_0/evaluated"].needs)
    assert needs == chain.keys() - {"seed_0/evaluated", "seed_0/training", "pictures"}
    assert "pictures" in chain["seed_0/inpainted/pneumonia_0"].needs


@pytest.mark.parametrize("sizes", [{}, {"num_cases": 4, "num_test_cases": 3, "num_several_test_cases": 90}])
def test_there_are_enough_phantoms(sizes):
    options = [f"--{key}={value}" for key, value in sizes.items()]
    keys = keys_of(chain_of(*options)["phantoms"].command)
    single, share = int(keys["num_pneumonia"]), float(keys["share_of_others"])
    assert 0 <= share <= 1
    needed = sizes.get("num_cases", 100) + 20 + sizes.get("num_test_cases", 100)
    assert single >= 1.05 * needed
    assert math.ceil(share * 4 * single) / 3 >= sizes.get("num_several_test_cases", 50) + 2


def test_a_finding_alone_leads_away_from_the_healthy_word_at_a_total_weight_of_one():
    prompts = {name: keys_of(stage.command).get("prompt") for name, stage in chain_of("--single_weight=1.25").items()}
    assert prompts["seed_0/generated/no_finding"] == HEALTHY
    assert prompts["seed_0/generated/pneumonia"] == f"{token('pneumonia')} :1.25 AND {HEALTHY} :-0.25"
    plain = keys_of(chain_of("--single_weight=1")["seed_0/generated/pneumonia"].command)["prompt"]
    assert plain == f"{token('pneumonia')} :1"


def test_pairs_are_composed_by_weights():
    chain = chain_of("--composition_weight=0.7", "--healthy_weight=-0.4", "--composition_guidance_scale=1.25")
    pairs = {name: keys_of(stage.command) for name, stage in chain.items() if name.startswith("seed_0/composed/")}
    assert len(pairs) == 3
    keys = pairs["seed_0/composed/cardiomegaly_and_pleural_effusion"]
    assert keys["prompt"] == f"{token('cardiomegaly')} :0.7 AND {token('pleural_effusion')} :0.7 AND {HEALTHY} :-0.4"
    assert keys["guidance_scale"] == "1.25"


def test_without_a_weight_the_healthy_word_is_no_part_of_a_pair():
    chain = chain_of("--healthy_weight=0")
    prompt = keys_of(chain["seed_0/composed/cardiomegaly_and_pleural_effusion"].command)["prompt"]
    assert prompt == f"{token('cardiomegaly')} :1 AND {token('pleural_effusion')} :1"


def test_only_paintings_are_guided_away_from_the_healthy_word():
    chain = {name: keys_of(stage.command) for name, stage in chain_of().items()}
    guided = {name for name, keys in chain.items() if "negative_prompt" in keys}
    assert {name.split("/")[1] for name in guided} == {"inpainted"}
    assert {chain[name]["negative_prompt"] for name in guided} == {HEALTHY}


def test_dry_run_writes_nothing(tmp_path, capsys):
    assert main(["--output_dir", str(tmp_path / "out"), "--dry_run"]) == 0
    assert "seed_2/evaluated: to do" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def write_figures(folder, auc=0.9, both=0.7, trend=0.85, painted=0.8, unchanged=1.0, largest=0.0):
    def figure(value):
        return {"value": value, "interval": [value - 0.01, value + 0.01], "n": {}}

    pairs = {" + ".join(pair): figure(both) for pair in PAIRS}
    inside = {"seen_inside": figure(painted), "unchanged_outside": figure(unchanged)}
    inside |= {"largest_change_outside": largest}
    metrics = {
        "auc": {name: {finding: figure(auc) for finding in FINDINGS} for name in ("real", "generated")},
        "detection": {
            "real": {"1 finding": figure(0.95), "2 findings": figure(0.9)},
            "generated": {"1 finding": figure(0.8)},
            "composed": {**pairs, "2 findings": figure(both)},
        },
        "nothing_seen": {"real": figure(0.97), "generated": None},
        "interpolation": {f"{HEALTHY} to {token(finding)}": figure(trend) for finding in FINDINGS}
        | {"all": figure(trend)},
        "inpainting": dict.fromkeys((*FINDINGS, "all"), inside),
    }
    (folder / "evaluated").mkdir(parents=True)
    (folder / "evaluated" / "metrics.json").write_text(json.dumps(metrics))


def test_table_has_mean_spread_and_interval(tmp_path):
    for seed, both in ((0, 0.66), (1, 0.70)):
        write_figures(tmp_path / f"seed_{seed}", both=both)
    options = parsed(["--output_dir", str(tmp_path), "--seeds", "0", "1"])
    table = markdown(collect(options), options.seeds, counts(options))
    # mean 0.68, sd = 0.04 / sqrt 2 = 0.0283
    cells = "0.660 [0.650, 0.670] | 0.700 [0.690, 0.710] | 0.680 +- 0.028"
    assert f"| both seen, composed images of two | {cells} | >= 0.6 | yes |" in table
    assert "| inpainting, largest change outside | 0.000 | 0.000 | 0.000 +- 0.000 | 0 | yes |" in table
    assert "| nothing seen, generated images of none | - | - | - |  |  |" in table


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        ({"auc": 0.84}, "AUC of pneumonia, generated images"),
        ({"both": 0.59}, "both seen, composed images of two"),
        ({"trend": 0.79}, "interpolation, Spearman, mean"),
        ({"painted": 0.69}, "inpainting, finding seen inside"),
        ({"unchanged": 0.99}, "inpainting, unchanged outside"),
        ({"largest": 1.0}, "inpainting, largest change outside"),
    ],
)
def test_one_seed_that_misses_is_enough_to_miss(tmp_path, figures, name):
    write_figures(tmp_path / "seed_0")
    write_figures(tmp_path / "seed_1", **figures)
    rows = {row.name: row for row in collect(parsed(["--output_dir", str(tmp_path), "--seeds", "0", "1"]))}
    assert rows[name].row([0, 1]).endswith("| no |")
    assert rows[name].row([0]).endswith("| yes |")
    asked = [row for row in rows.values() if row.is_met is not None]
    assert len(asked) == 3 + 5
    assert sum(not all(row.is_met.values()) for row in asked) == (3 if "auc" in figures else 1)


def test_seeds_that_are_not_done_are_missing_not_met(tmp_path):
    write_figures(tmp_path / "seed_0")
    rows = collect(parsed(["--output_dir", str(tmp_path), "--seeds", "0", "1"]))
    row = next(row for row in rows if row.name == "interpolation, Spearman, mean")
    assert row.row([0, 1]) == f"| {row.name} | 0.850 [0.840, 0.860] | - | 0.850 | >= 0.8 | no |"


@pytest.mark.slow
def test_whole_chain_on_a_micro_base(tmp_path, micro_base):
    sizes = {"num_cases": 3, "num_validation_cases": 1, "num_test_cases": 3, "num_several_test_cases": 2}
    sizes |= {"num_classifier_cases": 3, "num_classifier_validation_cases": 1, "num_several_cases": 2}
    sizes |= {"num_several_validation_cases": 1, "classifier_epochs": 1, "image_size": 32, "num_vectors": 2}
    sizes |= {"max_steps": 2, "num_inference_steps": 2, "generation_batch_size": 4, "num_composed": 2, "num_rows": 2}
    sizes |= {"num_pictures": 1, "num_paintings": 1}
    arguments = [text for key, value in sizes.items() for text in (f"--{key}", str(value))]
    arguments += ["--output_dir", str(tmp_path), "--seeds", "0", "--base_model", str(micro_base)]
    main(arguments)
    results = json.loads((tmp_path / "results.json").read_text())
    values = {figure["name"]: figure["values"]["0"] for figure in results["figures"] if figure["values"]}
    assert 0 <= values["AUC of pneumonia, generated images"] <= 1
    assert -1 <= values["interpolation, Spearman, mean"] <= 1
    assert values["inpainting, unchanged outside"] == 1 and values["inpainting, largest change outside"] == 0
    assert values["minutes of making images"] > 0
    before = (tmp_path / "stages" / "seed_0" / "evaluated.json").read_text()
    main(arguments)  # nothing is left to do
    assert (tmp_path / "stages" / "seed_0" / "evaluated.json").read_text() == before
