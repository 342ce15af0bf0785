# SPDX-License-Identifier: Apache-2.0
"""The command ``reproduce``: what Snakemake runs, runs again and leaves out, and what users see of it."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from medti_components import __main__ as command_line
from medti_components.apps import reproduce
from medti_components.apps.reproduce import Reproduce
from medti_components.apps.reproduction import workflow
from medti_components.apps.reproduction.table4 import ClassifierBundle, table4_rows
from medti_components.apps.reproduction.workflow import steps_of, table4_experiments
from medti_components.errors import ConfigError, TrainingError

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "bundles" / "prostate_cancer_classification" / "configs"
TRAIN = str(CONFIGS / "train.json")
WORDS = str(REPOSITORY / "bundles" / "prostate_mri_textual_inversion" / "configs" / "train.json")
# In place of a job: notes that it ran, and leaves what Snakemake waits for. ``breaks`` says which ones fail.
JOB = """
import json, pathlib, sys
home = pathlib.Path({home!r})
command = sys.argv[sys.argv.index("--") + 1 :]
if command[0].endswith("workflow"):  # the job that writes a table
    for ending in ("csv", "md", "png"):
        pathlib.Path(f"{{command[2]}}.{{ending}}").write_text("of " + command[2])
    sys.exit()
output_dir = pathlib.Path(command[command.index("--output_dir") + 1])
run_id = command[1] if command[1] == "phantoms" else command[2]
with open(home / "log", "a") as log:
    log.write(f"{{run_id}} {{output_dir.relative_to(home / 'out')}}\\n")
output_dir.mkdir(parents=True, exist_ok=True)
if (home / "breaks").read_text() in str(output_dir):
    sys.exit("error: it broke")
if run_id == "training":
    (output_dir / "embeddings").mkdir()
if run_id == "evaluating":
    (output_dir / "metrics.json").write_text("{{}}")
"""


@pytest.fixture
def runs(monkeypatch, tmp_path, forked_workflow):
    """Let jobs only note that they ran; returns what ran since the last call."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable} -IS\n{JOB.format(home=str(tmp_path))}")
    program.chmod(0o755)
    (tmp_path / "breaks").write_text("nothing")
    monkeypatch.setattr(workflow, "PYTHON", str(program))
    monkeypatch.setattr("medti_components.apps.reproduction.grid_tables.GridTable.write", lambda self, folder: None)

    def noted():
        log = tmp_path / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return sorted(lines)

    return noted


def table2(tmp_path, **options):
    """Two cells: words of 8 vectors, and of the config's 64."""
    given = {"config_file": WORDS, "num_vectors": [8], "jobs": 2, **options}
    return list(Reproduce().table2(str(tmp_path / "out"), **given))


def test_what_is_missing_or_changed_is_run_and_nothing_else(runs, tmp_path) -> None:
    cell, words = "prostate_mri/steps_100_guidance_2_vectors_8_cases_100/seed_0", "prostate_mri/vectors_8_cases_100"
    touched = sorted([f"training {words}/seed_0", f"generating {cell}/generated", f"evaluating {cell}/evaluated"])
    overlay = tmp_path / "overlay.json"
    overlay.write_text("{}")
    config_file = str([WORDS, str(overlay)])
    lines = table2(tmp_path, config_file=config_file)
    assert len(runs()) == 1 + 2 * 3
    assert lines[-1] == f"table2.csv, table2.md, table2.png in {tmp_path / 'out'}"
    table2(tmp_path, config_file=config_file)
    assert runs() == []
    shutil.rmtree(tmp_path / "out" / words / "seed_0" / "embeddings")
    table2(tmp_path, config_file=config_file, dry_run=True)
    assert runs() == []
    table2(tmp_path, config_file=config_file)
    assert runs() == touched
    (tmp_path / "breaks").write_text(f"{cell}/generated")
    overlay.write_text('{"max_steps": 7}')  # of the words
    with pytest.raises(
        TrainingError, match=rf"^2 of 7 steps are not done, first {cell}/generated: error: it broke \(.*generated.log\)"
    ):
        table2(tmp_path, config_file=config_file)
    assert {line for line in runs() if "vectors_64" in line and "evaluating" in line}  # what does not need it was run
    (tmp_path / "breaks").write_text("nothing")
    table2(tmp_path, config_file=config_file)
    assert runs() == touched[:2]


