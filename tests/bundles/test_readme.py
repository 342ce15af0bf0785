# SPDX-License-Identifier: Apache-2.0
"""The README names keys, files and values that exist."""

import re

import pytest
from configs_of_bundles import PROSTATE, REPOSITORY, load

README = (REPOSITORY / "README.md").read_text()
TABLES = {"training": "train.json", "generating": "inference.json"}


def rows(heading):
    table = README.partition(f"| {heading} | default | meaning |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "`" in line]
    return [(re.findall(r"`(\w+)`", keys), default) for keys, default, _ in cells]


@pytest.mark.parametrize("heading", TABLES)
def test_keys_of_the_tables_exist_with_the_defaults_given(heading):
    config = load(PROSTATE / TABLES[heading])
    assert len(rows(heading)) > 5
    for keys, default in rows(heading):
        assert config.keys() >= set(keys)
        values = [value.strip().strip("`") for value in default.split(",")]
        if len(values) == len(keys):
            for key, value in zip(keys, values, strict=True):
                if re.fullmatch(r"[\d.]+", value):
                    assert config[key] == float(value), key


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
