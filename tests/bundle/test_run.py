# SPDX-License-Identifier: Apache-2.0
"""MONAI runs the configs here in this process; tests/bundles has the true command line."""

import json
import sys

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow, run

from medti_components.bundle import run as bundle_run
from medti_components.bundle.error_line import error_line

TARGET = "medti_components.bundle.run."
COMMON = {
    "bundle_root": {"_target_": TARGET + "bundle_root"},
    "initialize": [{"_target_": TARGET + "initialize"}],
    "seed": 0,
}


IDS = "this config has training (learns from a data set), run (the default, one of these)"


@pytest.fixture(autouse=True)
def unchanged_excepthook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def bundle(tmp_path):
    configs = tmp_path / "a_bundle" / "configs"
    configs.mkdir(parents=True)
    train = {
        **COMMON,
        "max_steps": 10,
        "resume": False,
        "prompt": "",
        "cache_dir": "$@bundle_root + '/cache'",
        "resize": {"_target_": "monai.transforms.Resize", "spatial_size": [2, 2]},
        "results": {},
        "training": ["$@results.update(steps=@max_steps, resume=@resume, root=@bundle_root, cache=@cache_dir)"],
        "run": ["$@training"],
    }
    inference = {
        **COMMON,
        "num_images": 1,
        "sampler": {"steps": 100},
        "generating": ["$@num_images"],
        "run": ["$@seed"],
    }
    for name, content in (("train", train), ("inference", inference), ("metadata", {})):
        (configs / f"{name}.json").write_text(json.dumps(content))
    return configs


def results_of(config_file, **overrides):
    workflow = create_workflow(config_file=config_file, run_id="training", logging_file=False, **overrides)
    workflow.run()
    return workflow.parser.get_parsed_content("results")


def failure_of(config_file, **arguments):
    with pytest.raises(RuntimeError) as caught:
        run(config_file=config_file, logging_file=False, **arguments)
    return error_line(caught.value)


def test_bundle_root_is_the_same_from_everywhere(bundle, tmp_path, monkeypatch):
    expected = {"steps": 10, "resume": False, "root": str(bundle.parent), "cache": str(bundle.parent / "cache")}
    for folder in (tmp_path, bundle.parent, bundle):
        monkeypatch.chdir(folder)
        relative = (bundle / "train.json").relative_to(folder)
        assert results_of(str(relative)) == expected
        assert results_of(str(bundle / "train.json")) == expected


def test_bundle_root_is_known_to_the_parser_after_initialize(bundle):
    workflow = ConfigWorkflow(config_file=str(bundle / "train.json"), workflow_type="train", logging_file=False)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("bundle_root") == str(bundle.parent)
    assert workflow.bundle_root == str(bundle.parent)


def test_bundle_root_of_a_parser_alone_follows_the_convention_of_the_working_folder(bundle):
    parser = ConfigParser(ConfigParser.load_config_file(bundle / "train.json"))
    assert parser.get_parsed_content("bundle_root") == "."


def test_overrides_reach_the_config(bundle):
    results = results_of(str(bundle / "train.json"), max_steps=3, resume="true", bundle_root="elsewhere")
    assert results == {"steps": 3, "resume": True, "root": "elsewhere", "cache": "elsewhere/cache"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"max_stpes": 3}, "unknown key 'max_stpes': did you mean 'max_steps'?"),
        ({"resize::spatial_siz": 3}, "unknown key 'resize::spatial_siz': did you mean 'resize::spatial_size'?"),
        ({"num_images": 3}, "key 'num_images' belongs to inference.json, not to the config being run: leave it out"),
        ({"max_steps": "many"}, "max_steps must be a whole number, got 'many'"),
        ({"run_id": "trainin"}, f"unknown run id 'trainin': did you mean 'training'? {IDS}"),
        ({"run_id": "zzz"}, f"unknown run id 'zzz': {IDS}"),
        ({"run_id": "resize"}, f"unknown run id 'resize': {IDS}"),
        ({"run_id": "generating"}, f"unknown run id 'generating': it belongs to inference.json; {IDS}"),
    ],
)
def test_mistakes_are_named_before_anything_runs(bundle, overrides, message):
    assert failure_of(str(bundle / "train.json"), **overrides) == f"error: {message}"


def test_overlays_are_checked_against_all_configs_of_the_bundle(bundle, tmp_path):
    overlay = tmp_path / "fast.json"
    overlay.write_text(json.dumps({"max_steps": 5, "sampler::steps": 20}))
    with pytest.raises(KeyError):  # MONAI's own: the path to a nested key must exist in the config that runs
        results_of([str(bundle / "train.json"), str(overlay)])
    overlay.write_text(json.dumps({"max_steps": 5, "num_images": 2}))
    assert results_of([str(bundle / "train.json"), str(overlay)])["steps"] == 5
    overlay.write_text(json.dumps({"max_step": 5}))
    line = failure_of([str(bundle / "train.json"), str(overlay)])
    assert line == "error: fast.json: unknown key 'max_step': did you mean 'max_steps'?"