def test_the_snakefile_stands_alone_and_reports(runs, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    out, config = tmp_path / "out", tmp_path / "config.json"
    options = json.loads((reproduce.SNAKEFILE.parent / "config.json").read_text())
    options = {"paper": {"config_file": WORDS, "num_vectors": [8]}, "table4": options["table4"]}
    config.write_text(json.dumps({"output_dir": str(out), "paper": options["paper"]}))
    workflow.load_plan({"output_dir": str(out), **options})  # here, so that its jobs are this test's
    command = [sys.executable, "-m", "snakemake", "-s", str(reproduce.SNAKEFILE), "--configfile", str(config)]
    assert reproduce.run_command([*command, "--cores", "2", "table2"]) == 0
    assert len(runs()) == 7
    assert (out / "table2.md").read_text() == "of table2"
    report = tmp_path / "report.html"
    assert reproduce.run_command([*command, "--report", str(report), "table2"]) == 0
    assert "table2.csv" in report.read_text()


def table4(tmp_path, **options):
    """Folder and step of each step of table 4."""
    (tmp_path / "data").mkdir(exist_ok=True)
    given = {"config_file": TRAIN, "dataset_dir": str(tmp_path / "data"), "num_seeds": 1, **options}
    steps = steps_of(table4_experiments(tmp_path, **given))
    return {str(folder.relative_to(tmp_path)): step for folder, step in steps.items()}


def test_embeddings_that_are_there_are_not_learned(tmp_path) -> None:
    (tmp_path / "learned").mkdir()
    steps = table4(tmp_path, embeddings=str(tmp_path / "learned"), few_embeddings=str(tmp_path / "learned"))
    assert steps["words/images"].needs == () and "few_words" not in steps
    with pytest.raises(ConfigError, match="embeddings '.*missing' is no folder: correct --embeddings, or leave it out"):
        table4(tmp_path, embeddings=str(tmp_path / "missing"))


def test_phantoms_are_drawn_for_all_splits(tmp_path) -> None:
    steps = table4(tmp_path, dataset_dir="phantoms")
    command = steps["cases"].command
    assert int(command[command.index("--num_positive") + 1]) >= 100 + 100 + 100
    assert steps["cells/real/seed_0/training"].needs == (steps["cases"],)


def test_commands_fit_the_paper(tmp_path) -> None:
    """Words from the classifier's own training cases, and no others; fine-tuning goes on from the same seed."""
    bundle = ClassifierBundle.of(TRAIN)
    steps = table4(tmp_path)
    assert len(steps) == 4 + 11 * 2
    commands = {name: dict(zip(step.command[3::2], step.command[4::2], strict=True)) for name, step in steps.items()}
    words, few = commands["words"], commands["few_words"]
    assert (words["--num_cases"], words["--num_validation_cases"], words["--seed"]) == ("100", "100", "0")
    assert (few["--num_cases"], few["--num_validation_cases"], few["--seed"]) == ("10", "100", "0")
    assert commands["words/images"]["--num_images"] == commands["few_words/images"]["--num_images"] == "1000"
    assert commands["words"]["--config_file"].endswith("prostate_mri_textual_inversion/configs/train.json")
    tuned = commands["cells/pretrained/seed_0/training"]
    cell = tmp_path / "cells" / "synthetic_many" / "seed_0" / "training"
    assert tuned["--initial_classifier"] == str(cell / "classifier.safetensors")
    assert (tuned["--num_real"], tuned["--num_synthetic"]) == ("200", "0")
    for path in (CONFIGS, bundle.words.first.parent):
        known = json.loads((path / "train.json").read_text()) | json.loads((path / "inference.json").read_text())
        known |= json.loads((path / "evaluate.json").read_text())
        for name, step in steps.items():
            if str(path) in str(step.configs[0]):
                assert {key[2:] for key in commands[name] if key != "--config_file"} <= known.keys()


def test_one_run_at_a_time_in_a_folder(runs, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    with reproduce._locked(tmp_path / "out"):
        with pytest.raises(ConfigError, match="^output_dir '.*out' is in use by another run: wait, or choose another$"):
            table2(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": -1}, "jobs must be at least 0, got -1: correct --jobs"),
        (
            {"executor": "none-such"},
            "executor 'none-such' is not installed: pip install snakemake-executor-plugin-no",
        ),
        ({"executor": "slurm", "jobs": 0}, "jobs must be given with executor 'slurm': add --jobs, the steps at a time"),
    ],
)
def test_options_of_snakemake_that_do_not_fit(tmp_path, monkeypatch, options, message) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: find("json" if name.endswith("slurm") else name))
    with pytest.raises(ConfigError, match=f"^{message}"):
        table2(tmp_path, **options)


