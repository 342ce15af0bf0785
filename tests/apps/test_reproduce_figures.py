# SPDX-License-Identifier: Apache-2.0
"""Tables 1 to 3, figures 2 to 6 and the tables of words: their steps, and what they write of what these leave."""

import ast
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medti_components.apps.reproduce import Reproduce
from medti_components.apps.reproduction import finding_figures
from medti_components.apps.reproduction.workflow import MINIATURE, paper_experiments, steps_of
from medti_components.bundle.keys import check_key
from medti_components.errors import ConfigError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.prompt_fidelity import InpaintingFidelity

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = REPOSITORY / "bundles" / "prostate_mri_textual_inversion" / "configs" / "train.json"
GRID = {"num_inference_steps": [25, 100], "guidance_scale": [2], "num_vectors": [8], "num_cases": [5]}
ESTIMATE = {"value": 0.5, "interval": [0.4, 0.6], "confidence": 0.95, "method": "exact", "n": {"images": 9}}


@pytest.fixture
def metrics():
    """What every evaluation finds."""
    words = [f"<prostate_mri_{name}>" for name in ("negative", "positive")]
    rows = {f"<chest_xray_no_finding> to <chest_xray_{name}>": ESTIMATE for name in ("pneumonia", "cardiomegaly")}
    inpainting = {name: {"seen_inside": ESTIMATE, "unchanged_outside": ESTIMATE} for name in ("pneumonia",)}
    return {
        "auc": {"generated": ESTIMATE},
        "quality": {"features": "small", **{word: {"generated": {"kid": ESTIMATE}} for word in words}},
        "interpolation": rows,
        "detection": {"composed": {"2 findings": ESTIMATE}},
        "inpainting": inpainting,
    }


@pytest.fixture
def view(monkeypatch):
    """A classifier that sees the same in all images."""

    class View:
        def trend(self, folder):
            return IntervalEstimate(0.9, 0.8, 1.0, {"rows": 2}, "exact")

        def painted(self, folder):
            metric = IntervalEstimate(1.0, 0.5, 1.0, {"images": 2}, "exact")
            return InpaintingFidelity(metric, 0, 0.0, metric)

    monkeypatch.setattr(finding_figures, "two_class_view", lambda inversion: View())


def experiments(tmp_path, *names, **options):
    """Experiments by name: those of ``names``, or all."""
    given = {"config_file": str(TRAIN), "num_pictures": 2, **GRID, **options}
    found = {each.name: each for each in paper_experiments(tmp_path / "out", **given)}
    return {name: found[name] for name in names or found}


def do(steps, metrics):
    """Leave what steps leave."""
    for step in steps:
        if step.result.suffix:
            step.folder.mkdir(parents=True, exist_ok=True)
            step.result.write_text(json.dumps(metrics))
        else:
            step.result.mkdir(parents=True, exist_ok=True)


def keys_of(tmp_path, *names, **options):
    """Rule and keys of each step, by its folder in the output folder."""
    steps = steps_of(experiments(tmp_path, *names, **options).values()).values()
    found = {}
    for step in steps:
        keys = dict(zip(step.command[3::2], step.command[4::2], strict=True))
        found[str(step.folder.relative_to(tmp_path / "out"))] = (step.rule, keys)
    return found


def rules(steps):
    """How many steps there are of each rule."""
    names = [step.rule for step in steps]
    return {name: names.count(name) for name in names}


def test_cells_of_tables_share_words_images_and_phantoms(tmp_path) -> None:
    table = experiments(tmp_path, "table1").values()
    assert rules(steps_of(table).values()) == {"phantoms": 1, "training": 1, "generating": 2, "evaluating": 2}
    two = experiments(tmp_path, "table1", "table2").values()
    assert rules(steps_of(two).values()) == {"phantoms": 1, "training": 2, "generating": 3, "evaluating": 3}


def test_every_table_and_figure_writes_what_was_measured(tmp_path, metrics, view) -> None:
    known = experiments(tmp_path)
    out = tmp_path / "out"
    do(steps_of(each for name, each in known.items() if "words" not in name).values(), metrics)
    for name, experiment in known.items():
        if "words" not in name:
            experiment.write(out)
            assert all((out / f"{name}.{ending}").stat().st_size for ending in experiment.endings)
    with open(out / "table1.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [(row["axis"], row["value"], row["kid"]) for row in rows] == [
        ("num_inference_steps", "25", "0.5"),
        ("num_inference_steps", "100", "0.5"),
        ("guidance_scale", "2", "0.5"),
    ]
    assert "log-odds, positive | 0.900 [0.800, 1.000] | 2 rows |" in (out / "figure3.md").read_text()
    assert "log-odds, pneumonia | 0.500 [0.400, 0.600] | 9 images |" in (out / "figure3.md").read_text()
    assert "composed images of 2 findings | 0.500 [" in (out / "figure4.md").read_text()
    assert "| pneumonia, seen after, not before | 0.500 [" in (out / "figure5.md").read_text()
    assert "| left, large, seen after, not before | 1.000 [" in (out / "figure6.md").read_text()


