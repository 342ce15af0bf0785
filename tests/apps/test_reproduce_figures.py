# SPDX-License-Identifier: Apache-2.0
"""The commands of tables 1 to 3 and figures 2 to 6: what they run, and what they leave."""

import ast
import csv
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medti_components import __main__ as command_line
from medti_components.apps import reproduce
from medti_components.apps.reproduce import Reproduce
from medti_components.apps.reproduction import (
    bundle_configs,
    interpolation_figure,
    inversion_steps,
    step_chain,
)
from medti_components.apps.reproduction import inpainting_figures as inpainting
from medti_components.apps.reproduction.step_chain import record_of
from medti_components.bundle.keys import check_key
from medti_components.errors import ConfigError, TrainingError
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.prompt_fidelity import InpaintingFidelity

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = REPOSITORY / "bundles" / "prostate_mri_textual_inversion" / "configs" / "train.json"
GRID = {"num_inference_steps": [25, 100], "guidance_scale": [2], "num_vectors": [8], "num_cases": [5]}
ESTIMATE = {"value": 0.5, "interval": [0.4, 0.6], "confidence": 0.95, "method": "exact", "n": {"images": 9}}
# In place of any command: notes that it ran, and leaves the metrics that tables and figures read.
RUN = """
import pathlib, sys
log, kind, output_dir, breaks, metrics = sys.argv[1:6]
with open(log, "a") as file:
    file.write(f"{kind} {output_dir}\\n")
if breaks in output_dir:
    sys.exit("error: it broke")
pathlib.Path(output_dir).mkdir(parents=True, exist_ok=True)
if kind == "evaluating":
    (pathlib.Path(output_dir) / "metrics.json").write_text(metrics)
"""


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
def runs(monkeypatch, tmp_path, metrics):
    """Let commands only note that they ran; returns what ran since the last call. ``runs.breaks`` names who fails."""

    def command(kind, config_files, keys):
        del config_files
        facts = json.dumps({key: str(value) for key, value in keys.items()})
        arguments = [str(tmp_path / "log"), kind, str(keys["output_dir"]), noted.breaks, json.dumps(metrics), facts]
        return [sys.executable, "-I", "-S", "-c", RUN, *arguments]

    class View:
        """A classifier that sees the same in all images."""

        def trend(self, folder):
            return IntervalEstimate(0.9, 0.8, 1.0, {"rows": 2}, "exact")

        def painted(self, folder):
            figure = IntervalEstimate(1.0, 0.5, 1.0, {"images": 2}, "exact")
            return InpaintingFidelity(figure, 0, 0.0, figure)

    def noted():
        log = tmp_path / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [(kind, str(Path(folder).relative_to(tmp_path / "out"))) for kind, folder in map(str.split, lines)]

    noted.breaks = "nothing"
    monkeypatch.setattr(bundle_configs, "bundle_command", command)
    monkeypatch.setattr(inversion_steps, "phantom_command", lambda modality, keys: command("phantoms", (), keys))
    monkeypatch.setattr(step_chain, "POLLING_SECONDS", 0.01)
    for module in (interpolation_figure, inpainting):
        monkeypatch.setattr(module, "two_class_view", lambda inversion: View())
    return noted


def run(tmp_path, name="all", **options):
    settings = {"config_file": str(TRAIN), "num_pictures": 2, "num_processes": 4, **GRID, **options}
    return list(getattr(Reproduce(), name)(str(tmp_path / "out"), **settings))


def test_a_table_makes_each_cell_once_and_goes_on(runs, tmp_path) -> None:
    lines = run(tmp_path, "table1")
    ran = runs()
    assert sorted(kind for kind, _ in ran) == ["evaluating"] * 2 + ["generating"] * 2 + ["phantoms", "training"]
    with open(tmp_path / "out" / "table1.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [(row["axis"], row["value"], row["kid"]) for row in rows] == [
        ("num_inference_steps", "25", "0.5"),
        ("num_inference_steps", "100", "0.5"),
        ("guidance_scale", "2", "0.5"),
    ]
    assert lines[-1] == f"table1.csv, table1.md, table1.png in {tmp_path / 'out'}"
    run(tmp_path, "table1")
    assert runs() == []
    run(tmp_path, "table2")  # shares the phantoms and the default's cell
    assert sorted(kind for kind, _ in runs()) == ["evaluating", "generating", "training"]