def test_snakemake_is_not_installed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^Snakemake is not installed: pip install 'medti\[workflow\]'$"):
        table2(tmp_path)


def test_an_executor_is_asked_for_and_cores_are_shared(tmp_path, monkeypatch) -> None:
    commands = []
    monkeypatch.setattr(reproduce, "run_command", lambda command: commands.append(command) or 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(8))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    table2(tmp_path, jobs=0, dry_run=True)
    at = commands[0].index("--cores")
    assert commands[0][at : at + 4] == ["--cores", "8", "--resources", "gpu=2"]  # two jobs of four threads
    assert json.loads((tmp_path / "out" / "workflow" / "paper_dry_run.json").read_text())["threads"] == 4
    monkeypatch.setattr(reproduce, "_check_installed", lambda executor: None)
    table2(tmp_path, executor="slurm", jobs=3, profile="workflow/profiles/slurm", dry_run=True)
    command = " ".join(commands[1])
    assert "--executor slurm --profile workflow/profiles/slurm --jobs 3" in command and "--cores" not in command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_seeds": 0}, "num_seeds must be at least 1, got 0: correct --num_seeds"),
        ({"num_few_cases": 0}, "num_few_cases must be at least 1, got 0: correct --num_few_cases"),
        ({"num_real": 3}, "num_real must be an even number from 2, half of each class, got 3: correct --num_real"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path, options, message) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        table4(tmp_path, **options)


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
        table4(tmp_path, config_file=config_file)


def test_overlay_that_is_no_json(tmp_path) -> None:
    (tmp_path / "overlay.json").write_text("{")
    with pytest.raises(ConfigError, match=r"'.*overlay.json' can't be read \(Expecting .*\): correct --config_file$"):
        table4(tmp_path, config_file=f"['{TRAIN}', '{tmp_path}/overlay.json']")


def test_no_data_set(tmp_path) -> None:
    message = (
        "dataset_dir 'no/such' is no folder: correct --dataset_dir, or leave it out or give 'phantoms' to draw some"
    )
    with pytest.raises(ConfigError, match=f"^{message}$"):
        table4(tmp_path, dataset_dir="no/such")


def test_no_bundle_learns_the_words(tmp_path) -> None:
    overlay = tmp_path / "concepts.json"
    overlay.write_text('{"concepts": ["<x_negative>", "<x_positive>"]}')
    with pytest.raises(ConfigError, match="no bundle in '.*' learns the words <x_negative>, <x_positive>: put one"):
        ClassifierBundle.of(str([TRAIN, str(overlay)]))


def test_mistakes_on_the_command_line_are_one_line(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--output_dir", "out", "--config_file", "missing.json", "--dry_run", "true"]
    assert command_line.main(["reproduce", "table1", *given]) == 1
    assert re.match(r"error: config_file '.*missing.json' is no file: correct --con", capsys.readouterr().err)
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
