# SPDX-License-Identifier: Apache-2.0
"""What holds for every config in this repository, beside what ``validate`` asks of any bundle."""

import doctest
import json
import re

import pytest
from configs_of_bundles import BUNDLES, CONFIGS, OVERLAYS, REPOSITORY, load, short_name
from monai.bundle import ConfigParser

from configs import write_configs


@pytest.mark.parametrize(("path", "text"), write_configs.written_configs().items(), ids=str)
def test_config_is_what_its_graph_and_data_part_give(path, text):
    assert path.read_text(encoding="utf-8") == text, "run 'make configs'; edit configs/textual_inversion, not this file"


@pytest.mark.parametrize("path", write_configs.hand_written_configs(), ids=short_name)
def test_config_written_by_hand_is_laid_out_as_the_others(path):
    assert path.read_text(encoding="utf-8") == write_configs.formatted(load(path)), "run 'make configs'"


def test_examples_of_the_writer():
    assert doctest.testmod(write_configs).failed == 0


@pytest.mark.parametrize(("file", "content"), [("train", {"seed": "%data::seed"}), ("chest_xray", {"seed": 0})])
def test_name_that_a_graph_or_a_data_part_alone_has(file, content, tmp_path):
    for name in (*write_configs.GRAPHS, *write_configs.DATA_PARTS):
        (tmp_path / f"{name}.json").write_text(json.dumps(content if name == file else {}))
    with pytest.raises(ValueError, match=r"must both have each name, got one of \['seed'\] alone"):
        write_configs.written_configs(tmp_path)


@pytest.mark.parametrize("path", CONFIGS, ids=short_name)
def test_default_run_is_a_run_id_with_what_overlays_make_of_it(path):
    config = load(path)
    parser = ConfigParser({**config, config["run"].removeprefix("%"): ["$1", "$2"]})
    parser.parse()
    assert parser["run"] == ["$1", "$2"]


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
    # the oldest Python that the model zoo runs
    pins = [re.match(r"([\w.-]+)==([^;\s]+)(?:; python_version < .*)?$", line) for line in lines]
    pinned = {pin[1].lower(): pin[2] for pin in pins if pin}
    metadata = load(bundle / "configs" / "metadata.json")
    assert metadata["monai_version"] == pinned["monai"]
    assert metadata["pytorch_version"] == pinned["torch"]
    assert metadata["numpy_version"] == pinned["numpy"]
    for package, version in metadata["required_packages_version"].items():
        assert version == pinned[package.lower()], package
