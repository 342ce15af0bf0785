# SPDX-License-Identifier: Apache-2.0
"""How a classifier's training images are changed: settings by level, and hiding one channel."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from medti_components.errors import ConfigError


def augmentation_settings(
    levels: Mapping[str, Mapping[str, float]], level: str, has_flips: bool = True
) -> dict[str, float]:
    """Return the settings of one level.

    Args:
        levels: values by the name of a setting and by level.
        level: which level.
        has_flips: False sets the probability ``flip`` to 0, where left and right matter.

    Raises:
        ConfigError: there is no such level.

    >>> augmentation_settings({"flip": {"light": 0.2}, "noise": {"light": 0.1}}, "light", has_flips=False)
    {'flip': 0.0, 'noise': 0.1}
    """
    for values in levels.values():
        if level not in values:
            raise ConfigError(f"augmentation_level must be one of {', '.join(values)}, got '{level}'")
    settings = {name: values[level] for name, values in levels.items()}
    return settings if has_flips else settings | {"flip": 0.0}


class RandChannelDropoutd(RandomizableTransform, MapTransform):
    """Set one channel of an image (C, H, W), drawn at random, to ``fill``; the same one in all ``keys``.

    MONAI has dropout of boxes (``RandCoarseDropout``), not of channels.

    Args:
        keys: the images.
        prob: probability that a channel is hidden.
        fill: the value it gets.

    Example:
        >>> dropout = RandChannelDropoutd("image", prob=1.0).set_random_state(0)
        >>> dropout({"image": torch.ones(3, 2, 2)})["image"].mean(dim=(1, 2)).sum()
        tensor(2.)
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.1, fill: float = 0.0) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.fill = fill
        self._place = 0.0

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandChannelDropoutd":
        """Set the random state, as of any random transform of MONAI."""
        super().set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw whether a channel is hidden, and which."""
        super().randomize(data)
        self._place = self.R.random_sample()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        changed = dict(data)
        self.randomize()
        if not self._do_transform:
            return changed
        for key in self.key_iterator(changed):
            image = torch.as_tensor(changed[key]).clone()
            image[int(self._place * len(image))] = self.fill
            changed[key] = image
        return changed
