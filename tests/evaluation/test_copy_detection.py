# SPDX-License-Identifier: Apache-2.0
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from report_pages import page_of
from smooth_images import smooth_images
from torch import Tensor, nn

from medti_components.errors import ConfigError
from medti_components.evaluation.copy_detection import CopyDetection
from medti_components.evaluation.evaluation import EvaluatedImages
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.metrics.aligned_correlation import AlignedCorrelation
from medti_components.metrics.interval_estimate import plain_metrics
from medti_components.networks.feature_network import FeatureNetwork

TRAINING = smooth_images(24, "training")
HELD_OUT = smooth_images(24, "held out")
OTHERS = smooth_images(12, "others")
COPIES = torch.stack([TRAINING[3].flip(-1), TRAINING[5] * 0.7 + 0.1])


def items(images: Tensor, **more: Any) -> list[dict[str, Any]]:
    return [
        {"image": image, "concept": "<ill>", "patient_id": str(index), **more} for index, image in enumerate(images)
    ]


def detection(**settings: Any) -> CopyDetection:
    network = FeatureNetwork("means", nn.Sequential(nn.AvgPool2d(4), nn.Flatten()))
    return CopyDetection(
        ImageFeatures(network, show_progress=False), AlignedCorrelation(show_progress=False), **settings
    )


def evaluated(generated: Tensor, tmp_path: Path, training: Tensor | None = TRAINING) -> EvaluatedImages:
    drawn = [{**item, "file": f"{index}.png"} for index, item in enumerate(items(generated))]
    learned_from = None if training is None else items(training)
    return EvaluatedImages(drawn, items(HELD_OUT), learned_from, ["<ill>"], tmp_path)


def test_copies_are_found_among_others(tmp_path):
    result = detection()(evaluated(torch.cat([OTHERS, COPIES]), tmp_path))
    figures = plain_metrics(result.metrics)
    assert json.loads(json.dumps(figures)) == figures
    assert {copy["file"] for copy in figures["copies"]} == {"12.png", "13.png"}
    assert figures["share"]["generated"]["value"] == pytest.approx(2 / 14)
    assert figures["share"]["real"]["value"] == 0
    (check,) = result.checks
    assert (check.name, check.is_passed) == ("copies", False)
    assert check.statement == "2 of 14 generated images are copies of training images"
    assert check.limits == {
        "copy_false_positive_rate": 0.008,
        "max_copy_share": 0.0,
        "max_possible_copy_share": 0.02,
    }


def test_images_of_their_own_pass(tmp_path):
    result = detection(max_possible_share=0.27)(evaluated(OTHERS, tmp_path))
    assert result.metrics["copies"] == []
    assert result.checks[0].is_passed
    assert result.checks[0].statement == "no copy of a training image among 12 generated images"


def test_few_images_without_a_copy_show_nothing(tmp_path):
    (check,) = detection()(evaluated(OTHERS, tmp_path)).checks
    assert check.is_passed is None
    possible = 1 - 0.025 ** (1 / 12)  # Clopper and Pearson's upper end of 0 in 12
    assert check.statement == (
        f"no copy of a training image among 12 generated images, but up to {possible:.1%} may be: "
        "max_possible_copy_share is 2.0%"
    )


def test_a_share_of_copies_may_be_allowed(tmp_path):
    result = detection(max_share=0.2, max_possible_share=0.5)(evaluated(torch.cat([OTHERS, COPIES]), tmp_path))
    assert result.checks[0].is_passed
    assert result.checks[0].statement.startswith("2 of 14")


def test_copies_are_not_authentic_and_held_out_images_mostly_are(tmp_path):
    shares = detection()(evaluated(TRAINING, tmp_path)).metrics["authenticity"]
    assert shares["generated"].value == 0
    assert shares["real"].value > 0.2


def test_the_nearest_training_image_is_the_one_copied():
    sets = {"generated": COPIES, "real": HELD_OUT, "training": TRAINING}
    search = detection().search(sets, range(24))
    for found in search.values():
        assert found.sets["generated"].indices.tolist() == [3, 5]
    assert bool(search["pixels"].is_copy.all())


def test_images_of_one_patient_are_not_compared_with_each_other():
    """Each training image is there twice: told apart by patient, the threshold is that of single images."""
    twice = TRAINING.repeat(2, 1, 1, 1)
    sets = {"generated": OTHERS, "real": HELD_OUT, "training": twice}
    search = detection().search(sets, [*range(24), *range(24)])
    assert float(search["pixels"].sets["training"].closeness.max()) < 3


def test_report_shows_pairs_and_histograms(tmp_path):
    page = page_of(detection(num_pairs=3)(evaluated(torch.cat([OTHERS, COPIES]), tmp_path)).sections)
    assert page.count('src="data:image/png;base64,') == 2
    assert page.count('<th scope="row">1</th>') == 1 and '<th scope="row">4</th>' not in page
    assert page.count("<td>copy</td>") == 2 and page.count("<td>no copy</td>") == 1


def test_without_training_images_nothing_is_tested(tmp_path):
    result = detection()(evaluated(OTHERS, tmp_path, training=None))
    assert result.metrics == {"undetermined": "num_cases is 0"}
    assert result.checks[0].is_passed is None


@pytest.mark.parametrize(
    ("training", "held_out", "reason"),
    [
        (3, 24, "there are 3 training images, fewer than 4"),
        (9, 10, "there are 19 real images, held-out and training ones, fewer than 20"),
    ],
)
def test_too_few_images_are_no_test(tmp_path, training, held_out, reason):
    images = replace(evaluated(OTHERS, tmp_path, TRAINING[:training]), reference=items(HELD_OUT[:held_out]))
    result = detection()(images)
    assert result.metrics == {"undetermined": reason}
    (check,) = result.checks
    assert (check.is_passed, check.statement) == (None, f"copies not tested, as {reason}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"false_positive_rate": 0.3}, "copy_false_positive_rate must be in (0, 0.2), got 0.3"),
        ({"max_share": -0.1}, "max_copy_share must be in [0, 1], got -0.1"),
        ({"max_possible_share": 0.0}, "max_possible_copy_share must be in (0, 1], got 0.0"),
    ],
)
def test_setting_out_of_range(settings, message):
    with pytest.raises(ConfigError, match="^" + re.escape(message) + "$"):
        detection(**settings)
