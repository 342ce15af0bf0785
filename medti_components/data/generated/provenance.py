# SPDX-License-Identifier: Apache-2.0
"""Where a generated image comes from, as facts that let anyone make it again."""

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medti_components
from medti_components.errors import OutputError
from medti_components.files import write_text_atomically
from medti_components.inferers.prompt_composition import ComposedPrompt

if TYPE_CHECKING:
    from medti_components.inferers.prompt_inferer import PromptInferer
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

PROVENANCE_FILE = "provenance.jsonl"


def software_versions() -> dict[str, str]:
    """Return the versions of what results depend on.

    >>> sorted(software_versions())
    ['diffusers', 'medti', 'monai', 'torch', 'transformers']
    """
    versions = {"medti": medti_components.__version__}
    for name in ("torch", "diffusers", "transformers", "monai"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def image_provenance(
    model: "FrozenLatentDiffusion", inferer: "PromptInferer", prompt: ComposedPrompt, seed: int
) -> dict[str, Any]:
    """Return what made one image: prompt, seed, sampling settings, hashes of base model and learned words, versions."""
    used = {token: embedding for token, embedding in inferer.embeddings.items() if token in prompt.text}
    return {
        "synthetic": True,
        "prompt": prompt.text,
        "texts": [part.text for part in prompt.parts],
        "weights": list(prompt.weights),
        "absolute_weights": inferer.sampler.absolute_weights,
        "negative_prompt": inferer.negative_prompt.text,
        "seed": seed,
        "num_inference_steps": inferer.sampler.num_inference_steps,
        "scheduler": inferer.sampler.scheduler,
        "guidance_scale": inferer.sampler.guidance_scale,
        "guidance_interval": inferer.sampler.guidance_interval,
        "base_model": model.name,
        "base_model_sha256": model.fingerprint,
        "embedding_sha256": {token: embedding.sha256 for token, embedding in used.items()},
        "data_license": {token: embedding.metadata.get("data_license", "unknown") for token, embedding in used.items()},
        "dtype": str(model.dtype).removeprefix("torch."),
        "versions": software_versions(),
    }


class ProvenanceFile:
    """``provenance.jsonl`` of an output folder: one JSON object per line, one line per image, keyed by its ``file``.

    Lines of images that are generated again are replaced, others in the folder are kept. Each :meth:`add` writes the
    file again and renames it, so that it is whole whenever a run ends.

    Args:
        output_dir: the folder.

    Raises:
        OutputError: there is such a file already and it can't be read.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.path = Path(output_dir) / PROVENANCE_FILE
        self._lines: dict[str, str] = {}
        if self.path.is_file():
            try:
                for line in self.path.read_text(encoding="utf-8").splitlines():
                    self._lines[json.loads(line)["file"]] = line
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise OutputError(
                    f"'{self.path}' is of another kind or damaged: remove it or choose another folder by --output_dir"
                ) from error

    def add(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add one line per entry; each entry has a ``file`` relative to the folder.

        Raises:
            OutputError: the file can't be written.
        """
        for entry in entries:
            self._lines.pop(entry["file"], None)
            self._lines[entry["file"]] = json.dumps(entry, ensure_ascii=False)
        write_text_atomically(self.path, "".join(f"{line}\n" for line in self._lines.values()))
