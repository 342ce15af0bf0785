# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from safetensors.torch import save_file

from medti_components.errors import ConfigError, DataError
from medti_components.networks.image_classifier import (
    classifier_facts,
    load_classifier,
    new_classifier,
    save_classifier,
)
from medti_components.networks.pretrained_resnet import PretrainedResNet

SETTINGS = {"architecture": "small", "classifier_image_size": 64, "field_of_view_mm": 96.0, "concepts": ("<a>", "<b>")}
SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


def test_weights_are_a_function_of_the_seed_and_leave_the_global_stream_alone() -> None:
    torch.manual_seed(5)
    first = new_classifier("small", seed=1).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    again, other = (new_classifier("small", seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_unknown_architecture() -> None:
    with pytest.raises(ConfigError, match="^architecture must be one of resnet, small, got 'vgg'$"):
        new_classifier("vgg")


@pytest.mark.parametrize(
    "network", [new_classifier("small"), PretrainedResNet.of_config(SMALL)], ids=["small", "resnet"]
)
def test_what_is_saved_comes_back_as_it_was(tmp_path, network) -> None:
    save_classifier(tmp_path / "c.safetensors", network, SETTINGS, {"validation_auc": 0.75})
    loaded = load_classifier(tmp_path / "c.safetensors", SETTINGS)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), network.eval()(images))
    assert not loaded.training
    assert classifier_facts(tmp_path / "c.safetensors") == {"validation_auc": 0.75}


@pytest.mark.parametrize(
    ("key", "value", "before"),
    [("classifier_image_size", 196, "64"), ("architecture", "resnet", "'small'"), ("field_of_view_mm", 150.0, "96.0")],
)
def test_classifier_of_other_images_is_refused(tmp_path, key, value, before) -> None:
    save_classifier(tmp_path / "c.safetensors", new_classifier("small"), SETTINGS)
    with pytest.raises(
        ConfigError, match=f"^{key} is {value!r}, but the classifier '.*' was trained with {before}: set"
    ):
        load_classifier(tmp_path / "c.safetensors", {**SETTINGS, key: value})


def test_weights_of_another_network_are_refused(tmp_path) -> None:
    class Imposter(torch.nn.Linear):
        pass

    save_classifier(tmp_path / "c.safetensors", Imposter(2, 2), SETTINGS)
    with pytest.raises(
        DataError, match="^classifier '.*' holds the weights of another network: give the classifier.saf"
    ):
        load_classifier(tmp_path / "c.safetensors", SETTINGS)


def test_files_that_are_no_classifiers(tmp_path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(DataError, match="^classifier '.*' does not exist: give"):
        load_classifier(path, SETTINGS)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="^classifier '.*' is no whole safetensors file: give"):
        load_classifier(path, SETTINGS)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="^classifier '.*' does not say what it was trained on: give"):
        classifier_facts(path)
