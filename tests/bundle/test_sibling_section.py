# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from medti_components.apps.bundle_package.standalone_configs import with_sections_in_place
from medti_components.bundle.sibling_section import sibling_section
from medti_components.errors import ConfigError

SECTION = {"_target_": "fractions.Fraction", "numerator": "@size", "denominator": "$@size * 2 + len('@size')"}
COMPONENT = {
    "_target_": "medti_components.bundle.sibling_section.sibling_section",
    "config": "$@bundle_root + '/configs/train.json'",
    "key": "part",
    "values": {"size": "@own_size"},
}
RUN = {"_target_": "medti_components.bundle.run.initialize"}
ROOT = {"_target_": "medti_components.bundle.run.bundle_root"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose train.json has a section ``part`` about a ``size``."""
    folder = tmp_path / "bundle"
    (folder / "configs").mkdir(parents=True)
    content = {"size": "$no_such_name", "other": 5, "part": {"_target_": "fractions.Fraction", "numerator": "@size"}}
    (folder / "configs" / "train.json").write_text(json.dumps(content))
    return folder


def test_references_of_the_section_are_what_the_component_says(bundle: Path) -> None:
    path = bundle / "configs" / "evaluate.json"
    path.write_text(json.dumps({"initialize": [RUN], "bundle_root": ROOT, "own_size": 3, "part": COMPONENT}))
    workflow = ConfigWorkflow(str(path), meta_file=None, logging_file=False, workflow_type=None, own_size=7)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("part") == 7


def test_of_several_configs_one_is_chosen(bundle: Path) -> None:
    paths = {"a": "no/such/file.json", "b": str(bundle / "configs" / "train.json")}
    assert sibling_section(paths, "part", {"size": 2}, choice="b") == 2


def test_section_in_place_stands_alone(bundle: Path) -> None:
    (bundle / "configs" / "train.json").write_text(json.dumps({"size": 1, "part": SECTION}))
    config = {"bundle_root": str(bundle), "own_size": 3, "part": COMPONENT}
    (section,) = with_sections_in_place([COMPONENT], config)
    assert section == {
        "_target_": "fractions.Fraction",
        "numerator": "@own_size",
        "denominator": "$@own_size * 2 + len('@own_size')",
    }
    given = {**COMPONENT, "values": {"size": 4}, "_disabled_": "$False"}
    assert with_sections_in_place(given, config) == {
        "_target_": "fractions.Fraction",
        "numerator": 4,
        "denominator": "$4 * 2 + len('4')",
        "_disabled_": "$False",
    }


def test_several_sections_in_place_are_chosen_from(bundle: Path) -> None:
    several = {**COMPONENT, "config": {"a": COMPONENT["config"], "b": COMPONENT["config"]}, "choice": "@kind"}
    config = {"bundle_root": str(bundle), "own_size": 3, "kind": "b"}
    section = with_sections_in_place(several, config)
    assert ConfigParser({"own_size": 9, "kind": "b", "part": section}).get_parsed_content("part") == 9


@pytest.mark.parametrize(
    ("config", "key", "choice", "message"),
    [
        ("no/train.json", "part", None, "'no/train.json' can't be read ("),
        ("{bundle}/configs/train.json", "parts", None, "'{bundle}/configs/train.json' has no key 'parts': restore it"),
        ({"a": "no/train.json"}, "part", "b", "choice must be one of a, got 'b': correct the config"),
    ],
)
def test_sections_that_are_not_there(bundle: Path, config, key, choice, message) -> None:
    given = config if isinstance(config, dict) else config.format(bundle=bundle)
    with pytest.raises(ConfigError, match="^" + re.escape(message.format(bundle=bundle))):
        sibling_section(given, key, {}, choice)
