# SPDX-License-Identifier: Apache-2.0
"""The README names keys, files and values that exist."""

import re

import pytest
from configs_of_bundles import PROSTATE, REPOSITORY, load

README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "bundles/prostate_mri_textual_inversion/docs/README.md",
        "bundles/chest_xray_textual_inversion/docs/README.md",
        "bundles/histopathology_textual_inversion/docs/README.md",
        "bundles/prostate_cancer_classification/docs/README.md",
    ],
)
def test_files_that_are_named_exist(document):
    text = (REPOSITORY / document).read_text()
    for path in re.findall(r"(?<![\w./-])((?:bundles|configs)/[\w./]+\.json)", text):
        assert (REPOSITORY / path).is_file() or (PROSTATE.parent / path).is_file(), path
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (REPOSITORY / document).parent.joinpath(link).exists(), link


def test_overrides_in_the_commands_are_keys_of_the_configs():
    known = set().union(*(load(path).keys() for path in PROSTATE.glob("*.json")))
    commands = re.findall(r"monai\.bundle run (?:[^`]|`(?!``))*?\n\n|monai\.bundle run [^`]*```", README)
    assert commands
    for command in commands:
        for key in re.findall(r"--(\w+)", command):
            assert key in known | {"config_file"}, key