def test_all_leaves_every_table_and_figure(runs, tmp_path) -> None:
    run(tmp_path)
    out = tmp_path / "out"
    written = {path.name for path in out.iterdir() if path.is_file()}
    assert written >= {f"table{n}.{ending}" for n in (1, 2, 3) for ending in ("csv", "md", "png")}
    assert written >= {f"figure{n}.png" for n in (2, 3, 4, 5, 6)}
    assert written >= {f"figure{n}.{ending}" for n in (3, 4, 5, 6) for ending in ("csv", "md")}
    assert "log-odds, positive | 0.900 [0.800, 1.000] | 2 rows |" in (out / "figure3.md").read_text()
    assert "log-odds, pneumonia | 0.500 [0.400, 0.600] | 9 images |" in (out / "figure3.md").read_text()
    assert "composed images of 2 findings | 0.500 [" in (out / "figure4.md").read_text()
    assert "| pneumonia, seen after, not before | 0.500 [" in (out / "figure5.md").read_text()
    assert "| left, large, seen after, not before | 1.000 [" in (out / "figure6.md").read_text()
    assert len(runs()) == len({*run(tmp_path, dry_run=True)}) - 1  # each once
    run(tmp_path)
    assert runs() == []


def test_pictures_stand_in_the_figure(runs, tmp_path) -> None:
    run(tmp_path, "figure2")
    empty = (tmp_path / "out" / "figure2.png").read_bytes()
    for path in (tmp_path / "out" / "prostate_mri").glob("*/seed_0/generated"):
        (path / "images").mkdir()
        Image.fromarray(np.full((8, 8, 3), 99, dtype=np.uint8)).save(path / "images/prostate_mri_positive_100000.png")
    run(tmp_path, "figure2")
    assert (tmp_path / "out" / "figure2.png").read_bytes() != empty


def test_a_killed_training_goes_on(runs, tmp_path) -> None:
    run(tmp_path, "table3")
    runs()
    name = "prostate_mri/vectors_64_cases_5/seed_0"
    record = record_of(f"{name}/training", tmp_path / "out")
    record.begin(record.attempts[-1]["command"], record.attempts[-1]["files"])  # and was killed
    run(tmp_path, "table3")
    cell = "prostate_mri/steps_100_guidance_2_vectors_64_cases_5/seed_0"
    assert runs() == [("training", name), ("generating", f"{cell}/generated"), ("evaluating", f"{cell}/evaluated")]


def test_a_failed_cell_leaves_the_others_their_table(runs, tmp_path) -> None:
    runs.breaks = "vectors_8_cases_100/seed_0/generated"
    with pytest.raises(
        TrainingError, match=r"^2 of 7 commands failed, first .*/generating: exit status 1: error: it br"
    ):
        run(tmp_path, "table2")
    with open(tmp_path / "out" / "table2.csv", newline="") as file:
        assert [row["kid"] for row in csv.DictReader(file)] == ["", "0.5"]


def test_dry_run_shows_commands_and_what_is_done(runs, tmp_path) -> None:
    run(tmp_path, "table1")
    runs()
    lines = run(tmp_path, "table2", dry_run=True)
    assert re.match(r"prostate_mri/cases/phantoms: done, 0\.\d min: ", lines[0])
    assert lines[1].startswith("prostate_mri/vectors_8_cases_100/seed_0/training: to do: ")
    assert re.match(r"7 commands; 3 to do, about \d+ min$", lines[-1]), lines[-1]
    assert runs() == []


def test_seeds_are_words_and_splits_of_their_own(runs, tmp_path) -> None:
    run(tmp_path, "table3", num_seeds=2, num_cases=[100], seed=4)
    trainings = [folder for kind, folder in runs() if kind == "training"]
    assert sorted(trainings) == [f"prostate_mri/vectors_64_cases_100/seed_{seed}" for seed in (4, 5)]


