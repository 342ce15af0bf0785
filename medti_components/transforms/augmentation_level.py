# SPDX-License-Identifier: Apache-2.0
"""How strongly a classifier's training images are changed: one name for all settings of the augmentation."""

from collections.abc import Mapping

from medti_components.errors import ConfigError


def augmentation_settings(
    levels: Mapping[str, Mapping[str, float]], level: str, has_flips: bool = True
) -> dict[str, float]:
    """Return the settings of one level.

    Args:
        levels: settings by level and name.
        level: which level.
        has_flips: False sets the probability ``flip`` to 0, where left and right matter.

    Raises:
        ConfigError: there is no such level.

    >>> augmentation_settings({"light": {"flip": 0.2, "noise": 0.1}}, "light", has_flips=False)
    {'flip': 0.0, 'noise': 0.1}
    """
    if level not in levels:
        raise ConfigError(f"augmentation_level must be one of {', '.join(levels)}, got '{level}'")
    return {**levels[level], **({} if has_flips else {"flip": 0.0})}
