# SPDX-License-Identifier: Apache-2.0
import torch

from medti_components.transforms.local_contrast import local_contrast

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_brightness_drops_out():
    torch.testing.assert_close(local_contrast(IMAGES + 0.5, 4.0), local_contrast(IMAGES, 4.0), atol=1e-4, rtol=0)


def test_strong_contrast_drops_out():
    strong, stronger = (local_contrast(IMAGES * gain, 4.0) for gain in (100, 1000))
    torch.testing.assert_close(strong, stronger, atol=0.02, rtol=0)


def test_a_flat_area_stays_flat_beside_a_busy_one():
    image = torch.zeros(1, 1, 32, 32)
    image[..., 24:] = IMAGES[0, 0, :, 24:]
    found = local_contrast(image, 2.0)
    assert float(found[..., :8].abs().max()) < 1e-6
    assert float(found[..., 28:].abs().max()) > 0.5