def steps_of(tmp_path, *names, **options):
    """The real commands, as the chain has them."""
    lines = [line for name in names for line in run(tmp_path, name, dry_run=True, **options)]
    commands = {}
    for line in lines:
        name, _, command = line.partition(": to do: ")
        if command:
            commands[name] = shlex.split(command)
    return commands


def test_every_key_exists_in_the_config_that_it_is_given_to(tmp_path) -> None:
    for name, command in steps_of(tmp_path, "all").items():
        if "monai.bundle" in command:
            keys = {command[at][2:]: command[at + 1] for at in range(5, len(command) - 1, 2)}
            files = keys.pop("config_file")
            config = json.loads(Path(ast.literal_eval(files)[0] if files.startswith("[") else files).read_text())
            for key in keys:
                check_key(key, config)
            assert keys["output_dir"] == str(tmp_path / "out" / name.rpartition("/")[0])


def test_cells_share_noise_and_held_out_cases(tmp_path) -> None:
    commands = steps_of(tmp_path, "table1", "table3")
    keys = {name: dict(zip(each[5::2], each[6::2], strict=True)) for name, each in commands.items()}
    assert len({each["--seed"] for name, each in keys.items() if name.endswith("/generating")}) == 1
    evaluations = [each for name, each in keys.items() if name.endswith("/evaluating")]
    assert {each["--num_cases"] for each in evaluations} == {"100"}
    few = keys["prostate_mri/vectors_64_cases_5/seed_0/training"]
    assert few["--num_cases"] == "5" and {each["--seed"] for each in evaluations} == {few["--seed"]}


def test_phantoms_are_enough_for_all_splits(tmp_path) -> None:
    commands = steps_of(tmp_path, "figure3")
    numbers = {}
    for modality in ("prostate_mri", "chest_xray", "histopathology"):
        each = commands[f"{modality}/cases/phantoms"]
        numbers[modality] = dict(zip(each[5::2], each[6::2], strict=True))
    assert int(numbers["prostate_mri"]["--num_positive"]) >= 100 + 20 + 100 + 125 + 25
    assert int(numbers["histopathology"]["--num_tumor"]) == 100 + 125
    chest = numbers["chest_xray"]
    single = int(chest["--num_pneumonia"])
    assert single >= 100 + 20 + 100 + 125 + 25
    assert float(chest["--share_of_others"]) * 4 * single / 3 >= 50 + 100 + 20  # a third has several findings


