# SPDX-License-Identifier: Apache-2.0
"""A bundle's configs for use on their own: overlays merged, sections of other configs in place, weights beside them."""

import copy
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.contents import LARGE_BYTES
from medti_components.bundle.keys import check_overlay
from medti_components.bundle.run import configs_beside
from medti_components.bundle.sibling_section import chosen_section, read_config, sibling_section
from medti_components.errors import BaseModelError, ConfigError
from medti_components.networks.base_model_folder import locate_base_model, short_name

Configs = dict[str, dict[str, Any]]
SIBLING_SECTION = f"{sibling_section.__module__}.{sibling_section.__qualname__}"
CHOSEN_SECTION = f"{chosen_section.__module__}.{chosen_section.__qualname__}"
BASE_MODEL_PARTS = ("model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae")


def merged_configs(bundle: Bundle, overlays: Sequence[str | Path]) -> Configs:
    """Return the bundle's configs by name, each with those keys of the overlays that it has.

    A section that a config takes from another stands in its place.

    Raises:
        ConfigError: an overlay or another config can't be read, or none of the bundles' configs has a key.
    """
    configs = copy.deepcopy(bundle.configs)
    known = {**configs, **configs_beside(bundle.folder / "configs")}
    for overlay in map(Path, overlays):
        try:
            content = ConfigParser.load_config_file(overlay)
        except (OSError, ValueError) as error:
            raise ConfigError(f"overlay '{overlay}' can't be read ({error}): correct --overlays") from error
        check_overlay(overlay.name, content, known)
        for config in configs.values():
            parser = ConfigParser(config)
            for key, value in content.items():
                if key != "_desc_" and key.removeprefix("+") in parser:
                    merge_kv(parser, key, value)
    root = str(bundle.folder.resolve())
    return {name: with_sections_in_place(config, {**config, "bundle_root": root}) for name, config in configs.items()}


def with_sections_in_place(content: Any, config: Mapping[str, Any]) -> Any:
    """Return a part of a config with what each ``sibling_section`` in it stands for.

    Args:
        content: the part.
        config: the whole, with a path as ``bundle_root``.

    Raises:
        ConfigError: another config can't be read, or does not have the key.
    """
    if isinstance(content, list):
        return [with_sections_in_place(each, config) for each in content]
    if not isinstance(content, Mapping):
        return content
    if content.get("_target_") != SIBLING_SECTION:
        return {key: with_sections_in_place(each, config) for key, each in content.items()}
    paths = ConfigParser({**config, "_paths_": content["config"]}).get_parsed_content("_paths_")
    around = {key: content[key] for key in ("_disabled_",) if key in content}
    if isinstance(paths, str):
        return {**_section(paths, content, config), **around}
    sections = {name: _section(path, content, config) for name, path in paths.items()}
    return {"_target_": CHOSEN_SECTION, "sections": sections, "choice": content["choice"], **around}


def _section(path: str, component: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """Return a section of another config; its references are those of the component's ``values``."""
    section = read_config(Path(path), component["key"])[component["key"]]
    for name, value in component["values"].items():
        section = _replaced(section, re.compile(rf"@{name}(?![\w:])"), value)
    return with_sections_in_place(section, config)


def _replaced(content: Any, reference: re.Pattern[str], value: Any) -> Any:
    if isinstance(content, str):
        if reference.fullmatch(content):
            return value
        text = value if isinstance(value, str) and value.startswith("@") else repr(value)
        return reference.sub(lambda _: text, content)
    if isinstance(content, list):
        return [_replaced(each, reference, value) for each in content]
    return (
        {key: _replaced(each, reference, value) for key, each in content.items()}
        if isinstance(content, Mapping)
        else content
    )


def base_model_folder(bundle: Bundle, config: Mapping[str, Any]) -> Path | None:
    """Return the folder of the config's base model; None where it has none, or one from the hub.

    Raises:
        BaseModelError: a part of it is missing, or a file is so large that the model zoo takes it by address alone.
    """
    if "base_model" not in config:
        return None
    parser = ConfigParser({**config, "bundle_root": str(bundle.folder.resolve())})
    base_model = parser.get_parsed_content("base_model")
    if not Path(base_model).expanduser().is_dir():
        return None
    folder = locate_base_model(base_model)
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size >= LARGE_BYTES:
            raise BaseModelError(
                f"base_model '{short_name(base_model)}' must have files below 25 MB to be packed, got "
                f"{path.stat().st_size / 1e6:.0f} MB of '{path.name}': name its hub id in an overlay, by --overlays"
            )
    return folder


def base_model_sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a base model's image and latent, (channels, height, width), and of a row of its words."""
    unet, vae, text = (
        json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
        for part in ("unet", "vae", "text_encoder")
    )
    edge = unet["sample_size"]
    image = edge * 2 ** (len(vae["block_out_channels"]) - 1)
    return {
        "image": (vae["out_channels"], image, image),
        "latent": (unet["in_channels"], edge, edge),
        "row of a word": (text["hidden_size"],),
    }


def pack_base_model(source: Path, origin: Path, bundle_folder: Path, configs: Configs) -> str:
    """Copy a base model into the bundle, let all configs load it from there, and return where: ``models/<name>``.

    One that lies in ``models`` of the bundle's ``origin`` is there already.
    """
    is_own = source.resolve() == (origin / "models").resolve()
    place = "models" if is_own else f"models/{short_name(str(source)).replace(' ', '_')}"
    target = bundle_folder / place
    for part in BASE_MODEL_PARTS if not is_own else ():
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        elif (source / part).is_file():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / part, target / part)
    for config in configs.values():
        if "base_model" in config:
            config["base_model"] = f"$@bundle_root + '/{place}'"
    return place
