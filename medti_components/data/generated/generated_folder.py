# SPDX-License-Identifier: Apache-2.0
"""The folder that a generating, interpolating or inpainting run left, and which pictures any folder holds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from medti_components.data.generated.provenance import PROVENANCE_FILE
from medti_components.errors import DataError, PromptError
from medti_components.inferers.prompt_composition import ComposedPrompt, PromptPart, parse_prompt
from medti_components.transforms.eight_bit_picture import eight_bit_picture, from_pixels, scaled_picture, size_in_pixels

CONDITIONS = (
    "guidance_scale",
    "num_inference_steps",
    "scheduler",
    "negative_prompt",
    "base_model",
    "base_model_sha256",
)


@dataclass(frozen=True)
class ProvenanceLine:
    """One line of a ``provenance.jsonl``: where it stands, and its JSON object, which has a prompt and a file."""

    source: Path
    number: int
    entry: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """What the image was asked for by."""
        return str(self.entry["prompt"])

    @property
    def path(self) -> Path:
        """The image."""
        return self.file("file")

    def file(self, key: str) -> Path:
        """Return a file that the line names relative to its folder."""
        return self.source.parent / str(self.entry[key])

    def parts(self) -> tuple[PromptPart, ...]:
        """Return the parts of the prompt.

        Raises:
            DataError: it can't be read.
        """
        return self.composed.parts

    def asks_for(self, concept: str) -> bool:
        """Tell whether a part of the prompt that has a positive weight names a concept.

        Raises:
            DataError: the prompt can't be read.
        """
        return self.composed.asks_for(concept)

    def fault(self, message: str) -> DataError:
        """Return the error of what is wrong with the line."""
        return DataError(f"'{self.source}' line {self.number}: {message}")

    @cached_property
    def composed(self) -> ComposedPrompt:
        """The prompt's parts, read once.

        Raises:
            DataError: it can't be read.
        """
        try:
            return parse_prompt(self.prompt)
        except PromptError as error:
            raise self.fault(f"prompt '{self.prompt}' can't be read, {error.message}: generate the image again") from (
                error
            )


class GeneratedFolder:
    """The lines of ``provenance.jsonl`` in a folder or, where it has none, in each of the folders in it.

    Args:
        folder: the ``output_dir`` of a run, or a folder of several runs' ones.
        image_size: height and width of the images that :meth:`image` returns, in pixels.
        key: the config key that ``folder`` came from, for messages.
        run: what made it, for messages.
        size_key: the config key that ``image_size`` came from, for messages.

    Raises:
        DataError: there is no such file, it can't be read, or a line is torn.
    """

    def __init__(
        self,
        folder: str | Path | None,
        image_size: int,
        key: str = "generated_dir",
        run: str = "a generating run",
        size_key: str = "image_size",
    ) -> None:
        if folder is None:  # a config's null
            raise DataError(f"{key} must be the output_dir of {run}, got null: generate images first, or set --{key}")
        self.folder = Path(folder)
        self.image_size = image_size
        self.key = key
        self._size_key = size_key
        self._first_size: tuple[int, int] | None = None
        sources = [self.folder / PROVENANCE_FILE]
        if not sources[0].is_file():
            sources = sorted(self.folder.glob(f"*/{PROVENANCE_FILE}"))
        if not sources:
            raise DataError(
                f"{key} must be the output_dir of {run}, '{self.folder / PROVENANCE_FILE}' does not exist: "
                f"generate images first, or correct --{key}"
            )
        self.lines = [line for source in sources for line in _lines(source)]

    def check_not_empty(self) -> None:
        """Check that there is an image.

        Raises:
            DataError: there is none.
        """
        if not self.lines:
            raise DataError(
                f"{self.key} '{self.folder}' must hold at least one image, got none: generate some, or leave it out by "
                f"--{self.key} None"
            )

    def image(self, path: Path) -> Tensor:
        """Read an image, (3, image_size, image_size) in [-1, 1]; a larger one is scaled down by averaging areas.

        Raises:
            DataError: it is missing, unreadable, of other than 8 bits per channel, too small, not square, or of another
                size than those before it.
        """
        return from_pixels(self.pixels(path))

    def pixels(self, path: Path) -> Tensor:
        """Read an image as :meth:`image` does, but as uint8 (3, image_size, image_size)."""
        return self._scaled_pixels(eight_bit_picture(path, "generate it again"), path)

    def scaled(self, picture: Image.Image, path: Path) -> Tensor:
        """Return an RGB picture as :meth:`image` does; ``path`` is where it comes from.

        Raises:
            DataError: it is too small, not square, or of another size than those before it.
        """
        return from_pixels(self._scaled_pixels(picture, path))

    def _scaled_pixels(self, picture: Image.Image, path: Path) -> Tensor:
        if self._first_size is None:
            self._first_size = picture.size
        if picture.size != self._first_size:
            raise DataError(
                f"'{path}' must be {size_in_pixels(self._first_size)} like the images before it, "
                f"got {size_in_pixels(picture.size)}: "
                f"keep images of one size in --{self.key}"
            )
        return scaled_picture(picture, self.image_size, path, self._size_key)


def sampling_conditions(lines: Sequence[ProvenanceLine]) -> dict[str, Any]:
    """Return what images were made with: each value that occurs, and the first and last seed.

    >>> entries = [{"seed": 4, "guidance_scale": 2.0}, {"seed": 9, "guidance_scale": 2.0}]
    >>> sampling_conditions([ProvenanceLine(Path(PROVENANCE_FILE), 1, entry) for entry in entries])
    {'guidance_scale': [2.0], 'seeds': [4, 9]}
    """
    entries = [line.entry for line in lines]
    found = {name: sorted({entry[name] for entry in entries if name in entry}, key=str) for name in CONDITIONS}
    seeds = [entry["seed"] for entry in entries if "seed" in entry]
    return {name: values for name, values in found.items() if values} | (
        {"seeds": [min(seeds), max(seeds)]} if seeds else {}
    )


def _lines(source: Path) -> list[ProvenanceLine]:
    lines = []
    try:
        content = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{source}' is not a readable text file: generate the images again") from error
    for number, text in enumerate(content.splitlines(), start=1):
        try:
            entry = json.loads(text)
            is_whole = "prompt" in entry and isinstance(entry["file"], str)
        except (json.JSONDecodeError, KeyError, TypeError):
            is_whole = False
        if not is_whole:
            raise DataError(
                f"'{source}' line {number} must be a JSON object with 'prompt' and 'file': generate the images again"
            )
        lines.append(ProvenanceLine(source, number, entry))
    return lines


ENDINGS = (".png", ".jpg", ".jpeg")


def picture_files(folder: str | Path, key: str) -> list[Path]:
    """Return the PNG and JPEG files in ``folder`` and the folders in it, sorted; hidden ones are left out.

    Raises:
        DataError: the folder does not exist or holds none; ``key`` is where it came from.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{key} '{root}' is no folder: correct --{key}")
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in ENDINGS and path.is_file()]
    shown = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not shown:
        raise DataError(f"{key} '{root}' holds no PNG or JPEG: correct --{key}")
    return shown


