# SPDX-License-Identifier: Apache-2.0
import csv
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from medti_components import __main__ as command_line
from medti_components.apps import reproduce
from medti_components.apps.reproduce import Reproduce
from medti_components.apps.reproduction import bundle_configs, step_chain
from medti_components.apps.reproduction.auc_table import table4_rows
from medti_components.apps.reproduction.step_chain import record_of
from medti_components.apps.reproduction.table4 import ClassifierBundle, Table4Steps
from medti_components.errors import ConfigError, TrainingError

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "bundles" / "prostate_cancer_classification" / "configs"
TRAIN = str(CONFIGS / "train.json")
EVALUATED = "1,1,0.9,0.1,prostate_mri_negative\n2,2,0.2,0.8,prostate_mri_positive\n"
# In place of a bundle's run: notes that it ran, and leaves what a later command and the table read.
RUN = f"""
import pathlib, sys
log, run_id, output_dir, breaks = sys.argv[1:5]
with open(log, "a") as file:
    file.write(f"{{run_id}} {{pathlib.Path(output_dir).parent}}\\n")
if breaks in output_dir:
    sys.exit("error: it broke")
folder = pathlib.Path(output_dir)
folder.mkdir(parents=True, exist_ok=True)
head = "study_id,patient_id,prostate_mri_negative,prostate_mri_positive,true_class\\n"
(folder / "probabilities.csv").write_text(head + {EVALUATED!r})
"""


