# SPDX-License-Identifier: Apache-2.0
"""Saves a folder of generated images as HDF5 files of Patch Camelyon's layout."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from PIL import Image

from medti_components.data.datasets.patch_camelyon import patch_labels
from medti_components.data.datasets.patch_camelyon_files import PATCH_SIZE, SUBFOLDER, PatchCamelyonFiles
from medti_components.data.generated.provenance import ProvenanceFile
from medti_components.errors import ConfigError
from medti_components.inferers.prompt_composition import ComposedPrompt, parse_prompt
from medti_components.transforms.eight_bit_picture import eight_bit_picture

OUTPUT_FORMATS = ("png", "pcam")


class PatchCamelyonSaver:
    """Writes ``pcam/camelyonpatch_level_2_split_train_{x,y}.h5`` of all images in the folder when a run ends.

    Images are resized to 96 pixels; labels are those of the concepts in their prompts. Patch i is of line i of
    ``provenance.jsonl``, so that several runs into one folder, one per word, make one set. With ``output_format``
    'png' it does nothing.

    Args:
        output_dir: the run's folder.
        output_format: 'png' or 'pcam'; with both, the PNGs are there.
        concepts: tokens that end in ``normal>`` or ``tumor>``.

    Raises:
        ConfigError: ``output_format`` is neither.
    """

    def __init__(self, output_dir: str | Path, output_format: str, concepts: Sequence[str]) -> None:
        if output_format not in OUTPUT_FORMATS:
            known = " or ".join(f"'{name}'" for name in OUTPUT_FORMATS)
            raise ConfigError(f"output_format must be {known}, got '{output_format}': correct --output_format")
        self.folder = Path(output_dir)
        self.is_wanted = output_format == "pcam"
        self.concepts = concepts

    def attach(self, engine: Engine) -> None:
        """Save at the end of a run."""
        engine.add_event_handler(Events.COMPLETED, self)

    def check(self, prompts: Iterable[ComposedPrompt]) -> None:
        """Check that every image will have a label, also those that are in the folder already.

        Raises:
            ConfigError: a prompt names no concept, or several.
            OutputError: what is in the folder can't be read.
        """
        if self.is_wanted:
            for prompt in [*prompts, *(parse_prompt(line["prompt"]) for line in self._lines())]:
                self._label(prompt)

    def check_unwanted(self, run_id: str) -> None:
        """Check that files of patches are not asked for where an image has no label.

        Raises:
            ConfigError: they are.
        """
        if self.is_wanted:
            raise ConfigError(
                f"output_format must be 'png' for {run_id}, whose images have no label, got 'pcam': "
                "leave --output_format out"
            )

    def __call__(self, engine: Any = None) -> None:
        """Write the files.

        Raises:
            DataError: an image is missing or unreadable.
            OutputError: a file can't be written.
        """
        del engine
        if self.is_wanted:
            lines = self._lines()
            files = PatchCamelyonFiles.of(self.folder / SUBFOLDER, "train")
            labels = [self._label(parse_prompt(line["prompt"])) for line in lines]
            files.write(labels, self._patches(lines), source="synthetic")

    def _lines(self) -> list[dict[str, Any]]:
        path = ProvenanceFile(self.folder).path
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def _patches(self, lines: Iterable[dict[str, Any]]) -> Iterator[np.ndarray]:
        for line in lines:
            path = self.folder / line["file"]
            picture = eight_bit_picture(path, "generate it again")
            yield np.asarray(picture.resize((PATCH_SIZE, PATCH_SIZE), Image.Resampling.BICUBIC))

    def _label(self, prompt: ComposedPrompt) -> int:
        asked = [label for concept, label in patch_labels(self.concepts).items() if prompt.asks_for(concept)]
        if len(asked) != 1:
            raise ConfigError(
                f"prompt must ask for exactly one of {', '.join(self.concepts)} where output_format is 'pcam', got "
                f"'{prompt.text}': generate such images into another --output_dir without --output_format"
            )
        return asked[0]
