# SPDX-License-Identifier: Apache-2.0
"""Do lesions of generated prostate images show on ADC and on the high-b-value image at the same place?"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from medti_components.errors import ConfigError
from medti_components.evaluation.concept_images import ConceptImages
from medti_components.evaluation.evaluation_part import EvaluatedImages, PartResult, undetermined
from medti_components.evaluation.modality.lesion_spot_detector import LesionSpotDetector, Spots
from medti_components.metrics.exact_share import exact_share, share_difference
from medti_components.visualize.report_page import figures_table, picture, plot_png

_SEQUENCES = ("adc", "hbv")
_HEADING = "Do lesions show on ADC and high b-value at the same place?"
_WORDS = {
    "real": "held-out real images",
    "generated": "generated images",
    "difference": "generated less real",
}


class LesionConsistency:
    """Share of images with a spot that is dark on ADC and bright on HBV at the same place, generated against real.

    What counts as a spot is decided on the real images that the words were learned from, by
    :class:`LesionSpotDetector`; neither held-out nor generated images have a part in it.

    Args:
        sequences: what the image channels hold; 'adc' and 'hbv' must be among them.
        field_of_view_mm: width of the images.
        num_pictures: images of each kind on which the strongest spot is shown.

    Raises:
        ConfigError: a sequence is missing.
    """

    def __init__(self, sequences: Sequence[str], field_of_view_mm: float, num_pictures: int = 8) -> None:
        for sequence in _SEQUENCES:
            if sequence not in sequences:
                raise ConfigError(
                    f"sequences must hold 'adc' and 'hbv' for lesions to be found on both, got {list(sequences)}: "
                    'set --parts without "@modality"'
                )
        self.detector = LesionSpotDetector(
            field_of_view_mm, channels=(list(sequences).index("adc"), list(sequences).index("hbv"))
        )
        self.num_pictures = num_pictures

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure the first concept as negative and the second as positive.

        Raises:
            ConfigError: there are not two concepts.
            DataError: a set has no image of a concept.
        """
        if len(images.concepts) != 2:
            raise ConfigError(
                f"concepts must hold the negative and the positive concept, got {len(images.concepts)}: set --concepts"
            )
        if images.training is None:
            return undetermined("modality", _HEADING, "num_cases is 0, so that there are none to learn a spot from")
        negatives, positives = (
            ConceptImages.of(images.training, concept, "training").images for concept in images.concepts
        )
        detector = self.detector.calibrated(negatives, positives)
        found: dict[str, dict[str, Tensor]] = {concept: {} for concept in images.concepts}
        pictures = []
        for name, dataset in (("real", images.reference), ("generated", images.generated)):
            for concept in images.concepts:
                own = ConceptImages.of(dataset, concept, name).images
                spots = detector(own)
                found[concept][name] = spots.strengths >= detector.threshold
                if self.num_pictures:
                    caption = f"{concept}: {_WORDS[name]}, above ADC, below HBV; a spot is encircled"
                    pictures.append(picture(self._pictures_png(own, spots, found[concept][name]), caption))
        negative, positive = (found[concept] for concept in images.concepts)
        shares = {
            concept: {
                **{name: exact_share(float(seen.double().mean()), len(seen), "images") for name, seen in own.items()},
                "difference": share_difference(own["generated"], own["real"], ("generated", "real")),
            }
            for concept, own in found.items()
        }
        gaps = {name: share_difference(positive[name], negative[name], ("positive", "negative")) for name in positive}
        calibration = {
            "threshold": detector.threshold,
            "spread": dict(zip(_SEQUENCES, detector.spread, strict=True)),
            "n": {"negative": len(negatives), "positive": len(positives)},
        }
        figures = {"spots": shares, "positive_less_negative": gaps, "calibration": calibration}
        counted = [
            f"in {own['generated'].value:.0%} of the generated images of {concept} (real ones: {own['real'].value:.0%})"
            for concept, own in reversed(shares.items())
        ]
        summary = f"A spot that is dark on ADC and bright on HBV at the same place shows {' and '.join(counted)}."
        return PartResult("modality", figures, [*_tables(figures), *pictures], summary)

    def _pictures_png(self, images: Tensor, spots: Spots, seen: Tensor) -> bytes:
        """Show ADC above HBV of the first images, with a circle where there is a spot."""
        size = images.shape[-1]
        own = images[: self.num_pictures, list(self.detector.channels)]  # (n, 2, H, W)
        pixels = torch.cat(list(torch.cat(list(own.unbind(1)), dim=1)), dim=1)
        figure = Figure(figsize=(1.3 * len(own), 2.6))
        axes = figure.add_axes((0, 0, 1, 1), frameon=False)
        axes.imshow(pixels.numpy(), cmap="gray", vmin=-1, vmax=1)
        axes.set_axis_off()
        radius = 3 * self.detector.spot_mm * size / self.detector.field_of_view_mm
        for index in torch.nonzero(seen[: len(own)]).flatten().tolist():
            y, x = spots.places[index].tolist()
            for row in range(2):
                axes.add_patch(Circle((index * size + x, row * size + y), radius, fill=False, color="yellow"))
        return plot_png(figure)


def _tables(figures: Mapping[str, Any]) -> list[str]:
    calibration = figures["calibration"]
    parts = [
        f"<h2>{_HEADING}</h2>",
        "<p>A significant lesion restricts diffusion: it is dark on ADC and bright on the high-b-value image at one "
        "place. Counted are images with such a spot in the middle of the image, where the prostate lies. A word of "
        "lesions should show spots as often as real images with a lesion do, a word of none as seldom as those "
        "without.</p>",
        "<p>A place counts by the lesser of its two contrasts against its surroundings. From "
        f"{calibration['threshold']:.2f} standard deviations it is a spot: this separates best the real images that "
        f"the words were learned from, {calibration['n']['positive']} with a lesion and "
        f"{calibration['n']['negative']} without. Held-out and generated images had no part in it.</p>",
    ]
    for concept, own in figures["spots"].items():
        rows = [(_WORDS[name], figure) for name, figure in own.items()]
        parts += [f"<h3>{escape(concept)}</h3>", figures_table(rows, "share with a spot")]
    gaps = figures["positive_less_negative"]
    rows = [(_WORDS[name], figure) for name, figure in gaps.items()]
    return [*parts, "<h3>Share with a lesion less share without</h3>", figures_table(rows, "difference")]
