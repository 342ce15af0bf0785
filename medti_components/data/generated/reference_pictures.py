# SPDX-License-Identifier: Apache-2.0
"""Real images from a folder of pictures, to hold generated ones against without the data set they are of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.data.generated.generated_folder import GeneratedFolder, is_generated, picture_files
from medti_components.data.prepared_images import PreparedImages
from medti_components.errors import DataError
from medti_components.transforms.eight_bit_picture import eight_bit_picture, from_pixels, scaled_picture


class ReferencePictures(Dataset[dict[str, Any]]):
    """PNG and JPEG files of a folder and the folders in it, or the images of a generating run.

    Items are ``{"image": float32 (3, image_size, image_size) in [-1, 1], "concept": token, "file": path}``. The concept
    is the one that a run's prompt names or that a file's path in the folder holds, as in
    ``prostate_mri_negative/7.png``; it is "" where that is none or several. All are read at once, so that a broken file
    is found before anything long begins. Larger pictures are scaled down by averaging areas.

    Args:
        reference_dir: the folder.
        concepts: the known concept tokens.
        image_size: height and width of the items, in pixels.
        preparing: turns an entry with the path ``image`` into one with the image, as training does; so pictures of any
            shape and size will do. None takes pictures as they are. The images of a generating run always are.

    Raises:
        DataError: the folder is missing or holds no picture, or one is unreadable or of other than 8 bits per channel;
            where pictures are taken as they are, also if one is too small, not square, or of another size than those
            before it.
    """

    def __init__(
        self,
        reference_dir: str | Path,
        concepts: Sequence[str],
        image_size: int,
        preparing: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        self.concepts = list(concepts)
        self.image_size = image_size
        self._size: tuple[int, int] | None = None
        root = Path(reference_dir)
        if is_generated(root):
            named = [(line.path, line.prompt) for line in GeneratedFolder(root, image_size, "reference_dir").lines]
        else:
            named = [(path, str(path.relative_to(root))) for path in picture_files(root, "reference_dir")]
        if preparing is None or is_generated(root):
            images = [self._pixels(path) for path, _ in named]
        else:
            case = {"concept": "", "label": 0, "patient_id": "", "study_id": ""}  # what training's entries have too
            entries = [{**case, "image": str(path)} for path, _ in named]
            images = [item["image"] for item in PreparedImages(entries, preparing, None, show_progress=False)]
        self._items = [
            (image, self._concept(name), str(path)) for image, (path, name) in zip(images, named, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, concept, file = self._items[index]
        return {"image": from_pixels(image) if image.dtype == torch.uint8 else image, "concept": concept, "file": file}

    def _concept(self, name: str) -> str:
        named = [concept for concept in self.concepts if concept.strip("<>") in name]
        return named[0] if len(named) == 1 else ""

    def _pixels(self, path: Path) -> Tensor:
        picture = eight_bit_picture(path, "write it again, or take it out")
        if self._size not in (None, picture.size):
            width, height = self._size or (0, 0)
            raise DataError(
                f"'{path}' must be {width}x{height} pixels like the pictures before it, got "
                f"{picture.width}x{picture.height} pixels: keep pictures of one size in --reference_dir"
            )
        self._size = picture.size
        return scaled_picture(picture, self.image_size, path)
