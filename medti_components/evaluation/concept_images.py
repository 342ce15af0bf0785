# SPDX-License-Identifier: Apache-2.0
"""The images of each concept of a set, and who they are of, as tensors to measure on."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from medti_components.errors import DataError
from medti_components.evaluation.evaluation import Images, items_of


@dataclass(frozen=True)
class ConceptImages:
    """Images of one concept: ``images`` float32 (n, 3, H, W) in [-1, 1], and the patient of each, or a name of its own.

    >>> item = {"image": torch.zeros(3, 2, 2), "concept": "<a>"}
    >>> found = ConceptImages.of([item, {**item, "concept": "<b>"}, item], "<a>", "generated")
    >>> tuple(found.images.shape), found.patients
    ((2, 3, 2, 2), (0, 2))
    """

    images: Tensor
    patients: tuple[Hashable, ...]

    @classmethod
    def of(cls, dataset: Images, concept: str, name: str) -> "ConceptImages":
        """Return those of ``concept`` in a set; ``name`` says which set it is, in messages.

        Raises:
            DataError: there is none, or they differ in size.
        """
        own = [(index, item) for index, item in enumerate(items_of(dataset)) if item.get("concept") == concept]
        sizes = sorted({tuple(item["image"].shape) for _, item in own})
        if len(sizes) != 1:
            found = "none" if not own else f"sizes {' and '.join(str(size) for size in sizes)}"
            raise DataError(f"{name} images of {concept} must be at least one and of one size, got {found}: add some")
        return cls(
            torch.stack([item["image"] for _, item in own]),
            tuple(item.get("patient_id", index) for index, item in own),
        )

    def __len__(self) -> int:
        return len(self.images)