def some_rows(num_real, num_synthetic):
    """Some of the rows, for the sake of time; the fourth goes on from the second."""
    names = ("real", "synthetic_many", "few_synthetic_many", "pretrained")
    return [row for row in table4_rows(num_real, num_synthetic) if row.name in names]


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Let commands only note that they ran; returns what ran since the last call. ``runs.breaks`` names who fails."""

    def command(run_id, config_files, keys):
        facts = json.dumps({key: str(value) for key, value in keys.items()})
        return [
            sys.executable,
            "-I",
            "-S",
            "-c",
            RUN,
            str(tmp_path / "log"),
            run_id,
            str(keys["output_dir"]),
            noted.breaks,
            facts,
        ]

    def noted():
        log = tmp_path / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [(run_id, Path(folder).relative_to(tmp_path / "out")) for run_id, folder in map(str.split, lines)]

    noted.breaks = "nothing"
    monkeypatch.setattr(bundle_configs, "bundle_command", command)
    monkeypatch.setattr(step_chain, "POLLING_SECONDS", 0.01)
    monkeypatch.setattr(reproduce, "table4_rows", some_rows)
    return noted


def table4(tmp_path, **options):
    (tmp_path / "data").mkdir(exist_ok=True)
    settings = {"num_seeds": 2, "num_real": 4, "num_synthetic": 8, "num_processes": 2}
    return list(Reproduce().table4(TRAIN, str(tmp_path / "out"), str(tmp_path / "data"), **{**settings, **options}))


def test_all_is_run_once_and_tabulated(runs, tmp_path) -> None:
    lines = table4(tmp_path)
    ran = runs()
    assert sorted(run_id for run_id, _ in ran) == sorted(
        ["training", "generating"] * 2 + ["training", "evaluating"] * 4 * 2
    )
    assert {str(folder) for _, folder in ran} >= {f"cells/{row.name}/seed_1" for row in some_rows(4, 8)}
    with open(tmp_path / "out" / "table4.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [float(row["auc"]) for row in rows] == [1.0] * 4
    assert lines[-1].endswith(f"table4.csv, table4.md, table4.png in {tmp_path / 'out'}")
    lines = table4(tmp_path)
    assert runs() == []
    assert sum("done before" in line for line in lines) == 4 + 16
    table4(tmp_path, num_seeds=3)
    assert {folder.name for _, folder in runs()} == {"seed_2"}


def test_a_changed_setting_runs_what_it_touches(runs, tmp_path) -> None:
    table4(tmp_path, num_seeds=1)
    runs()
    table4(tmp_path, num_seeds=1, num_few_cases=5)
    cell = "cells/few_synthetic_many/seed_0"
    assert [str(folder) for _, folder in runs()] == [".", "few_words", cell, cell]


def test_a_killed_cell_is_run_again_and_goes_on(runs, tmp_path) -> None:
    table4(tmp_path, num_seeds=1)
    runs()
    record = record_of("cells/real/seed_0/training", tmp_path / "out")
    record.begin(record.attempts[-1]["command"], record.attempts[-1]["files"])  # and was killed
    table4(tmp_path, num_seeds=1)
    cell = Path("cells/real/seed_0")
    assert runs() == [("training", cell), ("evaluating", cell)]


def test_a_failed_cell_leaves_the_others_their_table(runs, tmp_path) -> None:
    runs.breaks = "/synthetic_many/seed_0/training"
    first = "cells/synthetic_many/seed_0/training"
    message = rf"^4 of 12 commands failed, first {first}: exit status 1: error: it broke \(.*log\)"
    with pytest.raises(TrainingError, match=message):
        table4(tmp_path, num_seeds=1, num_processes=1)
    with open(tmp_path / "out" / "table4.csv", newline="") as file:
        known = {row["row"]: row["auc"] != "" for row in csv.DictReader(file)}
    assert known == {"real": True, "synthetic_many": False, "few_synthetic_many": True, "pretrained": False}


def test_embeddings_that_are_there_are_not_learned(runs, tmp_path) -> None:
    (tmp_path / "learned").mkdir()
    table4(tmp_path, num_seeds=1, embeddings=str(tmp_path / "learned"), few_embeddings=str(tmp_path / "learned"))
    ran = [(run_id, str(folder)) for run_id, folder in runs()]
    assert ("generating", "words") in ran and ("generating", "few_words") in ran
    assert ("training", ".") not in ran
    with pytest.raises(ConfigError, match="embeddings '.*missing' is no folder: correct --embeddings, or leave it out"):
        table4(tmp_path, embeddings=str(tmp_path / "missing"))


def test_dry_run_runs_nothing(runs, tmp_path) -> None:
    lines = table4(tmp_path, num_seeds=1, dry_run=True)
    assert lines[0].startswith("words/words: to do: ")
    assert lines[-1] == "12 commands; 12 to do"
    assert len(lines) == 4 + 8 + 1
    assert runs() == []


def test_commands_fit_the_paper(tmp_path) -> None:
    """Words from the classifier's own training cases, and no others; fine-tuning goes on from the same seed."""
    bundle = ClassifierBundle.of(TRAIN)
    rows = table4_rows(200, 2000)
    steps = Table4Steps(bundle, tmp_path / "data", tmp_path, rows, 1, 10, (None, None)).steps()
    commands = {step.name: dict(zip(step.command[5::2], step.command[6::2], strict=True)) for step in steps}
    words, few = commands["words/words"], commands["few_words/words"]
    assert (words["--num_cases"], words["--num_validation_cases"], words["--seed"]) == ("100", "100", "0")
    assert (few["--num_cases"], few["--num_validation_cases"], few["--seed"]) == ("10", "100", "0")
    assert commands["words/images"]["--num_images"] == commands["few_words/images"]["--num_images"] == "1000"
    assert commands["words/words"]["--config_file"].endswith("prostate_mri_textual_inversion/configs/train.json")
    tuned = commands["cells/pretrained/seed_0/training"]
    cell = tmp_path / "cells" / "synthetic_many" / "seed_0" / "training"
    assert tuned["--initial_classifier"] == str(cell / "classifier.safetensors")
    assert (tuned["--num_real"], tuned["--num_synthetic"]) == ("200", "0")
    for path in (CONFIGS, bundle.words.first.parent):
        known = json.loads((path / "train.json").read_text()) | json.loads((path / "inference.json").read_text())
        known |= json.loads((path / "evaluate.json").read_text())
        for step in steps:
            if str(path) in step.command[6]:
                assert {key[2:] for key in step.command[7::2]} <= known.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_seeds": 0}, "num_seeds must be at least 1, got 0: correct --num_seeds"),
        ({"num_few_cases": 0}, "num_few_cases must be at least 1, got 0: correct --num_few_cases"),
        ({"num_processes": -1}, "num_processes must be at least 0, got -1: correct --num_processes"),
        ({"num_real": 3}, "num_real must be an even number from 2, half of each class, got 3: correct --num_real"),
    ],
)
def test_numbers_that_do_not_fit(runs, tmp_path, options, message) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        table4(tmp_path, **options)


def test_folder_of_other_cases(runs, tmp_path) -> None:
    table4(tmp_path, num_seeds=1)
    (tmp_path / "other").mkdir()
    with pytest.raises(
        ConfigError, match=r"^dataset_dir is '.*other', but the cells in '.*out' are of '.*data': choose"
    ):
        list(Reproduce().table4(TRAIN, str(tmp_path / "out"), str(tmp_path / "other")))


