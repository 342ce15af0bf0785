# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.errors import ConfigError
from medti_components.transforms.augmentation_level import augmentation_settings


def test_unknown_level_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="^augmentation_level must be one of none, light, got 'strong'$"):
        augmentation_settings({"noise": {"none": 0.0, "light": 0.1}}, "strong")