def test_a_cell_that_is_not_done_is_left_empty(tmp_path, metrics) -> None:
    (table,) = experiments(tmp_path, "table2").values()
    steps = steps_of([table])
    do(steps.values(), metrics)
    (images,) = [step for step in steps.values() if "vectors_8" in str(step.folder) and step.rule == "generating"]
    shutil.rmtree(images.folder)  # as Snakemake does before it runs the step again; its evaluation is still there
    table.write(tmp_path / "out")
    with open(tmp_path / "out" / "table2.csv", newline="") as file:
        assert [row["kid"] for row in csv.DictReader(file)] == ["", "0.5"]


def test_pictures_stand_in_the_figure(tmp_path, metrics) -> None:
    (figure,) = experiments(tmp_path, "figure2").values()
    do(steps_of([figure]).values(), metrics)
    figure.write(tmp_path / "out")
    empty = (tmp_path / "out" / "figure2.png").read_bytes()
    for step in figure.steps():
        (step.folder / "images").mkdir(exist_ok=True)
        path = step.folder / "images" / "prostate_mri_positive_100000.png"
        Image.fromarray(np.full((8, 8, 3), 99, dtype=np.uint8)).save(path)
    figure.write(tmp_path / "out")
    assert (tmp_path / "out" / "figure2.png").read_bytes() != empty


def test_seeds_are_words_and_splits_of_their_own(tmp_path) -> None:
    known = keys_of(tmp_path, "table3", num_seeds=2, num_cases=[100], seed=4)
    trainings = [folder for folder, (rule, _) in known.items() if rule == "training"]
    assert trainings == [f"prostate_mri/vectors_64_cases_100/seed_{seed}" for seed in (4, 5)]


def test_every_key_exists_in_the_config_that_it_is_given_to(tmp_path) -> None:
    for step in steps_of(experiments(tmp_path).values()).values():
        if step.rule != "phantoms":
            config = json.loads(step.configs[0].read_text())
            for key in step.command[5::2]:
                check_key(key.removeprefix("--"), config)
        assert step.command[step.command.index("--output_dir") + 1] == str(step.folder)


def test_cells_share_noise_and_held_out_cases(tmp_path) -> None:
    known = keys_of(tmp_path, "table1", "table3")
    assert len({keys["--seed"] for rule, keys in known.values() if rule == "generating"}) == 1
    evaluations = [keys for rule, keys in known.values() if rule == "evaluating"]
    assert {keys["--num_cases"] for keys in evaluations} == {"100"}
    _, few = known["prostate_mri/vectors_64_cases_5/seed_0"]
    assert few["--num_cases"] == "5" and {keys["--seed"] for keys in evaluations} == {few["--seed"]}


def test_phantoms_are_enough_for_all_splits(tmp_path) -> None:
    known = keys_of(tmp_path, "figure3")
    numbers = {name: known[f"{name}/cases"][1] for name in ("prostate_mri", "chest_xray", "histopathology")}
    assert int(numbers["prostate_mri"]["--num_positive"]) >= 100 + 20 + 100 + 125 + 25
    assert int(numbers["histopathology"]["--num_tumor"]) == 100 + 125
    chest = numbers["chest_xray"]
    single = int(chest["--num_pneumonia"])
    assert single >= 100 + 20 + 100 + 125 + 25
    assert float(chest["--share_of_others"]) * 4 * single / 3 >= 50 + 100 + 20  # a third has several findings


