# SPDX-License-Identifier: Apache-2.0
import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from report_pages import active_content, alternative_texts, outside_references
from safetensors.torch import load_file

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.classifier_comparison import ClassifierComparison, classify_images
from medti_components.evaluation.evaluation import EvaluatedImages, Evaluation
from medti_components.metrics.kernel_inception_distance import FeatureScale, KernelInceptionDistance
from medti_components.networks.finding_classifier import FindingClassifier

CONCEPTS = ["<healthy>", "<ill>"]


def pictures(seed: int, brightness: float = 0.8, n: int = 8, spread: float = 0.1) -> list[dict[str, Any]]:
    """n images of each concept; the ill ones have a square of ``brightness`` in the middle."""
    stream = torch.Generator().manual_seed(seed)
    items = []
    for label, concept in enumerate(CONCEPTS):
        for _ in range(n):
            image = torch.randn(3, 16, 16, generator=stream) * spread
            image[:, 5:11, 5:11] += brightness * label
            items.append({"image": image, "concept": concept, "label": label})
    return items


@pytest.fixture(scope="module")
def network() -> FindingClassifier:
    torch.manual_seed(0)
    network = FindingClassifier(channels=(8, 16))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    items = pictures(0, n=16)
    images, labels = torch.stack([item["image"] for item in items]), torch.tensor([item["label"] for item in items])
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def evaluation(network: FindingClassifier, output_dir: Path, **given: Any) -> Evaluation:
    """An evaluation by the classifier alone."""
    images = EvaluatedImages(
        pictures(2), given.pop("reference", pictures(1)), None, given.pop("concepts", CONCEPTS), output_dir
    )
    settings = given.pop("settings", None)
    return Evaluation(images, [ClassifierComparison(network, pictures(0), **given)], settings)


def test_good_images_score_well_and_others_do_not(network: FindingClassifier, tmp_path: Path) -> None:
    striped = pictures(3, brightness=0.0)
    for item in striped:
        item["image"][:, :, ::4] += 2
    metrics = evaluation(network, tmp_path, baseline=striped, second_reference=pictures(4)).run()
    assert metrics["auc"]["initial rows"]["interval"][0] < 0.5 < metrics["auc"]["initial rows"]["interval"][1]
    assert metrics["auc"]["real"]["value"] == 1
    assert metrics["auc"]["generated"]["value"] == 1
    for figures in metrics["kid"].values():
        assert figures["generated"]["interval"][0] <= 0 <= figures["generated"]["interval"][1]
        assert figures["initial rows"]["interval"][0] > figures["generated"]["value"]
        assert figures["ratio to initial rows"]["value"] == pytest.approx(
            figures["generated"]["value"] / figures["initial rows"]["value"]
        )
        assert figures["more real"]["n"] == {"images": 8, "reference": 8}


def test_figures_are_those_of_the_features(network: FindingClassifier, tmp_path: Path) -> None:
    metrics = evaluation(network, tmp_path).run()
    network.eval()
    with torch.no_grad():
        trained_on, real, generated = (
            network.features(torch.stack([item["image"] for item in pictures(seed)])) for seed in (0, 1, 2)
        )
    scale = FeatureScale.of(trained_on)
    expected = KernelInceptionDistance()(scale(generated)[8:], scale(real)[8:])
    assert metrics["kid"]["<ill>"]["generated"]["value"] == pytest.approx(expected.value, rel=1e-4, abs=1e-7)


