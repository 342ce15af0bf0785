# SPDX-License-Identifier: Apache-2.0
"""Generated beside real images as a classifier sees them: is the finding seen, and how far apart are the features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks import eval_mode
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.evaluation import EvaluatedImages, EvaluationPart, Images, PartResult, items_of
from medti_components.files import save_tensors_atomically
from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.metrics.kernel_inception_distance import (
    MINIMUM_IMAGES,
    FeatureScale,
    KernelInceptionDistance,
    divide_distances,
)
from medti_components.metrics.roc_auc import RocAuc
from medti_components.networks.finding_classifier import FindingClassifier
from medti_components.visualize.picture_grid import grid_png, named_channels
from medti_components.visualize.plots import roc_plot
from medti_components.visualize.report import HOW_TO_READ, Block, Picture, Section, Subheading
from medti_components.visualize.tables import metrics_table

_WORDS = {
    "real": "held-out real images",
    "generated": "generated images",
    "initial rows": "images from the initial rows, before training",
    "more real": "other real images",
    "ratio to initial rows": "generated / initial rows",
}


@dataclass(frozen=True)
class ClassifiedImages:
    """Features (n, width) and log-odds (n,) of the finding, with the concept of each image.

    Log-odds rank images as probabilities do, without the ties that rounding to 0 and 1 makes.

    >>> images = ClassifiedImages(torch.eye(2), torch.tensor([-2.0, 3.0]), ("<a>", "<b>"))
    >>> images.of("<b>").log_odds
    tensor([3.])
    """

    features: Tensor
    log_odds: Tensor
    concepts: Sequence[str]

    def __len__(self) -> int:
        return len(self.concepts)

    def of(self, concept: str) -> "ClassifiedImages":
        """Return the images of one concept, in their order."""
        chosen = [index for index, own in enumerate(self.concepts) if own == concept]
        return ClassifiedImages(self.features[chosen], self.log_odds[chosen], [concept] * len(chosen))


def classify_images(
    network: FindingClassifier,
    images: Images,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
) -> ClassifiedImages:
    """Pass ``images``, items with "image" (C, H, W) in [-1, 1] and "concept", through ``network`` in evaluation mode.

    Features and log-odds come back on the CPU in the order of the images; the network's mode is restored.
    """
    features, log_odds, concepts = [], [], []
    with eval_mode(network.to(device)):
        for batch in DataLoader(images, batch_size=batch_size):  # type: ignore[arg-type]
            own = network.features(batch["image"].to(device))
            features.append(own.float().cpu())
            logits = network.head(own).float()
            log_odds.append((logits[:, 1] - logits[:, 0]).cpu())
            concepts.extend(batch["concept"])
    return ClassifiedImages(torch.cat(features), torch.cat(log_odds), concepts)


def num_shared(first: Images, second: Images) -> int:
    """Return how many images, items with a tensor "image", are in both sets.

    >>> images = [{"image": torch.zeros(3, 2, 2)}, {"image": torch.ones(3, 2, 2)}]
    >>> num_shared(images, images[:1])
    1
    """
    return len(_contents(first) & _contents(second))


def check_classifier_apart(training_images: Images, held_out: Images) -> None:
    """Check that the classifier did not learn from what it is tried on.

    Raises:
        DataError: an image is in both sets.
    """
    shared = num_shared(training_images, held_out)
    if shared:
        raise DataError(
            f"classifier_dataset_dir must hold other studies than dataset_dir, got {shared} images in both: "
            "set --classifier_dataset_dir to studies of other patients"
        )


def save_classifier_weights(network: nn.Module, images: EvaluatedImages) -> None:
    """Write the weights of the classifier of an evaluation, ``classifier.safetensors``.

    Raises:
        OutputError: the file can't be written.
    """
    save_tensors_atomically(images.folder / "classifier.safetensors", network.state_dict())


class ClassifierComparison(EvaluationPart):
    """What a classifier of two concepts, trained on real images, sees in generated ones: the keys "auc" and "kid".

    - area under the ROC curve of the classifier on real images that neither it nor the embedding saw, and on the
      generated ones (each concept's own images are its positives or negatives);
    - for each concept the kernel distance (KID) of generated and of baseline images to held-out real ones on the
      classifier's features (centred and scaled by the classifier's training images), their ratio, and the distance of
      two sets of real images beside it.

    The classifier's weights are left as ``classifier.safetensors``.

    Args:
        network: the classifier, trained by the time it is called.
        training_images: real images that the classifier was trained on.
        baseline: images of the initial rows, or None.
        second_reference: further real images for the real-against-real distance, or None.
        distance: on features.
        auc: on log-odds.
        channel_names: names of the image channels that the report shows, at most three; None shows them in colour.
        device: where the network runs.
        batch_size: images at once; changes no metric beyond rounding.
        num_pictures: images of each kind and concept in the report.
    """

    def __init__(
        self,
        network: FindingClassifier,
        training_images: Images,
        baseline: Images | None = None,
        second_reference: Images | None = None,
        distance: KernelInceptionDistance | None = None,
        auc: RocAuc | None = None,
        channel_names: Sequence[str] | None = ("1", "2", "3"),
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        num_pictures: int = 8,
    ) -> None:
        self.network = network
        self.training_images = training_images
        self.further = {"initial rows": baseline, "more real": second_reference}
        self.distance = distance or KernelInceptionDistance()
        self.auc = auc or RocAuc()
        self.channel_names = channel_names
        self.device = device
        self.batch_size = batch_size
        self.num_pictures = num_pictures

    def check(self, images: EvaluatedImages) -> None:
        """Find what would spoil the metrics, before anything long begins.

        Raises:
            ConfigError: there are not two concepts.
            DataError: an image is in two sets of real images, or a set has too few of a concept.
        """
        if len(images.concepts) != 2:
            raise ConfigError(
                f"concepts must hold the negative and the positive concept, got {len(images.concepts)}: set --concepts"
            )
        sets = self._sets(images)
        for name, own in sets.items():
            _check_enough("training" if name == "more real" else name, own, images.concepts)
        for name in ("real", "more real"):
            if name in sets:
                check_classifier_apart(self.training_images, sets[name])
        if "more real" in sets and (shared := num_shared(sets["real"], sets["more real"])):
            raise DataError(
                f"reference and training split of dataset_dir share {shared} images: make the studies again"
            )

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Measure, and write the classifier's weights."""
        sets = self._sets(images)
        seen = {name: classify_images(self.network, own, self.device, self.batch_size) for name, own in sets.items()}
        trained_on = classify_images(self.network, self.training_images, self.device, self.batch_size)
        scale = FeatureScale.of(trained_on.features)
        auc = {name: self._separation(own, images.concepts) for name, own in seen.items()}
        kid = {concept: self._distances(concept, seen, scale) for concept in images.concepts}
        save_classifier_weights(self.network, images)
        width = seen["real"].features.shape[1]
        metrics = {
            "auc": auc,
            "kid": kid,
            "features": f"{type(self.network).__name__}, {width} features, centred and scaled",
            "num_classifier_training_images": len(trained_on),
        }
        summary = (
            f"A classifier trained on real images tells generated images with the finding from those without by an AUC "
            f"of {auc['generated']}, held-out real ones by {auc['real']} (0.5 is guessing, 1 is perfect)."
        )
        sections = [
            Section(None, [HOW_TO_READ]),
            self._pictures(images.concepts, sets),
            _separation_section(auc, seen, images.concepts),
            _distance_section(kid),
        ]
        return PartResult(None, metrics, sections, [summary])

    def _sets(self, images: EvaluatedImages) -> dict[str, Images]:
        sets = {"real": images.reference, "generated": images.generated, **self.further}
        return {name: own for name, own in sets.items() if own is not None}

    def _separation(self, images: ClassifiedImages, concepts: Sequence[str]) -> IntervalEstimate:
        negative, positive = (images.of(concept).log_odds for concept in concepts)
        return self.auc(positive, negative)

    def _distances(
        self, concept: str, seen: Mapping[str, ClassifiedImages], scale: FeatureScale
    ) -> dict[str, IntervalEstimate | None]:
        own = {name: scale(images.of(concept).features) for name, images in seen.items()}
        distances: dict[str, IntervalEstimate | None] = {
            name: self.distance(features, own["real"]) for name, features in own.items() if name != "real"
        }
        generated, baseline = distances["generated"], distances.get("initial rows")
        if generated is not None and baseline is not None:
            distances["ratio to initial rows"] = divide_distances(generated, baseline)
        return distances

    def _pictures(self, concepts: Sequence[str], sets: Mapping[str, Images]) -> Section:
        """The first images of each set and concept, a column each: in colour, or a row per channel."""
        rows = "" if self.channel_names is None else f"Rows: {', '.join(self.channel_names)}. "
        blocks: list[Block] = [f"{rows}The first images, unselected."]
        for concept in concepts:
            for name, images in sets.items():
                if name == "more real":
                    continue
                columns: list[Tensor] = []
                for index in range(len(images)):
                    item = images[index]
                    if item["concept"] == concept:
                        columns.append(named_channels(item["image"], self.channel_names))
                    if len(columns) == self.num_pictures:
                        break
                png = grid_png(columns, in_colour=self.channel_names is None)
                blocks.append(Picture(png, f"{concept}: {_WORDS[name]}"))
        return Section("Pictures", blocks)


