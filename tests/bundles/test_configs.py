# SPDX-License-Identifier: Apache-2.0
"""What holds for every config in this repository, beside what ``validate`` asks of any bundle."""

import re

import pytest
from configs_of_bundles import BUNDLES, CONFIGS, OVERLAYS, REPOSITORY, load, short_name


@pytest.mark.parametrize("path", OVERLAYS, ids=short_name)
def test_overlay_values_are_of_the_config_s_kind(path):
    bases = [load(config) for config in CONFIGS]
    for key, value in load(path).items():
        kinds = {type(base[key]) for base in bases if key in base and base[key] is not None}
        is_expression = isinstance(value, str) and value.startswith(("$", "@"))
        if kinds and not is_expression and not key.startswith("_"):
            assert type(value) in kinds or kinds == {str}, f"{key}: {value!r} is none of {kinds}"


@pytest.mark.parametrize("bundle", BUNDLES, ids=short_name)
def test_licence_is_the_repository_s(bundle):
    assert (bundle / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


@pytest.mark.parametrize("bundle", BUNDLES, ids=short_name)
def test_metadata_names_the_pinned_versions(bundle):
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [re.match(r"([\w.-]+)==([^;\s]+)(?:; python_version >= .*)?$", line) for line in lines]
    pinned = {pin[1].lower(): pin[2] for pin in pins if pin}
    metadata = load(bundle / "configs" / "metadata.json")
    assert metadata["monai_version"] == pinned["monai"]
    assert metadata["pytorch_version"] == pinned["torch"]
    assert metadata["numpy_version"] == pinned["numpy"]
    for package, version in metadata["required_packages_version"].items():
        assert version == pinned[package.lower()], package
