# SPDX-License-Identifier: Apache-2.0
"""What is copied or required of the components."""

import pytest

import medti_components
from medti_components.apps.bundle_package import component_copy
from medti_components.apps.bundle_package.component_copy import (
    copy_components,
    needed_sources,
    require_components,
    unchanged_copy,
)
from medti_components.errors import BundleError
from medti_components.networks.feature_network import WEIGHTS

CONFIG = '{"a": {"_target_": "medti_components.networks.concept_embedding.ConceptEmbedding.initialized"}}'


def test_what_a_component_imports_comes_with_it_and_nothing_else():
    sources = needed_sources([CONFIG])
    assert {"__init__.py", "networks/__init__.py", "networks/concept_embedding.py", "errors.py"} <= sources.keys()
    assert "random_streams.py" in sources  # imported by the word
    assert "apps/validate.py" not in sources


def test_expressions_count_as_well_as_targets():
    assert "errors.py" in needed_sources(['{"imports": ["$import medti_components.errors"]}'])


def test_name_of_the_copy_changes_with_its_sources(tmp_path, monkeypatch):
    names = []
    for number, config in enumerate([CONFIG, CONFIG, CONFIG.replace("networks.concept_embedding", "errors")]):
        folder = tmp_path / str(number)
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "train.json").write_text(config)
        names.append(copy_components(folder))
        assert f'"{names[-1]}.' in (folder / "configs" / "train.json").read_text()
    assert names[0] == names[1] != names[2]


def test_versions_of_the_metadata_are_kept_and_others_are_those_installed():
    metadata = {"required_packages_version": {"TQDM": "1.0", "zarr": "2.0"}}
    require_components(metadata, ['"medti_components.networks.base_model_folder.short_name"'], is_copied=True)
    pins = metadata["required_packages_version"]
    assert (pins["TQDM"], pins["zarr"]) == ("1.0", "2.0")
    assert {"diffusers", "safetensors", "transformers"} <= pins.keys()
    assert not {"torch", "tqdm", "pathlib"} & pins.keys()
    require_components(metadata, [CONFIG], is_copied=False)
    assert metadata["required_packages_version"]["medti"] == medti_components.__version__


def test_import_of_what_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(component_copy, "packages_distributions", lambda: {})
    with pytest.raises(BundleError, match="the components import '.*', which no installed package has: install it, so"):
        require_components({}, [CONFIG], is_copied=True)


def test_weights_that_a_network_comes_with_are_copied_beside_it(tmp_path):
    (tmp_path / "configs").mkdir()
    config = '{"network": {"_target_": "medti_components.networks.feature_network.EmbeddedFeatures.shipped"}}'
    (tmp_path / "configs" / "evaluate.json").write_text(config)
    copy = tmp_path / copy_components(tmp_path) / "networks" / "feature_network.safetensors"
    assert copy.read_bytes() == WEIGHTS.read_bytes()


def test_data_files_of_a_module_in_an_inner_room_come_with_it_and_count_for_the_name(tmp_path, monkeypatch):
    source = tmp_path / "medti_components"
    room = source / "visualize" / "pages"
    room.mkdir(parents=True)
    for folder in (source, room.parent, room):
        (folder / "__init__.py").write_text("")
    (room / "report.py").write_text("import json\n")
    (room / "others.html").write_text("of no module")
    monkeypatch.setattr(component_copy, "SOURCE", source)
    names = []
    for number, page in enumerate(["<p>", "<p>", "<b>"]):
        (room / "report.html").write_text(page)
        bundle = tmp_path / str(number)
        (bundle / "configs").mkdir(parents=True)
        (bundle / "configs" / "train.json").write_text('{"_target_": "medti_components.visualize.pages.report.f"}')
        names.append(copy_components(bundle))
        copied = bundle / names[-1] / "visualize" / "pages"
        assert {path.name for path in copied.iterdir()} == {"__init__.py", "report.py", "report.html"}
        assert (copied / "report.html").read_text() == page
        assert unchanged_copy(bundle) == names[-1]
    assert names[0] == names[1] != names[2]
    (copied / "report.html").write_text("<i>")
    with pytest.raises(BundleError, match="files in medti_components_.* were changed since they were packed"):
        unchanged_copy(bundle)
