# SPDX-License-Identifier: Apache-2.0
"""What holds for every config in the repository, without running it."""

import inspect
import re
from pydoc import locate

import pytest
from configs_of_bundles import BUNDLES, CONFIGS, OVERLAYS, REPOSITORY, entries, load, short_name
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ReferenceResolver

from medti_components.apps.config_keys import check_overlay

RUN_IDS = {"train": {"training"}, "inference": {"generating", "classifying"}, "evaluate": {"evaluating"}}
LOCATOR = ComponentLocator()


def located(target):
    if "." in target:
        return locate(target)
    module = LOCATOR.get_component_module_name(target)
    return locate(f"{module}.{target}") if isinstance(module, str) else None


@pytest.mark.parametrize("path", CONFIGS, ids=short_name)
def test_targets_exist_and_take_their_arguments(path):
    for name, value in entries(load(path)):
        if not isinstance(value, dict) or "_target_" not in value or value["_target_"].startswith("$"):
            continue
        function = located(value["_target_"])
        assert callable(function), f"{name}: '{value['_target_']}' can't be imported"
        arguments = value.keys() - ConfigComponent.non_arg_keys
        parameters = inspect.signature(function).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            assert arguments <= parameters.keys(), f"{name}: '{value['_target_']}' takes no {arguments - {*parameters}}"
        if value.get("_mode_", "default") == "default":
            inspect.signature(function).bind(**dict.fromkeys(arguments))


@pytest.mark.parametrize("path", CONFIGS, ids=short_name)
def test_references_resolve(path):
    parser = ConfigParser(load(path))
    for name, value in entries(parser.get()):
        if isinstance(value, str) and not name.endswith("_desc_"):
            for reference in ReferenceResolver.match_refs_pattern(value):
                assert reference in parser, f"{name}: '@{reference}' is not in the config"


@pytest.mark.parametrize("path", CONFIGS, ids=short_name)
def test_config_has_its_run_ids_and_is_initialized_first(path):
    config = load(path)
    assert config["initialize"][0] == {"_target_": "medti_components.apps.bundle_run.initialize"}
    assert isinstance(config["run"], list)
    if path.stem in RUN_IDS:
        (run_id,) = RUN_IDS[path.stem] & config.keys()
        assert isinstance(config[run_id], list)


@pytest.mark.parametrize("path", [*CONFIGS, *OVERLAYS], ids=short_name)
def test_no_absolute_path(path):
    for name, value in entries(load(path)):
        if isinstance(value, str):
            assert not re.match(r"/|~|[A-Za-z]:[\\/]", value), f"{name}: absolute path '{value}'"
            assert not re.search(r"/(home|root|work|mnt|data|Users)/", value), f"{name}: absolute path in '{value}'"


@pytest.mark.parametrize("path", [*CONFIGS, *OVERLAYS], ids=short_name)
def test_nested_keys_are_separated_by_colons(path):
    for name, value in entries(load(path)):
        assert "#" not in name
        assert not isinstance(value, str) or "#" not in value, f"{name}: MONAI would turn '#' into '::'"


@pytest.mark.parametrize("path", OVERLAYS, ids=short_name)
def test_overlay_keys_exist_in_a_config(path):
    overlay = load(path)
    configs = {short_name(config): load(config) for config in CONFIGS}
    check_overlay(path.name, overlay, configs)


@pytest.mark.parametrize("path", OVERLAYS, ids=short_name)
def test_overlay_values_are_of_the_config_s_kind(path):
    bases = [load(config) for config in CONFIGS]
    for key, value in load(path).items():
        kinds = {type(base[key]) for base in bases if key in base and base[key] is not None}
        is_expression = isinstance(value, str) and value.startswith(("$", "@"))
        if kinds and not is_expression and not key.startswith("_"):
            assert type(value) in kinds or kinds == {str}, f"{key}: {value!r} is none of {kinds}"


@pytest.mark.parametrize("bundle", BUNDLES, ids=short_name)
def test_bundle_is_complete(bundle):
    for name in ("LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt"):
        assert (bundle / name).is_file(), f"{name} is missing"
    assert (bundle / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


@pytest.mark.parametrize("bundle", BUNDLES, ids=short_name)
def test_metadata_has_what_monai_s_schema_asks_for(bundle):
    metadata = load(bundle / "configs" / "metadata.json")
    texts = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description")
    for key in (*texts, "authors", "copyright", "intended_use"):
        assert isinstance(metadata[key], str) and metadata[key], key
    assert metadata["version"] in metadata["changelog"]
    assert isinstance(metadata["supported_apps"], dict)
    formats = metadata["network_data_format"]
    for tensor in [*formats["inputs"].values(), *formats["outputs"].values()]:
        required = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"}
        assert isinstance(tensor, str) or required <= tensor.keys()


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
