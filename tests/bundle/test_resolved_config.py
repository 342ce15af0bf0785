# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from medti_components.bundle.resolved_config import plain_values

INSIDE = "medti_components.bundle.resolved_config"


def workflow(folder: Path, content: dict[str, Any], **overrides: Any) -> ConfigWorkflow:
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    created = ConfigWorkflow(str(path), meta_file=None, logging_file=False, workflow_type=None, **overrides)
    created.initialize()
    return created


def test_a_component_sees_the_config_it_belongs_to_with_overrides(tmp_path: Path) -> None:
    content = {"seed": 0, "folder": "$@root + '/cache'", "root": "a", "seen": {"_target_": f"{INSIDE}.resolved_config"}}

    seen = workflow(tmp_path, content, seed=3).parser.get_parsed_content("seen")

    assert (seen["seed"], seen["folder"]) == (3, "a/cache")


def test_settings_are_the_values_of_keys_with_overrides(tmp_path: Path) -> None:
    component = {"_target_": f"{INSIDE}.settings", "keys": ["seed", "twice"], "made by": "$@twice + 1"}
    content = {"settings": component, "seed": 0, "twice": "$2 * @seed", "steps": 5}

    settings = workflow(tmp_path, content, seed=3).parser.get_parsed_content("settings")

    assert list(settings.items()) == [("seed", 3), ("twice", 6), ("made by", 7)]


def test_one_section_is_quoted_on_one_line(tmp_path: Path) -> None:
    content = {
        "preprocessing": {"_target_": "Compose", "transforms": []},
        "quoted": {"_target_": f"{INSIDE}.config_section", "key": "preprocessing"},
    }

    quoted = workflow(tmp_path, content).parser.get_parsed_content("quoted")

    assert json.loads(quoted) == content["preprocessing"]
    assert "\n" not in quoted


def test_a_section_is_quoted_with_its_expressions_computed_and_its_components_as_written(tmp_path: Path) -> None:
    transform = {"_target_": "Resize", "spatial_size": "$[round(@width_mm / 0.5)] * 2", "mode": "@mode"}
    content = {
        "width_mm": 96.0,
        "mode": "nearest",
        "preprocessing": {"_target_": "Compose", "transforms": [transform]},
        "quoted": {"_target_": f"{INSIDE}.config_section", "key": "preprocessing"},
    }

    quoted = json.loads(workflow(tmp_path, content).parser.get_parsed_content("quoted"))

    assert quoted["transforms"] == [{"_target_": "Resize", "spatial_size": [192, 192], "mode": "nearest"}]


def test_what_would_build_a_component_stays_as_written() -> None:
    parser = ConfigParser(
        {"model": {"_target_": "no.such.module"}, "size": "$@model.size", "twice": "$@size * 2", "names": ["a", "b"]}
    )

    values = plain_values(parser)

    assert (values["size"], values["twice"], values["names"]) == ("$@model.size", "$@size * 2", ["a", "b"])
    json.dumps(values)


def test_values_that_refer_to_each_other_stay_as_written() -> None:
    assert plain_values(ConfigParser({"a": "$@b", "b": "$@a"})) == {"a": "$@b", "b": "$@a"}