def is_generated(folder: str | Path) -> bool:
    """Tell whether ``folder`` is the ``output_dir`` of a generating run, or holds such folders."""
    root = Path(folder)
    return (root / PROVENANCE_FILE).is_file() or any(root.glob(f"*/{PROVENANCE_FILE}"))


def generated_files(folder: str | Path, concept: str = "", key: str = "generated_dir") -> list[Path]:
    """Return the images of a generating run, or all pictures of a folder of another origin.

    Args:
        folder: a run's ``output_dir``, a folder of several runs' ones, or any folder of pictures.
        concept: a token; those images alone whose prompt asks for it. Needs a run's ``provenance.jsonl``.
        key: where ``folder`` came from, for messages.

    Raises:
        DataError: there is none, or nothing says what the pictures were generated from.
    """
    if not is_generated(folder):
        if concept:
            raise DataError(
                f"{key} '{folder}' has no {PROVENANCE_FILE} that says which images are of {concept}: leave out "
                "--concept, or give the output_dir of a generating run"
            )
        return picture_files(folder, key)
    lines = GeneratedFolder(folder, image_size=0, key=key).lines
    paths = [line.path for line in lines if not concept or line.asks_for(concept)]
    if not paths:
        raise DataError(f"{key} '{folder}' holds no image{f' of {concept}' if concept else ''}: generate some")
    return paths
