# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from torch.utils.data import DataLoader

from medti_components.data.classification.classifier_images import ClassifierBatches
from medti_components.errors import ConfigError

IMAGES = [{"image": torch.full((3, 4, 4), float(index)), "label": index % 2} for index in range(5)]


def batches(seed=0, transform=None, batch_size=4):
    return ClassifierBatches(IMAGES, transform or Compose([]), batch_size, 10, seed)


def noise():
    return Compose([RandFlipd("image", prob=0.5), RandGaussianNoised("image", prob=1.0)])


def test_every_image_comes_up_once_an_epoch() -> None:
    places = torch.cat([batches()[step]["image"][:, 0, 0, 0] for step in range(5)])
    for epoch in places.reshape(4, 5):
        assert sorted(epoch.tolist()) == [0, 1, 2, 3, 4]
    assert len({tuple(epoch.tolist()) for epoch in places.reshape(4, 5)}) > 1


def test_labels_go_with_their_images() -> None:
    batch = batches()[3]
    assert torch.equal(batch["label"], (batch["image"][:, 0, 0, 0] % 2).long())


def test_a_batch_is_a_function_of_seed_and_step_whatever_came_before() -> None:
    through = batches(transform=noise())
    for step in range(7):
        last = through[step]
    assert torch.equal(batches(transform=noise())[6]["image"], last["image"])
    assert not torch.equal(batches(seed=1, transform=noise())[6]["image"], last["image"])


def test_an_image_is_augmented_otherwise_each_time() -> None:
    images = batches(transform=noise(), batch_size=50)[0]["image"]
    assert len({image.sum().item() for image in images}) == 50


def test_workers_change_nothing() -> None:
    loaded = [
        [
            batch["image"]
            for batch in DataLoader(batches(transform=noise()), batch_size=None, sampler=range(3), num_workers=n)
        ]
        for n in (0, 2)
    ]
    assert all(torch.equal(first, second) for first, second in zip(*loaded, strict=True))


def test_empty_batches() -> None:
    with pytest.raises(ConfigError, match="^classifier_batch_size must be at least 1, got 0$"):
        batches(batch_size=0)