@pytest.mark.parametrize(
    ("config_file", "message"),
    [
        ("missing.json", "config_file '.*missing.json' is no file: correct --config_file"),
        (__file__, r"config_file '.*test_reproduce.py' must end in .json or .yaml: correct --config_file"),
        ("['a.json'", r"config_file must be a path or a list of paths, got \['a.json': write"),
        (
            str(REPOSITORY / "bundles/prostate_mri_textual_inversion/configs/train.json"),
            "config_file must be the train.json of a bundle that trains a classifier, '.*' lacks dataset_format, "
            "num_training_cases, num_test_cases, split_seed: give",
        ),
        (
            str(REPOSITORY / "bundles/prostate_cancer_classification/configs/inference.json"),
            "config_file must be the train.json of a bundle that trains a classifier, '.*' lacks num_training_cases",
        ),
    ],
)
def test_config_files_that_do_not_fit(tmp_path, config_file, message) -> None:
    with pytest.raises(ConfigError, match=message):
        list(Reproduce().table4(config_file, str(tmp_path)))


def test_overlay_that_is_no_json(tmp_path) -> None:
    (tmp_path / "overlay.json").write_text("{")
    with pytest.raises(ConfigError, match=r"'.*overlay.json' can't be read \(Expecting .*\): correct --config_file$"):
        list(Reproduce().table4(f"['{TRAIN}', '{tmp_path}/overlay.json']", str(tmp_path)))


def test_no_data_set(runs, tmp_path) -> None:
    message = "dataset_dir 'no/such' is no folder: correct --dataset_dir, or leave it out"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        list(Reproduce().table4(TRAIN, str(tmp_path / "out"), "no/such"))


def test_no_bundle_learns_the_words(tmp_path) -> None:
    overlay = tmp_path / "concepts.json"
    overlay.write_text('{"concepts": ["<x_negative>", "<x_positive>"]}')
    with pytest.raises(ConfigError, match="no bundle in '.*' learns the words <x_negative>, <x_positive>: put one"):
        ClassifierBundle.of(str([TRAIN, str(overlay)]))


def test_unknown_table_is_one_line(capsys) -> None:
    assert command_line.main(["reproduce", "table5"]) == 1
    assert capsys.readouterr().err == "error: unknown command 'table5': did you mean 'table4'?\n"


def test_keys_of_the_miniature_are_those_of_the_configs() -> None:
    miniature = json.loads((REPOSITORY / "benchmarks" / "table4_miniature.json").read_text())
    bundle = ClassifierBundle.of(TRAIN)
    configs = [*CONFIGS.glob("*.json"), *bundle.words.first.parent.glob("*.json")]
    known = set().union(*(json.loads(path.read_text()) for path in configs))
    assert miniature.keys() <= known
    document = (REPOSITORY / "docs" / "reproduction.md").read_text()
    assert set(re.findall(r"`(\w+)`", document)) >= {row.name for row in table4_rows(200, 2000)}
    assert "benchmarks/table4_miniature.json" in document


@pytest.mark.slow
def test_the_bundles_own_commands(tmp_path, micro_base, monkeypatch, forked) -> None:
    """Real only and as many synthetic images: words, images and cells at micro scale, then nothing again."""
    command_line.main(["phantoms", "prostate_mri", str(tmp_path / "data"), "5", "5", "--difficulty", "hard"])
    monkeypatch.setattr(reproduce, "table4_rows", lambda *numbers: [*table4_rows(*numbers)[:2], table4_rows(2, 4)[5]])
    overlay = tmp_path / "micro.json"
    values = {"architecture": "small", "classifier_image_size": 32, "num_workers": 0, "base_model": str(micro_base)}
    values |= {"num_training_cases": 2, "num_validation_cases": 1, "num_test_cases": 2, "num_batches": 1}
    values |= {"num_vectors": 2, "max_steps": 1, "num_inference_steps": 1, "preview_interval": 0, "device": "cpu"}
    overlay.write_text(json.dumps(values))
    arguments = [str([TRAIN, str(overlay)]), str(tmp_path / "out"), str(tmp_path / "data"), 1, 2, 4, 1]
    list(Reproduce().table4(*arguments, num_processes=1))
    cells = tmp_path / "out" / "cells"
    aucs = [json.loads(path.read_text())["auc"] for path in cells.glob("*/seed_0/evaluating/metrics.json")]
    assert len(aucs) == 3
    assert torch.isfinite(torch.tensor([auc["value"] for auc in aucs])).all()
    assert all("done before" in line for line in list(Reproduce().table4(*arguments, num_processes=1))[:10])
