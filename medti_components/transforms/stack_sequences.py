# SPDX-License-Identifier: Apache-2.0
"""Three MRI sequences as the three channels of one image."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform

from medti_components.errors import ConfigError


class StackSequencesd(Transform):
    """Put the slices (1, 1, H, W) of three sequences into the channels of one image (3, H, W); one alone three times.

    Args:
        sequences: one key or three, in the order of the channels.
        name: key of the image.

    Raises:
        ConfigError: ``sequences`` has another length, or names a key that a study does not have.

    Example:
        >>> study = {"t2w": torch.zeros(1, 1, 4, 4), "adc": torch.ones(1, 1, 4, 4)}
        >>> StackSequencesd(["t2w", "adc", "t2w"])(study)["image"].mean(dim=(1, 2))
        tensor([0., 1., 0.])
        >>> StackSequencesd(["adc"])(study)["image"].mean(dim=(1, 2))
        tensor([1., 1., 1.])
    """

    def __init__(self, sequences: Sequence[str], name: str = "image") -> None:
        self.sequences = [sequences] if isinstance(sequences, str) else list(sequences)
        self.name = name
        if len(self.sequences) not in (1, 3):
            raise ConfigError(f"sequences must be one name or three, got {self.sequences}: set --sequences \"['t2w']\"")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        for key in self.sequences:
            if key not in data:
                raise ConfigError(f"sequences must be of 't2w', 'adc', 'hbv', got '{key}': correct --sequences")
        channels = [torch.as_tensor(data[key])[:, 0] for key in self.sequences]
        image = torch.cat(channels * (3 // len(channels)))
        return {**data, self.name: image}
