# SPDX-License-Identifier: Apache-2.0
import hashlib
import re

import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import nn
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from medti_components.base_model.scene_dataset import WORDS, SceneWords
from medti_components.errors import BaseModelError, ConfigError
from medti_components.networks import pretrained_features
from medti_components.networks.feature_network import (
    EmbeddedFeatures,
    FeatureNetwork,
    feature_network,
    save_embedded_features,
)
from medti_components.networks.finding_classifier import FindingClassifier

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def pictures(n=3, size=64):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    """A random DINOv2 of two layers in the layout that the hub has."""
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 56, "width": 56}, image_mean=MEAN, image_std=STD
    ).save_pretrained(folder)
    return folder


class Scripted(nn.Module):
    """What the public file does with its argument, on means of channels."""

    def forward(self, pixels, return_features: bool = False):
        return pixels.float().mean((2, 3)) if return_features else pixels.float()


@pytest.fixture
def inception_file(tmp_path, monkeypatch):
    path = tmp_path / "inception.pt"
    torch.jit.script(Scripted()).save(str(path))
    monkeypatch.setattr(pretrained_features, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_embedded_needs_no_download_and_is_frozen():
    network = feature_network()
    found = network(pictures())
    assert (network.name, found.shape, found.dtype) == ("embedded", (3, 480), torch.float32)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network.fingerprint == feature_network("embedded").fingerprint


def test_embedded_averages_areas_of_larger_images():
    small = pictures()
    large = small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    network = feature_network()
    torch.testing.assert_close(network(large), network(small), rtol=1e-4, atol=1e-4)


def test_embedded_names_what_is_in_scenes_that_it_never_saw():
    network = EmbeddedFeatures.shipped()
    scenes = SceneWords(100, is_held_out=True, show_progress=False)
    with torch.no_grad():
        logits = network.classifier(torch.stack([scenes[index]["image"] for index in range(100)]))
    shown = scenes.labels.sum(dim=0) >= 5
    assert roc_auc_score(scenes.labels[:, shown], logits[:, shown]) > 0.7


def test_embedded_features_have_unit_scale_on_scenes(tmp_path, monkeypatch):
    torch.manual_seed(0)
    scenes = SceneWords(40, image_size=64, show_progress=False)
    path = tmp_path / "embedded.safetensors"
    save_embedded_features(FindingClassifier(3, len(WORDS), (16, 32, 64, 128)), scenes, path)
    monkeypatch.setattr("medti_components.networks.feature_network.WEIGHTS", path)
    found = feature_network()(torch.stack([scenes[index]["image"] for index in range(40)]))
    assert found.mean(dim=0).abs().max() < 0.1
    assert (found.std(dim=0) - 1).abs().max() < 0.1


def test_embedded_weights_that_are_missing_or_others(tmp_path, monkeypatch):
    path = tmp_path / "embedded.safetensors"
    monkeypatch.setattr("medti_components.networks.feature_network.WEIGHTS", path)
    pattern = f"^the weights of the embedded features, '{path}', can't be loaded .*: install medti again, or set --feat"
    with pytest.raises(BaseModelError, match=pattern):
        feature_network()
    save_file({"centre": torch.zeros(3)}, path)
    with pytest.raises(BaseModelError, match=pattern):
        feature_network()


def test_fingerprint_tells_weights_apart():
    first, second = (FeatureNetwork("linear", nn.Linear(2, 2)) for _ in range(2))
    assert first.fingerprint != second.fingerprint
    second.network.load_state_dict(first.network.state_dict())
    assert FeatureNetwork("linear", second.network).fingerprint == first.fingerprint


@pytest.mark.parametrize("name", ["dinov2", "rad-dino"])
def test_transformer_gives_its_class_token(dinov2, name):
    network = feature_network(name, str(dinov2))
    images = pictures(size=56)
    scaled = ((images + 1) / 2 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(dinov2).eval()(scaled).last_hidden_state[:, 0]
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    assert network(pictures(size=32)).shape == (3, 24)


def test_transformer_without_a_crop_takes_its_size(dinov2, tmp_path):
    Dinov2Model.from_pretrained(dinov2).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 42}, do_center_crop=False).save_pretrained(tmp_path)
    assert feature_network("dinov2", str(tmp_path)).network.size == (42, 42)
    BitImageProcessor(size={"height": 28, "width": 42}, do_center_crop=False).save_pretrained(tmp_path)
    assert feature_network("dinov2", str(tmp_path)).network.size == (28, 42)


