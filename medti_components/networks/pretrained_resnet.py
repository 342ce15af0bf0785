# SPDX-License-Identifier: Apache-2.0
"""A ResNet of transformers, as pre-trained on photographs, with a new head for two classes of medical images."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.utils import logging as transformers_logging

from medti_components.errors import BaseModelError
from medti_components.networks.hub_folder import locate_files, one_line, without_loading_bar

FILES = ("config.json", "model.safetensors")
SETTINGS = (
    "num_channels",
    "embedding_size",
    "hidden_sizes",
    "depths",
    "layer_type",
    "hidden_act",
    "downsample_in_first_stage",
    "downsample_in_bottleneck",
)
OFFLINE_REMEDY = (
    "give a folder with config.json and model.safetensors by --pretrained_model, or lay configs/embedded.json over "
    "the config, which trains a small network from scratch"
)


class PretrainedResNet(nn.Module):
    """Features of a ResNet (He et al., CVPR 2016), pooled over the image, and a linear layer to logits.

    Images are brought from [-1, 1] to the mean and deviation of ImageNet, as the pre-training had them.

    Args:
        resnet: transformers' ResNet without a head.
        num_classes: logits.

    >>> resnet = ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"))
    >>> PretrainedResNet(resnet)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 2])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, resnet: ResNetModel, num_classes: int = 2) -> None:
        super().__init__()
        self.resnet = resnet
        self.head = nn.Linear(list(resnet.config.hidden_sizes or ())[-1], num_classes)
        for name, values in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_pretrained(
        cls, pretrained_model: str, revision: str | None = None, num_classes: int = 2
    ) -> "PretrainedResNet":
        """Load a ResNet from a folder in transformers' layout or from the Hugging Face hub; safetensors only.

        Args:
            pretrained_model: folder, or hub id like 'microsoft/resnet-18'.
            revision: commit of the hub repository to pin.
            num_classes: logits of the new head, which is drawn at random.

        Raises:
            BaseModelError: it is neither a folder nor reachable, or holds no ResNet of three channels.
        """
        if not isinstance(pretrained_model, str) or not pretrained_model:
            raise BaseModelError(
                f"pretrained_model must be a folder or hub id, got {pretrained_model!r}: {OFFLINE_REMEDY}"
            )
        folder = locate_files(pretrained_model, revision, "pretrained_model", OFFLINE_REMEDY, FILES)
        return cls(_loaded(folder), num_classes)

    @classmethod
    def of_config(cls, config: dict[str, Any], num_classes: int = 2) -> "PretrainedResNet":
        """Return one of random weights, of a ResNet's settings."""
        return cls(ResNetModel(ResNetConfig.from_dict(config)), num_classes)

    @property
    def config(self) -> dict[str, Any]:
        """What the ResNet is made of, as :meth:`of_config` takes it."""
        return {name: getattr(self.resnet.config, name) for name in SETTINGS}

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> logits (B, num_classes)."""
        pixels = ((images + 1) / 2 - self.mean) / self.std
        logits: Tensor = self.head(self.resnet(pixels).pooler_output.flatten(1))
        return logits


def _loaded(folder: Path) -> ResNetModel:
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # that the head for photographs is not used is no news
    try:
        config = ResNetConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != "resnet" or config.num_channels != 3:
            raise ValueError(f"it is a '{config.model_type}' of {config.num_channels} channels")
        with without_loading_bar():
            loaded: Any = ResNetModel.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
        resnet: ResNetModel = loaded[0]
        if missing := sorted(loaded[1]["missing_keys"]):
            raise ValueError(f"it lacks {missing[0]}")
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise BaseModelError(
            f"pretrained_model '{folder}' can't be loaded as a ResNet ({one_line(error)}): {OFFLINE_REMEDY}"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    return resnet