def test_leaves_metrics_report_and_weights(network: FindingClassifier, tmp_path: Path) -> None:
    settings = {"num_cases": 8, "generated_dir": "<somewhere>"}
    metrics = evaluation(network, tmp_path, settings=settings, channel_names=["t2w"]).run()
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["settings"] == settings
    assert metrics["num_classifier_training_images"] == 16
    torch.testing.assert_close(load_file(tmp_path / "classifier.safetensors"), dict(network.state_dict()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classifier.safetensors", "metrics.json", "report.html"]


def test_report_needs_nothing_from_outside(network: FindingClassifier, tmp_path: Path) -> None:
    evaluation(network, tmp_path, baseline=pictures(3), settings={"generated_dir": "<somewhere>"}).run()
    page = (tmp_path / "report.html").read_text()
    sources = re.findall(r'src="([^"]{0,22})', page)
    assert len(sources) == 1 + 3 * 2  # ROC curves; real, generated and initial rows of two concepts
    assert set(sources) == {"data:image/png;base64,"}
    assert "&lt;ill&gt;" in page
    assert "&lt;somewhere&gt;" in page
    assert outside_references(page) == [] and active_content(page) == []
    assert "In short" in page and all(alternative_texts(page))
    assert "8 positive, 8 negative" in page


def test_classifier_may_not_have_seen_the_reference(network: FindingClassifier, tmp_path: Path) -> None:
    message = "classifier_dataset_dir must hold other studies than dataset_dir, got 16 images in both: "
    with pytest.raises(DataError, match="^" + re.escape(message)):
        evaluation(network, tmp_path, reference=pictures(0)).check()
    with pytest.raises(DataError, match="^" + re.escape(message)):
        evaluation(network, tmp_path, second_reference=pictures(0)).check()


def test_two_splits_may_not_share_images(network: FindingClassifier, tmp_path: Path) -> None:
    message = "reference and training split of dataset_dir share 16 images: make the studies again"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        evaluation(network, tmp_path, second_reference=pictures(1)).check()


def test_needs_two_concepts(network: FindingClassifier, tmp_path: Path) -> None:
    message = "concepts must hold the negative and the positive concept, got 1: set --concepts"
    with pytest.raises(ConfigError, match="^" + re.escape(message) + "$"):
        evaluation(network, tmp_path, concepts=["<ill>"]).check()


def test_report_shows_colours_where_channels_have_no_names(network: FindingClassifier, tmp_path: Path) -> None:
    modes = {}
    for name, channel_names in (("colour", None), ("grey", ["t2w", "adc", "hbv"])):
        evaluation(network, tmp_path / name, channel_names=channel_names, num_pictures=2).run()
        page = (tmp_path / name / "report.html").read_text()
        first = re.findall('base64,([^"]*)', page)[0]
        with Image.open(io.BytesIO(base64.b64decode(first))) as picture:
            modes[name] = picture.mode, picture.size
    assert modes == {"colour": ("RGB", (2 * 128, 128)), "grey": ("L", (2 * 128, 3 * 128))}


@pytest.mark.parametrize(
    ("name", "shown", "remedy"),
    [
        ("reference", "real", "raise --num_test_cases"),
        ("baseline", "initial rows", "raise --num_test_cases"),
        ("second_reference", "training", "raise --num_cases, or set --compare_real_with_real false"),
    ],
)
def test_too_few_images_are_found_before_anything_long(
    network: FindingClassifier, tmp_path: Path, name: str, shown: str, remedy: str
) -> None:
    message = f"there must be 4 or more {shown} images of <healthy> to measure a distance, got 3: {remedy}"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        evaluation(network, tmp_path, **{name: pictures(5, n=3)}).check()


def test_images_keep_their_order_whatever_the_batch_size() -> None:
    torch.manual_seed(0)
    network = FindingClassifier(channels=(8, 8)).train()
    images = [{"image": torch.randn(3, 16, 16), "concept": f"<c{index % 2}>"} for index in range(7)]
    one, other = (classify_images(network, images, batch_size=size) for size in (2, 7))  # type: ignore[arg-type]
    assert one.concepts == [item["concept"] for item in images]
    assert one.features.shape == (7, 32)  # mean and deviation of 8 + 8 maps
    torch.testing.assert_close(one.features, other.features)
    torch.testing.assert_close(one.log_odds, other.log_odds)
    stacked = torch.stack([item["image"] for item in images])  # type: ignore[misc]
    torch.testing.assert_close(one.log_odds.sigmoid(), network.probability(stacked))
    torch.testing.assert_close(one.of("<c1>").features, one.features[1::2])
    assert network.training
    assert not one.features.requires_grad and not one.log_odds.requires_grad