def test_overlays_may_hold_keys_of_the_bundles_beside(bundle, tmp_path):
    overlay = tmp_path / "embedded.json"
    overlay.write_text(json.dumps({"max_steps": 5, "field_of_view_mm": 96.0}))
    line = failure_of([str(bundle / "train.json"), str(overlay)])
    assert line.startswith("error: embedded.json: unknown key 'field_of_view_mm': known here: ")
    beside = tmp_path / "another_bundle" / "configs"
    beside.mkdir(parents=True)
    (beside / "train.json").write_text(json.dumps({**COMMON, "field_of_view_mm": 150.0}))
    assert results_of([str(bundle / "train.json"), str(overlay)])["steps"] == 5


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            {"resize": {"spatial_size": [4, 4]}},
            "'resize' replaces the whole section, and lacks its '_target_': to set a key of it, "
            "write 'resize::spatial_size'",
        ),
        (
            {"train": {"trainer": {"max_epochs": 2}}},
            "'train' replaces the whole section, and lacks its 'loss': to set a key of it, "
            "write 'train::trainer::max_epochs'",
        ),
    ],
)
def test_overlay_that_drops_what_a_section_needs_is_an_error_that_says_how_to_set_one_key(
    bundle, tmp_path, overlay, message
):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(overlay))
    config = json.loads((bundle / "train.json").read_text())
    config["train"] = {"trainer": {"_target_": "dict", "max_epochs": 1}, "loss": {"_target_": "dict"}}
    (bundle / "train.json").write_text(json.dumps(config))
    assert failure_of([str(bundle / "train.json"), str(path)]) == f"error: mine.json: {message}"
    assert failure_of(str(bundle / "train.json"), **overlay) == f"error: {message}"


def test_overlay_may_replace_a_section_by_a_whole_one_or_merge_into_it(bundle, tmp_path):
    path = tmp_path / "mine.json"
    for key, size in (("resize", [4, 4]), ("+resize", [8, 8])):
        path.write_text(json.dumps({key: {"_target_": "monai.transforms.Resize", "spatial_size": size}}))
        workflow = create_workflow(config_file=[str(bundle / "train.json"), str(path)], logging_file=False)
        assert workflow.parser["resize::spatial_size"] == size


def test_overlay_before_the_bundle_s_config_is_an_error_that_shows_the_right_order(bundle, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"max_steps": 5}))
    files = [str(bundle / "train.json"), str(path)]
    assert failure_of(files[::-1]) == (
        f"error: config_file must name the bundle's config first and overlays after it, got '{path}' first: "
        f'write --config_file "{files}"'
    )


def test_tracking_without_its_package_is_an_error_that_names_the_extra(bundle, tmp_path, monkeypatch):
    config = json.loads((bundle / "train.json").read_text())
    config["train"] = {"trainer": {"_target_": "dict"}, "handlers": []}
    (bundle / "train.json").write_text(json.dumps(config | {"output_dir": str(tmp_path / "out")}))
    monkeypatch.setattr(bundle_run, "find_spec", lambda name: None)
    assert failure_of(str(bundle / "train.json"), tracking="mlflow", run_id="training") == (
        "error: tracking needs the package mlflow, which is not installed: pip install 'medti[tracking]', or leave out "
        "--tracking"
    )


def test_a_workflow_made_by_hand_is_checked_too(bundle):
    workflow = ConfigWorkflow(config_file=str(bundle / "train.json"), logging_file=False, max_stpes=3)
    with pytest.raises(RuntimeError) as caught:
        workflow.initialize()
    assert error_line(caught.value) == "error: the workflow: unknown key 'max_stpes': did you mean 'max_steps'?"


@pytest.mark.parametrize("run_id", ["resize", "seed", "initialize"])
def test_a_workflow_made_by_hand_runs_no_section_as_a_run_id(bundle, run_id):
    workflow = ConfigWorkflow(config_file=str(bundle / "train.json"), logging_file=False, run_id=run_id)
    with pytest.raises(RuntimeError) as caught:
        workflow.initialize()
    assert error_line(caught.value) == f"error: unknown run id '{run_id}': {IDS}"


def test_settings_of_experiment_tracking_are_known_when_it_is_on():
    arguments = {"tracking": "mlflow", "experiment_name": "a", "seed": 1}
    assert bundle_run._overrides(arguments) == {"seed": 1}
    assert bundle_run._overrides({**arguments, "tracking": None}) == {"experiment_name": "a", "seed": 1}


def test_a_workflow_made_by_hand_may_be_tracked_and_have_a_name(bundle, tmp_path, monkeypatch):
    config = json.loads((bundle / "train.json").read_text())
    (bundle / "train.json").write_text(json.dumps({**config, "output_dir": str(tmp_path)}))
    monkeypatch.setattr(bundle_run, "find_spec", lambda name: object())
    for arguments in ({"run_name": "client_1"}, {"tracking": "mlflow"}):
        workflow = ConfigWorkflow(str(bundle / "train.json"), logging_file=False, run_id="training", **arguments)
        workflow.initialize()
        workflow.run()
        assert workflow.parser.get_parsed_content("results")["steps"] == 10


@pytest.mark.parametrize("number", ["2", "8"])
def test_several_processes_are_an_error(bundle, monkeypatch, number):
    monkeypatch.setenv("WORLD_SIZE", number)
    assert failure_of(str(bundle / "train.json"), run_id="training") == (
        f"error: a run takes one process and one GPU, but {number} processes were started (WORLD_SIZE): start it by "
        "python -m monai.bundle run, without torchrun"
    )
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert results_of(str(bundle / "train.json"))["steps"] == 10
