# SPDX-License-Identifier: Apache-2.0
"""How well the parts of the embedded base model do on scenes they were not trained on."""

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from monai.metrics import PSNRMetric

from medti_components.base_model.caption_image_contrast import CaptionImageContrast
from medti_components.base_model.scene_dataset import SceneDataset
from medti_components.transforms.eight_bit_picture import from_pixels


class ReconstructionScore:
    """Mean peak signal-to-noise ratio of held-out scenes through the autoencoder, in dB, image by image."""

    name = "PSNR in dB"

    def __init__(self, scenes: SceneDataset, autoencoder: AutoencoderKL) -> None:
        self.scenes = scenes
        self.autoencoder = autoencoder

    @torch.no_grad()
    def __call__(self) -> float:
        """Return the score."""
        metric = PSNRMetric(max_val=2.0)
        device = self.autoencoder.device
        for part in self.scenes.held_out_images.split(64):
            images = from_pixels(part).to(device)
            decoded = self.autoencoder.decode(self.autoencoder.encode(images).latent_dist.mean).sample.clamp(-1, 1)
            metric(decoded, images)
        return float(torch.as_tensor(metric.aggregate()).mean())


class RetrievalScore:
    """Share of held-out captions whose nearest held-out image by cosine is their own."""

    name = "retrieval"

    def __init__(self, scenes: SceneDataset, contrast: CaptionImageContrast) -> None:
        self.scenes = scenes
        self.contrast = contrast

    @torch.no_grad()
    def __call__(self) -> float:
        """Return the score."""
        device = self.contrast.log_scale.device
        images = torch.nn.functional.avg_pool2d(from_pixels(self.scenes.held_out_images), 2).to(device)
        logits = self.contrast(images, self.scenes.held_out_input_ids.to(device))
        return float((logits.argmax(dim=1) == torch.arange(len(logits), device=device)).float().mean())
