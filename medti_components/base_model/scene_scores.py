# SPDX-License-Identifier: Apache-2.0
"""How well the parts of the embedded base model do on scenes they were not trained on."""

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from monai.metrics import PSNRMetric
from torch import Tensor, nn

from medti_components.base_model.autoencoder import encode_exactly
from medti_components.base_model.caption_image_contrast import CaptionImageContrast
from medti_components.base_model.scene_dataset import SceneDataset
from medti_components.losses.denoising_loss import add_noise, denoising_target
from medti_components.transforms.eight_bit_picture import from_pixels


class ReconstructionScore:
    """Mean peak signal-to-noise ratio of held-out scenes through the autoencoder, in dB, image by image."""

    def __init__(self, scenes: SceneDataset, autoencoder: AutoencoderKL) -> None:
        self.scenes = scenes
        self.autoencoder = autoencoder

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return the score by its name."""
        metric = PSNRMetric(max_val=2.0)
        device = self.autoencoder.device
        for part in self.scenes.held_out_images.split(64):
            images = from_pixels(part).to(device)
            decoded = self.autoencoder.decode(self.autoencoder.encode(images).latent_dist.mean).sample.clamp(-1, 1)
            metric(decoded, images)
        return {"PSNR in dB": float(torch.as_tensor(metric.aggregate()).mean())}


class RetrievalScore:
    """Share of held-out captions whose nearest held-out image by cosine is their own."""

    def __init__(self, scenes: SceneDataset, contrast: CaptionImageContrast) -> None:
        self.scenes = scenes
        self.contrast = contrast

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return the score by its name."""
        device = self.contrast.log_scale.device
        images = torch.nn.functional.avg_pool2d(from_pixels(self.scenes.held_out_images), 2).to(device)
        logits = self.contrast(images, self.scenes.held_out_input_ids.to(device))
        hits = logits.argmax(dim=1) == torch.arange(len(logits), device=device)
        return {"retrieval": float(hits.float().mean())}


class DenoisingScore:
    """Mean squared error of the velocity of held-out scenes, with their captions and with another scene's.

    Noise is the same at each call, timesteps are the middles of equal parts of the schedule. The gap between the two
    says how far captions are followed.

    Args:
        scenes: whose held-out scenes are taken.
        autoencoder: encodes them.
        network: holds ``unet`` and ``text_encoder``, such as a moving average.
        alphas_cumprod: (T,) cumulative products of the noise schedule.
        num_timesteps: noise levels of each scene.
        num_scenes: how many of the held-out scenes.
    """

    def __init__(
        self,
        scenes: SceneDataset,
        autoencoder: AutoencoderKL,
        network: nn.ModuleDict,
        alphas_cumprod: Tensor,
        num_timesteps: int = 6,
        num_scenes: int = 96,
    ) -> None:
        self.scenes = scenes
        self.autoencoder = autoencoder
        self.network = network
        self.alphas_cumprod = alphas_cumprod
        self.num_scenes = num_scenes
        total = len(alphas_cumprod)
        self.timesteps = [(2 * part + 1) * total // (2 * num_timesteps) for part in range(num_timesteps)]

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return both errors by name."""
        images = self.scenes.held_out_images[: self.num_scenes]
        ids = self.scenes.held_out_input_ids[: self.num_scenes]
        latents = encode_exactly(self.autoencoder, from_pixels(images))
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents.device)
        own = self.network["text_encoder"](input_ids=ids).last_hidden_state
        errors: dict[str, list[float]] = {"loss": [], "loss with another caption": []}
        for timestep in self.timesteps:
            times = torch.full((len(latents),), timestep, device=latents.device)
            noisy = add_noise(latents, noise, times, self.alphas_cumprod)
            target = denoising_target(latents, noise, times, self.alphas_cumprod, "v_prediction")
            for name, condition in zip(errors, (own, own.roll(1, 0)), strict=True):
                parts = zip(noisy.split(64), times.split(64), condition.split(64), strict=True)
                predicted = torch.cat([self.network["unet"](*part).sample for part in parts])
                errors[name].append(float((predicted - target).square().mean()))
        return {name: sum(values) / len(values) for name, values in errors.items()}