def test_given_cases_are_taken_in_place_of_phantoms(tmp_path) -> None:
    (tmp_path / "picai").mkdir()
    known = keys_of(tmp_path, "table2", dataset_dir=str(tmp_path / "picai"))
    assert {rule for rule, _ in known.values()} == {"training", "generating", "evaluating"}
    given = {keys["--dataset_dir"] for rule, keys in known.values() if rule != "generating"}
    assert given == {str(tmp_path / "picai")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_seeds": 0}, "num_seeds must be at least 1, got 0: correct --num_seeds"),
        ({"num_pictures": 0}, "num_pictures must be at least 1, got 0: correct --num_pictures"),
        ({"seed": -1}, "seed must be at least 0, got -1: correct --seed"),
        ({"num_vectors": "many"}, "num_vectors must be a list of whole numbers from 1, got 'many': write"),
        ({"dataset_dir": "missing"}, "dataset_dir '.*missing' is no folder: correct --dataset_dir, or leave it out"),
        ({"chest_dataset_dir": "missing"}, "chest_dataset_dir '.*missing' is no folder: correct --chest_dataset_dir"),
        ({"config_file": "missing.json"}, "config_file '.*missing.json' is no file: correct --config_file"),
        (
            {"config_file": str(REPOSITORY / "configs" / "embedded.json")},
            "config_file must be the train.json of a textual inversion, '.*embedded.json' lacks num_vectors, concepts",
        ),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        experiments(tmp_path, **options)


def test_the_miniature_s_keys_are_those_of_the_configs(monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    paths = ast.literal_eval(MINIATURE)
    assert all(Path(path).is_file() for path in paths)
    bundles = REPOSITORY.glob("bundles/*_textual_inversion/configs/*.json")
    known = set().union(*(json.loads(path.read_text()) for path in bundles))
    assert json.loads(Path(paths[-1]).read_text()).keys() <= known
    assert paths[-1] in (REPOSITORY / "docs" / "reproduction.md").read_text()


def test_words_are_measured_seed_by_seed(tmp_path, metrics) -> None:
    (table,) = experiments(tmp_path, "words_prostate_mri", num_seeds=2).values()
    steps = steps_of([table]).values()
    assert rules(steps) == {"phantoms": 1, "training": 4, "generating": 4, "evaluating": 2}  # two write initial rows
    do(steps, metrics)
    losses = {"references": {"empty prompt": {"<a>": 0.3}}, "held_out_loss": {"<a>": [[0, 0.4], [9, 0.2]]}}
    for step in steps:
        if step.rule == "training":
            (step.folder / "held_out_loss.json").write_text(json.dumps(losses))
    table.write(tmp_path / "out")
    text = (tmp_path / "out" / "words_prostate_mri.md").read_text()
    assert "| auc, generated | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] | 0.500 +- 0.000 |" in text
    assert "| held-out loss, <a> | 0.200 | 0.200 | 0.200 +- 0.000 |" in text


def test_words_of_radiographs_are_composed_interpolated_and_painted(tmp_path) -> None:
    (table,) = experiments(tmp_path, "words_chest_xray").values()
    steps = [*steps_of([table]).values()]
    assert [step.rule for step in steps[1:]] == [
        "training",
        "generating",
        "generating",
        *["interpolating"] * 3,
        *["inpainting"] * 4,
        "evaluating",
    ]
    composed = steps[3].command
    prompts = ast.literal_eval(composed[composed.index("--prompt") + 1])
    assert len(prompts) == 3 + 1  # all pairs and the triple
    assert {"--composed_dir", "--interpolated_dir", "--inpainted_dir", "--generated_dir"} < {*steps[-1].command}


@pytest.mark.slow
def test_the_bundles_own_commands(tmp_path, micro_base, forked_workflow) -> None:
    """A table and a figure at micro scale; then nothing again."""
    overlay = tmp_path / "micro.json"
    values = {"base_model": str(micro_base), "image_size": 32, "num_vectors": 2, "num_cases": 6, "max_steps": 1}
    values |= {"batch_size": 2, "validation_interval": 0, "preview_interval": 0, "num_validation_cases": 2}
    values |= {"num_test_cases": 6, "num_classifier_cases": 6, "num_classifier_validation_cases": 3}
    values |= {"num_several_test_cases": 4, "num_several_cases": 6, "num_several_validation_cases": 3}
    values |= {"classifier_epochs": 1, "num_resamples": 50, "num_inference_steps": 2, "mask_blur": 1.0, "device": "cpu"}
    overlay.write_text(json.dumps(values))
    options = {"config_file": str([str(TRAIN), str(overlay)]), "num_vectors": [2], "num_cases": [6], "num_pictures": 1}
    list(Reproduce().table2(str(tmp_path / "out"), **options))
    list(Reproduce().figure5(str(tmp_path / "out"), **options))
    with open(tmp_path / "out" / "table2.csv", newline="") as file:
        assert all(row["kid"] for row in csv.DictReader(file))
    assert "not measured" not in (tmp_path / "out" / "figure5.md").read_text()