def _separation_section(
    auc: Mapping[str, IntervalEstimate], seen: Mapping[str, ClassifiedImages], concepts: Sequence[str]
) -> Section:
    curves = {
        _WORDS[name]: (np.array([concept == concepts[1] for concept in own.concepts]), own.log_odds)
        for name, own in seen.items()
    }
    return Section(
        "Is the finding seen?",
        [
            "A classifier trained on other real images, which has seen no generated one, scores each image. The "
            f"figure is the chance that it finds an image of {concepts[1]} more suspicious than one of {concepts[0]} "
            "(area under the ROC curve): 0.5 is guessing, 1 is perfect. Generated images carry the finding as real "
            "ones do where both figures agree.",
            metrics_table([(_WORDS[name], metric) for name, metric in auc.items()], "AUC"),
            Picture(roc_plot(curves), "ROC curves", "ROC curves of the classifier"),
        ],
    )


def _distance_section(kid: Mapping[str, Mapping[str, IntervalEstimate | None]]) -> Section:
    blocks: list[Block] = [
        "Kernel inception distance (KID) to held-out real images on the classifier's features: zero for equal "
        "distributions, also at few images. Other real images at their own n show what is reachable."
    ]
    for concept, distances in kid.items():
        rows = [(_WORDS[name], metric) for name, metric in distances.items()]
        blocks += [Subheading(concept), metrics_table(rows, "KID")]
    return Section("How far from real images are generated ones, as the classifier sees them?", blocks)


def _check_enough(name: str, images: Images, wanted: Sequence[str]) -> None:
    concepts = [item["concept"] for item in items_of(images)]
    for concept in wanted:
        if (count := concepts.count(concept)) < MINIMUM_IMAGES:
            remedy = "num_cases, or set --compare_real_with_real false" if name == "training" else "num_test_cases"
            raise DataError(
                f"there must be {MINIMUM_IMAGES} or more {name} images of {concept} to measure a distance, got "
                f"{count}: raise --{remedy}"
            )


def _contents(images: Images) -> set[bytes]:
    return {item["image"].numpy().tobytes() for item in items_of(images)}
