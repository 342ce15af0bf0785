# SPDX-License-Identifier: Apache-2.0
import torch

from medti_components.evaluation.classified_images import classify_images
from medti_components.networks.finding_classifier import FindingClassifier


def test_images_keep_their_order_whatever_the_batch_size() -> None:
    torch.manual_seed(0)
    network = FindingClassifier(channels=(8, 8)).train()
    images = [{"image": torch.randn(3, 16, 16), "concept": f"<c{index % 2}>"} for index in range(7)]
    one, other = (classify_images(network, images, batch_size=size) for size in (2, 7))  # type: ignore[arg-type]
    assert one.concepts == [item["concept"] for item in images]
    assert one.features.shape == (7, 32)  # mean and deviation of 8 + 8 maps
    torch.testing.assert_close(one.features, other.features)
    torch.testing.assert_close(one.log_odds, other.log_odds)
    stacked = torch.stack([item["image"] for item in images])  # type: ignore[misc]
    torch.testing.assert_close(one.log_odds.sigmoid(), network.probability(stacked))
    torch.testing.assert_close(one.of("<c1>").features, one.features[1::2])
    assert network.training
    assert not one.features.requires_grad and not one.log_odds.requires_grad
