# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig, ResNetForImageClassification

from medti_components.errors import BaseModelError
from medti_components.networks.pretrained_resnet import PretrainedResNet

SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


@pytest.fixture
def folder(tmp_path):
    """A tiny ResNet with a head for photographs, in transformers' layout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ResNetForImageClassification(ResNetConfig(**SMALL, num_labels=7)).save_pretrained(tmp_path)
    return tmp_path


def test_features_are_those_of_the_folder_s_network(folder) -> None:
    network = PretrainedResNet.from_pretrained(str(folder)).eval()
    original = ResNetForImageClassification.from_pretrained(folder).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        expected = original.resnet((images - mean) / std).pooler_output.flatten(1)
        torch.testing.assert_close(network(images * 2 - 1), network.head(expected))
    assert network.head.out_features == 2


def test_one_of_the_same_settings_takes_the_weights(folder) -> None:
    network = PretrainedResNet.from_pretrained(str(folder))
    again = PretrainedResNet.of_config(json.loads(json.dumps(network.config)))
    again.load_state_dict(network.state_dict())
    assert not any(name.startswith(("mean", "std")) for name in network.state_dict())


def test_resnet_18_has_the_settings_of_the_published_one() -> None:
    config = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
    network = PretrainedResNet.of_config(config)
    assert sum(each.numel() for each in network.resnet.parameters()) == 11_176_512  # torchvision's, less its head


def test_folder_that_is_not_there() -> None:
    message = r"^pretrained_model 'no/such' is neither a folder nor reachable on the hub \(.*\): give .*embedded.json"
    with pytest.raises(BaseModelError, match=message):
        PretrainedResNet.from_pretrained("no/such")
    with pytest.raises(BaseModelError, match="^pretrained_model must be a folder or hub id, got ''"):
        PretrainedResNet.from_pretrained("")


def test_folder_without_weights(folder) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match="^pretrained_model '.*' lacks model.safetensors: "):
        PretrainedResNet.from_pretrained(str(folder))


def test_weights_that_lack_a_tensor(folder) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("convolution.weight"))
    save_file(
        {key: value for key, value in tensors.items() if key != name}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(BaseModelError, match=r"can't be loaded as a ResNet \(it lacks "):
        PretrainedResNet.from_pretrained(str(folder))


def test_damaged_weights(folder) -> None:
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(BaseModelError, match=r"can't be loaded as a ResNet \("):
        PretrainedResNet.from_pretrained(str(folder))


@pytest.mark.parametrize("change", [{"model_type": "vit"}, {"num_channels": 1}])
def test_network_of_another_kind(folder, change) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BaseModelError, match=r"can't be loaded as a ResNet \("):
        PretrainedResNet.from_pretrained(str(folder))
