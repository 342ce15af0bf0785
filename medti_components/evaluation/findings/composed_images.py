# SPDX-License-Identifier: Apache-2.0
"""Generated images with the findings that their prompts asked for, one or several."""

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from medti_components.data.generated.generated_folder import GeneratedFolder, ProvenanceLine, sampling_conditions
from medti_components.errors import DataError
from medti_components.evaluation.findings.finding_concepts import FindingConcepts


class ComposedImages(Dataset[dict[str, Any]]):
    """All images of a generating run's ``output_dir``, with the findings whose words have a positive weight.

    Items are ``{"image": float32 (3, image_size, image_size) in [-1, 1], "concept": the findings in words, "label":
    float32 (findings,)}``. All are read at once; ``conditions`` says what they were made with.

    Args:
        composed_dir: folder with ``provenance.jsonl``, or a folder of such folders.
        findings: the words.
        image_size: height and width of the items, in pixels.
        key: the config key that ``composed_dir`` came from, for messages.

    Raises:
        DataError: the folder, the file or an image is missing or does not fit, there is no image, or a prompt names an
            unknown concept or asks for no finding.
    """

    def __init__(
        self, composed_dir: str | Path, findings: FindingConcepts, image_size: int, key: str = "composed_dir"
    ) -> None:
        folder = GeneratedFolder(composed_dir, image_size, key)
        folder.check_not_empty()
        self.conditions = sampling_conditions(folder.lines)
        labels = [asked_label(line, findings) for line in folder.lines]
        self._items = [
            {"image": folder.image(line.path), "concept": findings.named(label), "label": label}
            for line, label in zip(folder.lines, labels, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._items[index]


def asked_label(line: ProvenanceLine, findings: FindingConcepts) -> Tensor:
    """Return the label (findings,) of what a line's prompt asks for, at least one finding.

    Raises:
        DataError: the prompt names an unknown concept, or asks for no finding.
    """
    parts = line.parts()
    try:
        label = findings.label_of_parts(parts)
    except DataError as error:
        raise line.fault(str(error)) from error
    if not bool(label.any()):
        raise line.fault(
            f"prompt must ask for at least one of {', '.join(findings.positive)}, got '{line.prompt}': "
            "generate with findings, or set --concepts"
        )
    return label
