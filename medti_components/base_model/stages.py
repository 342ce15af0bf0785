# SPDX-License-Identifier: Apache-2.0
"""The stages in which the embedded base model is trained: each is a trainer's ``iteration_update``, which does a step.

What a step draws is a function of the seed, the stage and the step, so that resuming needs the weights alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm
from transformers import CLIPTextModel

from medti_components.base_model.autoencoder import encode_exactly, fit_to_patches
from medti_components.base_model.scene_dataset import SceneDataset
from medti_components.engines.captured_step import CapturedStep
from medti_components.errors import ConfigError
from medti_components.losses.denoising_loss import add_noise, denoising_target
from medti_components.random_streams import random_stream
from medti_components.transforms.eight_bit_picture import from_pixels

MAX_GRADIENT_NORM = 1.0
ENCODING_BATCH = 500


def average_weights(network: nn.Module, decay: float = 0.999) -> AveragedModel:
    """Return an exponential moving average of ``network``; its decay is min(decay, (1 + n) / (10 + n)) at update n."""

    def average(averaged: Any, current: Any, num_averaged: Tensor | int) -> None:
        count = float(num_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + count) / (10 + count)))

    return AveragedModel(network, multi_avg_fn=average)


class TrainingStage(ABC):
    """What the stages share: a batch, a loss, one optimiser step.

    Args:
        scenes: images and captions.
        batch_size: scenes per step.
        seed: the run's seed.
        dtype: precision of the matrix products, "float32" or "bfloat16".
        capture: replay the step as one CUDA graph; only on a GPU, and only where every step is alike.
    """

    name = "stage"

    def __init__(
        self, scenes: SceneDataset, batch_size: int, seed: int = 0, dtype: str = "float32", capture: bool = False
    ) -> None:
        self.scenes = scenes
        self.batch_size = batch_size
        self.seed = seed
        self.dtype = getattr(torch, dtype)
        self.capture = capture
        self.step: Callable[[dict[str, Tensor]], Tensor] | None = None

    def __call__(self, engine: Any, batchdata: Any) -> dict[str, Tensor]:
        """Do step ``engine.state.iteration`` (from 1); return {"loss": scalar}."""
        device = torch.device(engine.state.device)
        stream = random_stream(self.seed, self.name, engine.state.iteration - 1, device=device)
        engine.network.train()
        if self.step is None:
            update = partial(self._update, engine)
            self.step = CapturedStep(update, engine.optimizer, device) if self.capture else update
        return {"loss": self.step(self.draw(engine, stream))}

    def _update(self, engine: Any, batch: dict[str, Tensor]) -> Tensor:
        engine.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(engine, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(engine.network.parameters(), MAX_GRADIENT_NORM)
        engine.optimizer.step()
        return loss.detach()

    @abstractmethod
    def draw(self, engine: Any, stream: torch.Generator) -> dict[str, Tensor]:
        """Draw one batch, on the device of ``stream``."""

    @abstractmethod
    def loss(self, engine: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return the scalar loss of what :meth:`draw` returned."""

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context for the network's forward pass."""
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32)


def mosaics(images: Tensor, shift: tuple[int, int]) -> Tensor:
    """Shrink images (4 n, 3, H, W) to half and lay four at a time side by side, (n, 3, H, W): detail twice as fine.

    The mosaic is rolled by ``shift`` (down, right): a seam that is always in the middle would be learned as part of
    every picture.

    >>> mosaics(torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 2), shift=(1, 0))
    tensor([[[[2., 3.],
              [0., 1.]]]])
    """
    small = nn.functional.avg_pool2d(images, 2)
    pairs = torch.cat([small[0::2], small[1::2]], dim=3)
    return torch.cat([pairs[0::2], pairs[1::2]], dim=2).roll(shift, dims=(2, 3))