def test_inception_gets_whole_grey_levels(inception_file):
    found = feature_network("inception", str(inception_file))(
        torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, 8, 8)
    )
    assert found.tolist() == [[0.0] * 3, [128.0] * 3, [255.0] * 3]


def test_inception_is_downloaded_once_and_checked(inception_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(pretrained_features, "URL", inception_file.as_uri() + "")
    assert feature_network("inception")(pictures()).shape == (3, 3)
    assert (tmp_path / "hub" / "checkpoints" / "inception.pt").is_file()
    inception_file.unlink()
    assert feature_network("inception")(pictures()).shape == (3, 3)


def test_another_torchscript_file_is_not_loaded(tmp_path, monkeypatch):
    path = tmp_path / "other.pt"
    torch.jit.script(Scripted()).save(str(path))
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("loaded"))
    message = f"feature_weights '{path}' must be the public inception-2015-12-05.pt with SHA-256 f58cb9b6ec32..., got "
    with pytest.raises(BaseModelError, match="^" + re.escape(message) + ".*it was not loaded; .*--features embedded$"):
        feature_network("inception", str(path))


def test_missing_weights(tmp_path, monkeypatch):
    remedy = "use --features embedded$"
    with pytest.raises(BaseModelError, match=f"^feature_weights '{tmp_path}/no.pt' does not exist: .*{remedy}"):
        feature_network("inception", f"{tmp_path}/no.pt")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(pretrained_features, "URL", (tmp_path / "nowhere.pt").as_uri())
    with pytest.raises(BaseModelError, match=f"^the Inception network is not reachable at file:.*{remedy}"):
        feature_network("inception")
    with pytest.raises(BaseModelError, match=f"^feature_weights '{tmp_path}' lacks config.json, .*{remedy}"):
        feature_network("dinov2", str(tmp_path))


def test_hub_that_is_not_reachable(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("medti_components.networks.hub_folder.snapshot_download", unreachable)
    pattern = r"^feature_weights 'facebook/dinov2-small' is neither a folder nor reachable on the hub \(no network\): "
    with pytest.raises(BaseModelError, match=pattern):
        feature_network("dinov2")


def test_hub_models_are_pinned(monkeypatch, dinov2):
    asked = []

    def fetch(model, revision, **_):
        asked.append((model, len(revision or "")))
        return str(dinov2)

    monkeypatch.setattr("medti_components.networks.hub_folder.snapshot_download", fetch)
    for name in ("dinov2", "rad-dino"):
        feature_network(name)
    assert asked == [("facebook/dinov2-small", 40), ("microsoft/rad-dino", 40)]


def test_folder_that_holds_no_model(dinov2, tmp_path):
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((dinov2 / name).read_bytes()[:20])
    with pytest.raises(BaseModelError, match=f"^feature_weights '{tmp_path}' can't be loaded .*--features embedded$"):
        feature_network("dinov2", str(tmp_path))


def test_names_and_weights_must_fit():
    with pytest.raises(
        ConfigError, match="^features must be one of 'embedded', 'inception', 'dinov2', 'rad-dino', got"
    ):
        feature_network("vgg")
    with pytest.raises(ConfigError, match="^feature_weights must be null with features 'embedded', .* got 'a folder'"):
        feature_network("embedded", "a folder")
