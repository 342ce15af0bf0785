# SPDX-License-Identifier: Apache-2.0
import torch

from medti_components.networks.finding_classifier import FindingClassifier


def test_probability_is_the_share_of_class_one() -> None:
    torch.manual_seed(0)
    network, images = FindingClassifier().eval(), torch.randn(3, 3, 64, 64)
    logits = network(images)
    torch.testing.assert_close(network.probability(images), (logits[:, 1] - logits[:, 0]).sigmoid())


def test_logits_are_a_linear_reading_of_the_features() -> None:
    torch.manual_seed(0)
    network, images = FindingClassifier().eval(), torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(network.head(network.features(images)), network(images))


def test_an_image_is_judged_alike_whatever_its_batch_and_mode() -> None:
    torch.manual_seed(0)
    network, images = FindingClassifier(), torch.randn(4, 3, 32, 32)
    together = network.train()(images)
    alone = torch.cat([network.eval()(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_learns_a_bright_spot_within_a_few_steps() -> None:
    stream = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = FindingClassifier(channels=(8, 16))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    labels = torch.arange(32) % 2
    images = torch.randn(32, 3, 16, 16, generator=stream) * 0.1
    images[labels == 1, :, 6:10, 6:10] += 1
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert bool(((network.probability(images) > 0.5) == (labels == 1)).all())


def test_training_survives_maps_without_any_variance() -> None:
    network = FindingClassifier(channels=(8, 8))
    network(torch.zeros(2, 3, 16, 16)).sum().backward()
    assert all(
        bool(torch.isfinite(parameter.grad).all()) for parameter in network.parameters() if parameter.grad is not None
    )
