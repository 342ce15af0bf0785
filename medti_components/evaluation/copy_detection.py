# SPDX-License-Identifier: Apache-2.0
"""Which generated images are copies of training images: the part "copies" of an evaluation."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medti_components.errors import ConfigError
from medti_components.evaluation.evaluation import (
    EvaluatedImages,
    EvaluationPart,
    PartResult,
    items_of,
    undetermined,
)
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.evaluation.verdict import VerdictCheck
from medti_components.metrics.aligned_correlation import AlignedCorrelation
from medti_components.metrics.exact_share import exact_share
from medti_components.metrics.nearest_source import MIN_VALUES, NearestSource, TailThreshold
from medti_components.visualize.picture_grid import grid_png
from medti_components.visualize.plots import histograms_plot
from medti_components.visualize.report import Block, Picture, Section, Subheading
from medti_components.visualize.tables import Table, metrics_table

MIN_TRAINING_IMAGES = 4
_WORDS = {"generated": "generated images", "real": "held-out real images"}


@dataclass(frozen=True)
class CopySearch:
    """What was found in one space.

    Args:
        threshold: closeness above which an image counts as a copy.
        sets: the nearest training image of each image, by set: "generated", "real" (held-out) and "training" (each
            without its own patient's images).
        authentic: share of images farther from the nearest training image than that one is from the next, by set.
    """

    threshold: TailThreshold
    sets: dict[str, NearestSource]
    authentic: dict[str, Tensor]

    @property
    def is_copy(self) -> Tensor:
        """Which generated images count as copies, bool (n,)."""
        return self.is_nearer("generated")

    def is_nearer(self, name: str) -> Tensor:
        """Which images of a set are nearer than the threshold allows, bool (n,)."""
        return self.sets[name].closeness > self.threshold.value


class CopyDetection(EvaluationPart):
    """Look for copies in pixels and on features, by thresholds set on real images.

    In either space each image has a nearest training image (or a mirrored one) and a closeness to it, see
    :class:`NearestSource`; pixels are compared as :class:`AlignedCorrelation` does, features by Euclidean distance. An
    image is called a copy where its closeness in one of the two is above what all but half of ``false_positive_rate``
    of real images reach: held-out ones, and training ones compared with those of other patients.

    The authenticity share is that of Alaa et al., "How faithful is your synthetic data?" (ICML 2022, section 3.3):
    images farther from their nearest training image than that one is from its own nearest, on features.

    Args:
        features: of the images.
        correlation: of their pixels.
        false_positive_rate: share of real images that may be called copies, in (0, 0.2).
        max_share: share of copies up to which sharing counts as safe.
        max_possible_share: limit for the upper end of that share's interval, in (0, 1]; above it nothing is shown.
        num_pairs: pairs in the report, the closest first.
        in_colour: whether images are shown in colour, else channel by channel in grey.

    Raises:
        ConfigError: ``false_positive_rate`` or a share is out of range.
    """

    def __init__(
        self,
        features: ImageFeatures,
        correlation: AlignedCorrelation | None = None,
        false_positive_rate: float = 0.008,
        max_share: float = 0.0,
        max_possible_share: float = 0.02,
        num_pairs: int = 8,
        in_colour: bool = False,
    ) -> None:
        if not 0 < false_positive_rate < 0.2:
            raise ConfigError(f"copy_false_positive_rate must be in (0, 0.2), got {false_positive_rate}")
        if not 0 <= max_share <= 1:
            raise ConfigError(f"max_copy_share must be in [0, 1], got {max_share}")
        if not 0 < max_possible_share <= 1:
            raise ConfigError(f"max_possible_copy_share must be in (0, 1], got {max_possible_share}")
        self.features = features
        self.correlation = correlation or AlignedCorrelation()
        self.false_positive_rate = false_positive_rate
        self.max_share = max_share
        self.max_possible_share = max_possible_share
        self.num_pairs = num_pairs
        self.in_colour = in_colour

    def __call__(self, images: EvaluatedImages) -> PartResult:
        """Look for copies; not tested where there are too few real images to tell what is near by."""
        limits = {
            "copy_false_positive_rate": self.false_positive_rate,
            "max_copy_share": self.max_share,
            "max_possible_copy_share": self.max_possible_share,
        }
        training = [] if images.training is None else items_of(images.training)
        if reason := _too_few(len(training), len(images.reference)):
            check = VerdictCheck("copies", None, f"copies not tested, as {reason}", limits)
            return undetermined("copies", "Copies", reason, [check])
        sets = {"generated": items_of(images.generated or []), "real": items_of(images.reference), "training": training}
        stacked = {name: torch.stack([item["image"] for item in own]) for name, own in sets.items()}
        patients = [item.get("patient_id", index) for index, item in enumerate(training)]
        searches = self.search(stacked, patients)
        is_copy = torch.stack([search.is_copy for search in searches.values()]).any(dim=0)
        files = [str(item.get("file", index)) for index, item in enumerate(sets["generated"])]
        metrics = self._metrics(searches, is_copy, files)
        count, total = int(is_copy.sum()), len(is_copy)
        statement = f"{count} of {total} generated images are copies of training images"
        if not count:
            statement = f"no copy of a training image among {total} generated images"
        share = metrics["share"]["generated"]
        is_passed: bool | None = share.value <= self.max_share
        if is_passed and share.high > self.max_possible_share:
            is_passed = None
            limit = f"max_possible_copy_share is {self.max_possible_share:.1%}"
            statement += f", but up to {share.high:.1%} may be: {limit}"
        check = VerdictCheck("copies", is_passed, statement, limits)
        section = _section(metrics, searches, _closest_pairs(searches, stacked, self.num_pairs, self.in_colour))
        return PartResult("copies", metrics, [section], [f"{statement[0].upper()}{statement[1:]}."], [check])

    def search(self, images: dict[str, Tensor], patients: Sequence[Hashable]) -> dict[str, CopySearch]:
        """Search in both spaces.

        Args:
            images: "generated", "real" and "training", each (n, 3, H, W) in [-1, 1].
            patients: of the training images.

        Raises:
            DataError: there are too few real images.
        """
        training = images["training"]
        numbers = {patient: number for number, patient in enumerate(dict.fromkeys(patients))}
        patient = torch.tensor([numbers[each] for each in patients])
        own = patient[:, None] == patient[None]
        mirrored = [self.features(each) for each in self.correlation.orientations(training)]
        searches = {}
        for space in ("pixels", "features"):
            distances = {}
            for name, each in images.items():
                if space == "pixels":
                    found = 1 - self.correlation(each, training, f"looking for {name} images among training ones")
                else:
                    seen = self.features(each)
                    found = torch.stack([torch.cdist(seen, oriented) for oriented in mirrored]).amin(dim=0)
                distances[name] = found.clamp(min=0)
            distances["training"] = distances["training"].masked_fill(own, float("inf"))
            searches[space] = self._judge(distances, patients)
        return searches

    def _judge(self, distances: dict[str, Tensor], patients: Sequence[Hashable]) -> CopySearch:
        sets = {name: NearestSource.of(each, patients) for name, each in distances.items()}
        calibration = torch.cat([sets["real"].closeness, sets["training"].closeness])
        of_training = sets["training"].distances
        authentic = {name: sets[name].distances > of_training[sets[name].indices] for name in ("generated", "real")}
        return CopySearch(TailThreshold.of(calibration, self.false_positive_rate / 2), sets, authentic)

    def _metrics(self, searches: dict[str, CopySearch], is_copy: Tensor, files: list[str]) -> dict[str, Any]:
        pixels, features = searches["pixels"], searches["features"]
        real = torch.stack([search.is_nearer("real") for search in searches.values()]).any(dim=0)
        copies = [
            {
                "file": files[index],
                "space": space,
                "closeness": float(search.sets["generated"].closeness[index]),
            }
            for space, search in searches.items()
            for index in search.is_copy.nonzero().flatten().tolist()
        ]
        return {
            "share": {
                "generated": exact_share(float(is_copy.double().mean()), len(is_copy), "images"),
                "real": exact_share(float(real.double().mean()), len(real), "images"),
            },
            "authenticity": {
                name: exact_share(float(own.double().mean()), len(own), "images")
                for name, own in features.authentic.items()
            },
            "threshold": {"pixels": pixels.threshold.value, "features": features.threshold.value},
            "false_positive_rate": self.false_positive_rate,
            "num_calibration_images": pixels.threshold.num_values,
            "network": self.features.network.name,
            "copies": copies,
        }


def _too_few(num_training: int, num_held_out: int) -> str:
    if not num_training:
        return "num_cases is 0"
    if num_training < MIN_TRAINING_IMAGES:
        return f"there are {num_training} training images, fewer than {MIN_TRAINING_IMAGES}"
    if (num_real := num_training + num_held_out) < MIN_VALUES:
        return f"there are {num_real} real images, held-out and training ones, fewer than {MIN_VALUES}"
    return ""


def _section(metrics: Mapping[str, Any], searches: Mapping[str, CopySearch], closest_pairs: Sequence[Block]) -> Section:
    panels = []
    for space, search in searches.items():
        distances, closeness = (
            {word: getattr(search.sets[kind], name) for kind, word in _WORDS.items()}
            for name in ("distances", "closeness")
        )
        panels.append(
            [
                (f"distance to the nearest training image, by {space}", distances, ()),
                (f"closeness, by {space}", closeness, (search.threshold.value,)),
            ]
        )
    shares, authenticity = (
        [(_WORDS[name], share) for name, share in metrics[key].items()] for key in ("share", "authenticity")
    )
    return Section(
        "Copies",
        [
            "For each image the nearest of the images that the words were learned from, mirrored ones included, once "
            "by its pixels, shifted and cropped for the best correlation, and once on features of the network "
            f"'{metrics['network']}'. Closeness says how far the nearest one stands out: 0 where the next ones are as "
            "near, 1 where they are 2.7 times as far, 2 where they are 7.4 times as far. An image is called a copy "
            f"where its closeness is above what all but {metrics['false_positive_rate']:g} of real images reach, as "
            f"estimated from {metrics['num_calibration_images']} real images.",
            metrics_table(shares, "called copies"),
            Subheading("Authenticity"),
            "Share of images that are farther from their nearest training image than that one is from the next "
            "training image (Alaa et al., 2022), on features. Held-out real images show what to expect of images that "
            "copy nothing.",
            metrics_table(authenticity, "authentic"),
            Picture(
                histograms_plot(panels),
                "How near the nearest training image is, and how far it stands out. Broken line: from here on, a copy.",
                "Histograms of nearest distances and of closeness",
            ),
            *closest_pairs,
        ],
    )


def _closest_pairs(
    searches: Mapping[str, CopySearch], images: Mapping[str, Tensor], num_pairs: int, in_colour: bool
) -> list[Block]:
    spaces = list(searches)
    margins = torch.stack([search.sets["generated"].closeness - search.threshold.value for search in searches.values()])
    closest = margins.max(dim=0)
    rows, columns = [], []
    for rank, index in enumerate(closest.values.argsort(descending=True)[:num_pairs].tolist(), start=1):
        space = spaces[int(closest.indices[index])]
        nearest = searches[space].sets["generated"]
        columns.append(_beside(images["generated"][index], images["training"][nearest.indices[index]]))
        found = nearest.distances[index], nearest.closeness[index], searches[space].threshold.value
        is_copy = "copy" if closest.values[index] > 0 else "no copy"
        rows.append([str(rank), space, *(f"{float(value):.3g}" for value in found), is_copy])
    return [
        Subheading("Closest pairs"),
        Picture(
            grid_png([_shown(column, in_colour) for column in columns], in_colour=in_colour),
            f"The {len(columns)} generated images closest to a training image, left to right; below each, that "
            "training image. Training images are private: do not pass this report on.",
            "Generated images above their nearest training images",
        ),
        Table(["pair", "found by", "distance", "closeness", "copy from", "called"], rows),
    ]


def _beside(generated: Tensor, training: Tensor) -> Tensor:
    """One image above the other, with a white line between, (3, H, W) each."""
    line = torch.ones(generated.shape[0], max(1, generated.shape[1] // 32), generated.shape[2])
    return torch.cat([generated, line, training], dim=1)


def _shown(column: Tensor, in_colour: bool) -> Tensor:
    return column[:1] if not in_colour and bool((column == column[:1]).all()) else column
