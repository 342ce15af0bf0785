# SPDX-License-Identifier: Apache-2.0
"""A section that a config takes from another: of the same bundle, or of a bundle beside it.

MONAI's macros (``"%file::key"``) look for the file from where the command is started, so that they do not serve here.
Packaging writes the section itself in the place of such a component: a packaged bundle stands alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medti_components.errors import ConfigError


def sibling_section(
    config: str | Mapping[str, str], key: str, values: Mapping[str, Any], choice: str | None = None
) -> Any:
    """Return what a section of another config stands for.

    In ``evaluate.json``::

        "preprocessing": {
            "_target_": "medti_components.bundle.sibling_section.sibling_section",
            "config": "$@bundle_root + '/configs/train.json'",
            "key": "preprocessing",
            "values": {"image_size": "@image_size"}
        }

    Args:
        config: path of the other config, or several paths by name.
        key: its top-level key.
        values: what the references of the section stand for; those that are not here are taken from the other config.
        choice: which of several paths.

    Raises:
        ConfigError: the file can't be read, or does not have the key; ``choice`` is no name.
    """
    path = Path(config if isinstance(config, str) else chosen_section(config, choice))
    other = read_config(path, key)
    return ConfigParser({**other, **values}).get_parsed_content(key)


def chosen_section(sections: Mapping[str, Any], choice: str | None) -> Any:
    """Return one of several sections.

    Raises:
        ConfigError: there is none of that name.

    >>> chosen_section({"mri": 1, "xray": 2}, "xray")
    2
    >>> chosen_section({"mri": 1, "xray": 2}, "ct")
    Traceback (most recent call last):
    ...
    medti_components.errors.ConfigError: choice must be one of mri, xray, got 'ct': correct the config
    """
    if choice is None or choice not in sections:
        raise ConfigError(f"choice must be one of {', '.join(sections)}, got '{choice}': correct the config")
    return sections[choice]


def read_config(path: Path, key: str) -> dict[str, Any]:
    """Return the content of a config that has a key.

    Raises:
        ConfigError: the file can't be read, or does not have the key.
    """
    try:
        content: dict[str, Any] = ConfigParser.load_config_file(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{path}' can't be read ({' '.join(str(error).split())}): keep the bundles side by side, or package them"
        ) from error
    if key not in content:
        raise ConfigError(f"'{path}' has no key '{key}': restore it")
    return content