def test_given_cases_are_taken_in_place_of_phantoms(tmp_path) -> None:
    (tmp_path / "picai").mkdir()
    commands = steps_of(tmp_path, "table2", dataset_dir=str(tmp_path / "picai"))
    assert not any(name.endswith("/phantoms") for name in commands)
    assert all(str(tmp_path / "picai") in command for name, command in commands.items() if "generating" not in name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_seeds": 0}, "num_seeds must be at least 1, got 0: correct --num_seeds"),
        ({"num_pictures": 0}, "num_pictures must be at least 1, got 0: correct --num_pictures"),
        ({"seed": -1}, "seed must be at least 0, got -1: correct --seed"),
        ({"num_processes": -1}, "num_processes must be at least 0, got -1: correct --num_processes"),
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
        run(tmp_path, "table1", **options)


def test_a_mistake_on_the_command_line_is_one_line(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line.main(["reproduce", "table1", "--output_dir", "out"]) == 1
    assert re.match(r"error: config_file '.*train.json' is no file: correct --config_file\n$", capsys.readouterr().err)
    assert command_line.main(["reproduce", "figure7", "--output_dir", "out"]) == 1
    assert capsys.readouterr().err.startswith("error: unknown command 'figure7': did you mean 'figure")


def test_the_miniature_s_keys_are_those_of_the_configs(monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    paths = ast.literal_eval(reproduce.MINIATURE)
    assert all(Path(path).is_file() for path in paths)
    bundles = REPOSITORY.glob("bundles/*_textual_inversion/configs/*.json")
    known = set().union(*(json.loads(path.read_text()) for path in bundles))
    assert json.loads(Path(paths[-1]).read_text()).keys() <= known
    assert paths[-1] in (REPOSITORY / "docs" / "reproduction.md").read_text()


@pytest.mark.slow
def test_the_bundles_own_commands(tmp_path, micro_base, monkeypatch, forked) -> None:
    """All tables and figures at micro scale, with masks of the size of its latents; then nothing again."""
    monkeypatch.setattr(inpainting, "RADII_MM", {"small": 25.0, "large": 40.0})
    overlay = tmp_path / "micro.json"
    values = {"base_model": str(micro_base), "image_size": 32, "num_vectors": 2, "num_cases": 6, "max_steps": 1}
    values |= {"batch_size": 2, "validation_interval": 0, "preview_interval": 0, "num_validation_cases": 2}
    values |= {"num_test_cases": 6, "num_classifier_cases": 6, "num_classifier_validation_cases": 3}
    values |= {"num_several_test_cases": 4, "num_several_cases": 6, "num_several_validation_cases": 3}
    values |= {"classifier_epochs": 1, "num_resamples": 50, "num_inference_steps": 2, "mask_blur": 1.0, "device": "cpu"}
    overlay.write_text(json.dumps(values))
    options = {"config_file": str([str(TRAIN), str(overlay)]), "num_inference_steps": [1], "guidance_scale": [1]}
    options |= {"num_vectors": [1], "num_cases": [2], "num_processes": 1}
    run(tmp_path, **options)
    with open(tmp_path / "out" / "table1.csv", newline="") as file:
        assert all(row["kid"] for row in csv.DictReader(file))
    for figure in (3, 4, 5, 6):
        assert "not measured" not in (tmp_path / "out" / f"figure{figure}.md").read_text()
    assert run(tmp_path, dry_run=True, **options)[-1].endswith("all done")


def test_words_are_measured_seed_by_seed(runs, tmp_path) -> None:
    losses = {"references": {"empty prompt": {"<a>": 0.3}}, "held_out_loss": {"<a>": [[0, 0.4], [9, 0.2]]}}
    folder = tmp_path / "out" / "prostate_mri" / "vectors_64_cases_100"
    for seed in (0, 1):
        (folder / f"seed_{seed}").mkdir(parents=True)
        (folder / f"seed_{seed}" / "held_out_loss.json").write_text(json.dumps(losses))
    run(tmp_path, "words_prostate_mri", num_seeds=2)
    kinds = [kind for kind, _ in runs()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "phantoms": 1,
        "training": 4,  # two of them write the initial rows
        "generating": 4,
        "evaluating": 2,
    }
    table = (tmp_path / "out" / "words_prostate_mri.md").read_text()
    assert "| auc, generated | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] | 0.500 +- 0.000 |" in table
    assert "| held-out loss, <a> | 0.200 | 0.200 | 0.200 +- 0.000 |" in table


def test_words_of_radiographs_are_composed_interpolated_and_painted(tmp_path) -> None:
    lines = run(tmp_path, "words_chest_xray", dry_run=True)
    commands = [shlex.split(line.partition(": to do: ")[2]) for line in lines if ": to do: " in line]
    run_ids = [command[4] for command in commands if "monai.bundle" in command]
    assert run_ids == [
        "training",
        "generating",
        "generating",
        *["interpolating"] * 3,
        *["inpainting"] * 4,
        "evaluating",
    ]
    composed = commands[3]
    prompts = ast.literal_eval(composed[composed.index("--prompt") + 1])
    assert len(prompts) == 3 + 1  # all pairs and the triple
    evaluating = commands[-1]
    assert {"--composed_dir", "--interpolated_dir", "--inpainted_dir", "--generated_dir"} < {*evaluating}
    config = json.loads((TRAIN.parents[2] / "chest_xray_textual_inversion" / "configs" / "evaluate.json").read_text())
    for key in evaluating[7::2]:
        check_key(key.removeprefix("--"), config)
