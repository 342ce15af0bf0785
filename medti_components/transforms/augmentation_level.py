# SPDX-License-Identifier: Apache-2.0
"""How strongly a classifier's training images are changed: one name for all settings of the augmentation."""

from collections.abc import Mapping

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
