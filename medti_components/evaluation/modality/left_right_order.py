# SPDX-License-Identifier: Apache-2.0
"""Is the heart of generated chest radiographs on the side where it belongs?"""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.stats import ttest_1samp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from medti_components.errors import DataError
from medti_components.evaluation.concept_images import ConceptImages
from medti_components.evaluation.evaluation import EvaluatedImages, EvaluationPart, PartResult, undetermined
from medti_components.metrics.exact_share import exact_share, share_difference
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.picture_grid import grid_png
from medti_components.visualize.report import Block, Picture, Section, Subheading
from medti_components.visualize.tables import metrics_table

_HEADING = "Are left and right kept?"
_WORDS = {
    "real": "held-out real images",
    "generated": "generated images",
    "difference": "generated less real",
    "asymmetry of real": "held-out real images",
    "asymmetry of generated": "generated images",
}
_ALL = "all"
_SHRINKAGE = 0.9


class AsymmetryAxis:
    """How much more an image resembles real images than their mirror images, a number that mirroring turns round.

    The features are the half of an image that mirroring turns round, (image - mirror image) / 2, averaged over
    ``size`` x ``size`` fields. Of these, Fisher's linear discriminant between real images and their mirror images is
    taken: it gives weight to what differs alike in all images (heart, domes), and little to exposure or an effusion, on
    one side as often as on the other. The covariance is shrunk most of the way to a multiple of the identity, so that
    images whose noise is another, as generated ones' is, are not judged by the finest differences. One is the mean of
    the real images.

    Args:
        images: real images in their own order, (n, 3, H, W) in [-1, 1]; the channels are equal.
        size: fields along an edge.

    Raises:
        DataError: the images are symmetric.

    >>> images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> images[:, :, 8:, 10:] += 1  # more on the right
    >>> axis = AsymmetryAxis(images)
    >>> round(float(axis(images).mean()), 6), round(float(axis(images.flip(-1)).mean()), 6)
    (1.0, -1.0)
    """

    def __init__(self, images: Tensor, size: int = 16) -> None:
        self.size = size
        features = self._features(images)
        if not features.any():
            raise DataError(
                "real images must differ from their mirror images, got symmetric ones: correct --dataset_dir"
            )
        axis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=_SHRINKAGE)
        axis.fit(np.concatenate([features, -features]), np.repeat([1, 0], len(features)))
        self.direction = axis.coef_[0] / (features @ axis.coef_[0]).mean()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the asymmetry of each image, (n, 3, H, W) in [-1, 1]: float64 (n,)."""
        return torch.from_numpy(self._features(images) @ self.direction)

    def _features(self, images: Tensor) -> np.ndarray:
        grey = adaptive_avg_pool2d(images.double().mean(dim=1, keepdim=True), self.size)
        return ((grey - grey.flip(-1)) / 2)[..., : self.size // 2].flatten(1).numpy()


class LeftRightOrder(EvaluationPart):
    """Share of images that resemble real images more than these' mirror images, and how strongly, against real.

    What is on which side is learned from the real images that the words were learned from (:class:`AsymmetryAxis`);
    neither held-out nor generated images have a part in it. Held-out real images show how often the measure is right.
    """

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure each concept and all together.

        Raises:
            DataError: a set has no image of a concept, or real images are symmetric.
        """
        if images.training is None:
            return undetermined("modality", _HEADING, "num_cases is 0, so that there are none to learn the sides from")
        learned_from = torch.cat(
            [ConceptImages.of(images.training, concept, "training").images for concept in images.concepts]
        )
        axis = AsymmetryAxis(learned_from)
        scores: dict[str, dict[str, Tensor]] = {concept: {} for concept in (_ALL, *images.concepts)}
        means = [learned_from.mean(dim=0)]
        for name, dataset in (("real", images.reference), ("generated", images.generated or [])):
            own = {concept: ConceptImages.of(dataset, concept, name).images for concept in images.concepts}
            for concept, each in own.items():
                scores[concept][name] = axis(each)
            scores[_ALL][name] = torch.cat([scores[concept][name] for concept in images.concepts])
            means.append(torch.cat(list(own.values())).mean(dim=0))
        order = {concept: _order(own) for concept, own in scores.items()}
        kept = order[_ALL]
        summary = (
            f"Left and right are kept in {kept['generated'].value:.0%} of the generated images, as far as the measure "
            f"can tell; of real ones it says so of {kept['real'].value:.0%}, and of chance it would of 50%."
        )
        shown = Picture(
            grid_png([torch.cat([mean[:1], 3 * (mean - mean.flip(-1))[:1]]) for mean in means], smallest_edge=256),
            "Mean of the real images that were learned from, of held-out real and of generated images; below, what "
            "differs from the mirror image: bright where the image is brighter than on its other side",
        )
        metrics = {"order": order, "num_calibration_images": len(learned_from)}
        return PartResult("modality", metrics, [_section(order, len(learned_from), shown)], [summary])


def _order(scores: Mapping[str, Tensor]) -> dict[str, IntervalEstimate]:
    kept = {name: own > 0 for name, own in scores.items()}
    metrics = {name: exact_share(float(own.double().mean()), len(own), "images") for name, own in kept.items()}
    metrics["difference"] = share_difference(kept["generated"], kept["real"], ("generated", "real"))
    for name, own in scores.items():
        if len(own) > 1:
            metrics[f"asymmetry of {name}"] = _mean(own)
    return metrics


def _mean(scores: Tensor, confidence: float = 0.95) -> IntervalEstimate:
    interval = ttest_1samp(scores.numpy(), 0).confidence_interval(confidence)
    low, high = float(interval.low), float(interval.high)
    return IntervalEstimate(float(scores.mean()), low, high, {"images": len(scores)}, "Student's t", confidence)


def _section(order: Mapping[str, Mapping[str, IntervalEstimate]], num_learned_from: int, shown: Picture) -> Section:
    blocks: list[Block] = [
        "The patient's left is on the right of a radiograph: there lie most of the heart and the aortic knob, and the "
        "diaphragm stands lower. Counted are images that resemble real ones more than these' mirror images. A word "
        "that has lost the sides gives 50 %, one that keeps them as much as held-out real images.",
        f"What differs between the sides was learned from {num_learned_from} real images, those of the words. A "
        "mirrored real image is taken for mirrored exactly as often as the image itself for right. The asymmetry is 1 "
        "for the mean of these images, 0 where both sides are alike, negative where they are exchanged.",
    ]
    for concept, own in order.items():
        shares = [(_WORDS[name], metric) for name, metric in own.items() if not name.startswith("asymmetry")]
        means = [(_WORDS[name], metric) for name, metric in own.items() if name.startswith("asymmetry")]
        blocks += [
            Subheading("all concepts" if concept == _ALL else concept),
            metrics_table(shares, "share in order"),
            *([metrics_table(means, "mean asymmetry")] if means else []),
        ]
    return Section(_HEADING, [*blocks, shown])