def vary(images: Tensor, stream: torch.Generator) -> Tensor:
    """Make pictures of greater variety of (B, 3, H, W) in [-1, 1]: what a decoder meets later is no scene.

    A third are mosaics of four others at half size. In two of five the colour channels are mixed with the grey values
    of other pictures, as in loosely related maps. Some are mirrored, turned or inverted. Half get grain of up to 0.24,
    one or two pixels wide, alike in all channels or not.
    """
    count, size, device = len(images), images.shape[-1], images.device
    chance = torch.rand(5, count, 1, 1, 1, generator=stream, device=device)
    order = torch.randint(count, (4 * (count // 3),), generator=stream, device=device)
    down, right = torch.randint(size, (2,), generator=stream, device=device).tolist()
    images = torch.cat([mosaics(images[order], (down, right)), images[count // 3 :]])
    grey = images.mean(1)
    others = [grey[torch.randperm(count, generator=stream, device=device)] for _ in range(2)]
    related = torch.stack([grey, 0.6 * grey + 0.4 * others[0], 0.5 * grey + 0.5 * others[1]], 1)
    related = related[:, torch.randperm(3, generator=stream, device=device)]
    images = torch.where(chance[0] < 0.4, related, images)
    images = torch.where(chance[1] < 0.25, images.flip(2), images)
    images = torch.where(chance[1] > 0.75, images.transpose(2, 3), images)
    images = torch.where(chance[2] < 0.2, -images, images)
    grain = torch.randn(images.shape, generator=stream, device=device)
    coarse = torch.randn(count, 3, size // 2, size // 2, generator=stream, device=device)
    share, strength = torch.rand(2, count, 1, 1, 1, generator=stream, device=device)
    grain = share * grain + (1 - share) * 1.6 * nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    grain = torch.where(chance[3] < 0.5, grain[:, :1], grain)
    grainy = images + 0.24 * strength.square() * grain * (0.65 + 0.35 * images)
    return torch.where(chance[4] < 0.5, grainy, images).clamp(-1, 1)


class DecoderStage(TrainingStage):
    """Trains the decoder alone; ``network`` holds the decoder and the convolution before it.

    Latents stay as they are, so that whatever was learned on them stays valid. Whole pictures: on crops a decoder reads
    places from the padding at the edge, which whole ones do not give.

    Args:
        autoencoder: whose latents are final.
        averaged: moving average of the network, updated each step; single steps at a high rate are 1 to 3 dB worse.
        noise: standard deviation of what is added to the latents, for a denoiser is never exact.
    """

    name = "decoder"

    def __init__(
        self, *args: Any, autoencoder: AutoencoderKL, averaged: AveragedModel, noise: float = 0.02, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.autoencoder = autoencoder
        self.averaged = averaged
        self.noise = noise

    def __call__(self, engine: Any, batchdata: Any) -> dict[str, Tensor]:
        """Do one step and move the average."""
        engine.network.requires_grad_(True)  # frozen with the latents
        output = super().__call__(engine, batchdata)
        self.averaged.update_parameters(engine.network)
        return output

    def draw(self, engine: Any, stream: torch.Generator) -> dict[str, Tensor]:
        """Draw varied pictures and their noisy latents."""
        chosen = torch.randint(len(self.scenes), (self.batch_size,), generator=stream, device=stream.device)
        images = vary(from_pixels(self.scenes.images[chosen]), stream)
        latents = encode_exactly(self.autoencoder, images)
        noise = torch.randn(latents.shape, generator=stream, device=stream.device)
        return {"images": images, "latents": latents + self.noise * noise}

    def loss(self, engine: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of one batch."""
        with self.autocast(batch["latents"].device):
            reconstruction = self.autoencoder.decode(batch["latents"]).sample
        return engine.loss_function(reconstruction, batch["images"])


def take_average(network: nn.Module, averaged: AveragedModel) -> None:
    """Put the moving average in the place of the network's weights and freeze them."""
    network.load_state_dict(averaged.module.state_dict())
    network.requires_grad_(False)


class ContrastStage(TrainingStage):
    """Matches captions with images; ``network`` is a ``CaptionImageContrast``, ``loss_function`` a ``ContrastiveLoss``.

    Args:
        max_length: longer captions are left to the denoising stage; short ones cost half.
    """

    name = "text_encoder"

    def __init__(self, *args: Any, max_length: int = 40, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_length = max_length
        lengths = (self.scenes.input_ids != self.scenes.tokenizer.pad_token_id).sum(dim=1)
        self.short = (lengths <= max_length).nonzero()[:, 0]

    def draw(self, engine: Any, stream: torch.Generator) -> dict[str, Tensor]:
        """Draw pairs of a picture at half size and its caption."""
        device = stream.device
        chosen = torch.randint(len(self.short), (self.batch_size,), generator=stream, device=device)
        chosen = self.short.to(device)[chosen]
        images = nn.functional.avg_pool2d(from_pixels(self.scenes.images[chosen]), 2)
        return {"images": images, "input_ids": self.scenes.input_ids[chosen, : self.max_length]}

    def loss(self, engine: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of one batch of pairs."""
        with self.autocast(batch["images"].device):
            logits = engine.network(batch["images"], batch["input_ids"])
        return engine.loss_function(logits.float())


class DenoiserStage(TrainingStage):
    """Predicts the velocity; ``network`` holds ``unet`` and ``text_encoder``, ``loss_function`` is a ``DenoisingLoss``.

    Timesteps are stratified over the batch, with more of them at high noise, where the layout of an image is decided.
    There the error of a predicted noise says next to nothing about colours and layout; that of a velocity says all.

    Args:
        autoencoder: trained, with latents of unit scale; used once, for all scenes.
        alphas_cumprod: (T,) cumulative products of the noise schedule.
        averaged: moving average of the network, updated each step.
        joint_steps: steps in which the text encoder is trained too; then its average is kept and its outputs are
            cached.
        caption_dropout: share of captions replaced by the empty one, for guidance.
        caption_lengths: pairs in order: the longest caption drawn, in tokens with start and end, and the last step
            of this limit. Afterwards all captions are drawn. Scenes of few objects come first: the place of one
            object is then a larger share of the loss.
    """

    name = "denoiser"

    def __init__(
        self,
        *args: Any,
        autoencoder: AutoencoderKL,
        alphas_cumprod: Tensor,
        averaged: AveragedModel,
        joint_steps: int,
        caption_dropout: float = 0.1,
        caption_lengths: Sequence[Sequence[int]] = (),
        show_progress: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.autoencoder = autoencoder
        self.alphas_cumprod = alphas_cumprod
        self.averaged = averaged
        self.joint_steps = joint_steps
        self.caption_dropout = caption_dropout
        self.curriculum: list[tuple[int | None, Tensor]] = []
        lengths = (self.scenes.input_ids != self.scenes.tokenizer.pad_token_id).sum(dim=1)
        for longest, until_step in caption_lengths:
            chosen = (lengths <= longest).nonzero()[:, 0]
            if not len(chosen):
                raise ConfigError(
                    f"no scene has a caption of {longest} tokens or fewer: raise num_scenes, or set caption_lengths []"
                )
            self.curriculum.append((until_step, chosen))
        self.curriculum.append((None, torch.arange(len(lengths))))
        self.show_progress = show_progress
        self.latents = torch.empty(0)
        self.conditions = torch.empty(0)
        self.empty_condition = torch.empty(0)

    def __call__(self, engine: Any, batchdata: Any) -> dict[str, Tensor]:
        """Do one step and move the average."""
        if not len(self.latents):
            self._encode_scenes()
        if not len(self.conditions) and engine.state.iteration > self.joint_steps:
            self.step = None  # another step from here on
            self._freeze_text_encoder(engine.network["text_encoder"])
        output = super().__call__(engine, batchdata)
        self.averaged.update_parameters(engine.network)
        return output

    def draw(self, engine: Any, stream: torch.Generator) -> dict[str, Tensor]:
        """Draw noisy latents, the velocities to predict, and captions or their encodings."""
        device, count, num_timesteps = stream.device, self.batch_size, len(self.alphas_cumprod)
        step = engine.state.iteration
        among = next(scenes for until_step, scenes in self.curriculum if until_step is None or step <= until_step)
        chosen = torch.randint(len(among), (count,), generator=stream, device=device)
        chosen = among.to(device)[chosen]
        latents = self.latents[chosen].float()
        noise = torch.randn(latents.shape, generator=stream, device=device)
        position = (torch.arange(count, device=device) + torch.rand(count, generator=stream, device=device)) / count
        timesteps = (position.pow(0.85) * num_timesteps).long().clamp(max=num_timesteps - 1)
        alphas = self.alphas_cumprod.to(device)
        batch = {
            "noisy": add_noise(latents, noise, timesteps, alphas),
            "target": denoising_target(latents, noise, timesteps, alphas, "v_prediction"),
            "timesteps": timesteps,
        }
        is_dropped = torch.rand(count, generator=stream, device=device) < self.caption_dropout
        if len(self.conditions):
            kept = self.conditions[chosen].float()
            batch["condition"] = torch.where(is_dropped[:, None, None], self.empty_condition, kept)
        else:
            batch["input_ids"] = torch.where(is_dropped[:, None], self.scenes.empty_ids, self.scenes.input_ids[chosen])
        return batch

    def loss(self, engine: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of one batch."""
        with self.autocast(batch["noisy"].device):
            condition = batch.get("condition")
            if condition is None:
                condition = engine.network["text_encoder"](input_ids=batch["input_ids"]).last_hidden_state.float()
            predicted = engine.network["unet"](batch["noisy"], batch["timesteps"], condition).sample
        return engine.loss_function(predicted.float(), batch["target"])

    @torch.no_grad()
    def _encode_scenes(self) -> None:
        images = self.scenes.images.split(ENCODING_BATCH)
        bar = tqdm(images, desc="encoding scenes", disable=not self.show_progress)
        self.latents = torch.cat([encode_exactly(self.autoencoder, from_pixels(part)).half() for part in bar])

    @torch.no_grad()
    def _freeze_text_encoder(self, text_encoder: CLIPTextModel) -> None:
        """Put the average in the text encoder's place, for good, and encode every caption with it."""
        averaged: Any = self.averaged.module
        text_encoder.load_state_dict(averaged["text_encoder"].state_dict())
        text_encoder.requires_grad_(False)
        parts = []
        for ids in tqdm(self.scenes.input_ids.split(200), desc="encoding captions", disable=not self.show_progress):
            parts.append(text_encoder(input_ids=ids).last_hidden_state.bfloat16())
        self.conditions = torch.cat(parts)
        self.empty_condition = text_encoder(input_ids=self.scenes.empty_ids).last_hidden_state


def fit_autoencoder_to(scenes: SceneDataset, autoencoder: AutoencoderKL, num_scenes: int = 2000) -> None:
    """Let the encoder be the principal components of the patches of the first scenes; in place."""
    fit_to_patches(autoencoder, from_pixels(scenes.images[:num_scenes].cpu()))
