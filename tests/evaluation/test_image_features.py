# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medti_components.errors import DataError, OutputError
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.networks.feature_network import FeatureNetwork


class Counting(nn.Module):
    """Means of the channels; counts the images that it sees."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.seen = []

    def forward(self, images):
        self.seen.append(len(images))
        return self.gain * images.mean((2, 3))


def pictures(n=7):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def features(network=None, **settings):
    return ImageFeatures(FeatureNetwork("counting", network or Counting()), show_progress=False, **settings)


def test_batches_change_nothing():
    network, images = Counting(), pictures()
    found = features(network, batch_size=3)(images)
    assert network.seen == [3, 3, 1]
    assert torch.equal(found, 2 * images.mean((2, 3)))
    assert found.dtype == torch.float32


def test_images_are_seen_once_whatever_their_order(tmp_path):
    images = pictures()
    features(cache_dir=tmp_path)(images[:5])
    network = Counting()
    found = features(network, cache_dir=tmp_path)(images.flip(0))
    assert sum(network.seen) == 2
    assert torch.allclose(found, 2 * images.flip(0).mean((2, 3)))
    (path,) = tmp_path.iterdir()
    assert load_file(path)["features"].shape == (7, 3)


def test_same_image_twice_is_computed_once():
    network = Counting()
    assert len(features(network)(pictures(1).expand(4, -1, -1, -1))) == 4
    assert network.seen == [1]


def test_other_weights_have_another_file(tmp_path):
    other = Counting()
    other.gain.data.fill_(3.0)
    images = pictures()
    first, second = (features(network, cache_dir=tmp_path)(images) for network in (Counting(), other))
    assert torch.allclose(second, 1.5 * first)
    assert len(list(tmp_path.iterdir())) == 2


def test_broken_file(tmp_path):
    own = features(cache_dir=tmp_path)
    own.path.write_bytes(b"no tensors")
    message = f"'{own.path}' is not a readable file of features: delete it"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        own(pictures())


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (4, 1, 8, 8), (3, 8, 8)])
def test_unfit_images(shape):
    message = f"images must have shape (n, 3, height, width) with n >= 1, got {shape}: give more images"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        features()(torch.zeros(shape))


def test_features_that_are_not_finite():
    message = "counting features must be finite: check the images and the network's weights"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        features()(pictures() * torch.nan)


def test_folder_that_can_t_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="^cache_dir '.*' is not writable"):
        features(cache_dir=tmp_path / "file" / "features")
