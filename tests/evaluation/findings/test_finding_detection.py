# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from generated_runs import change_lines, write_inpainting, write_interpolation, write_run
from PIL import Image
from report_pages import active_content, alternative_texts, outside_references
from safetensors.torch import load_file
from torch import nn

from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.evaluation import EvaluatedImages, Evaluation, EvaluationPart, PartResult
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.evaluation.findings.finding_detection import FindingDetection
from medti_components.evaluation.findings.judged_images import (
    ComposedImages,
    InpaintedImages,
    InterpolatedImages,
    made_by,
)
from medti_components.visualize.report import Section

HEALTHY, HEART, PNEUMONIA = TOKENS = ["<x_no_finding>", "<x_cardiomegaly>", "<x_pneumonia>"]
FINDINGS = FindingConcepts.of(TOKENS)
SIZE = 16


class BrightHalves(nn.Module):
    """Sees cardiomegaly where the upper half is bright, pneumonia where the lower one is."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(5.0))

    def forward(self, images):
        return self.gain * torch.stack(
            [images[:, :, : SIZE // 2].mean((1, 2, 3)), images[:, :, SIZE // 2 :].mean((1, 2, 3))], 1
        )


def pixels(heart, pneumonia, grain=0):
    """A picture whose halves have the brightness (0 to 1) of each finding; ``grain`` makes it another one."""
    image = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    image[: SIZE // 2], image[SIZE // 2 :] = round(255 * heart), round(255 * pneumonia)
    image[0, 0] = grain
    return image


def real(grain=1):
    shown = [(heart, pneumonia) for heart in (0, 1) for pneumonia in (0, 1)]
    return [
        {
            "image": torch.from_numpy(pixels(*values, grain + number)).permute(2, 0, 1) / 127.5 - 1,
            "label": torch.tensor(values, dtype=torch.float32),
            "concept": "any",
        }
        for values in shown
        for number in range(2)
    ]


def repaint(folder, *pictures):
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")


@pytest.fixture
def folders(tmp_path):
    """Singles of which one of two hearts is not seen; one of two pairs; rows that rise; one painting of two."""
    write_run(tmp_path / "generated", [token for token in TOKENS for _ in range(2)], SIZE)
    repaint(
        tmp_path / "generated", pixels(0, 0), pixels(0.2, 0), pixels(1, 0), pixels(0.1, 0), pixels(0, 1), pixels(0, 1)
    )
    write_run(tmp_path / "composed", [f"{HEART} :0.5 AND {PNEUMONIA} :0.5"] * 2, SIZE)
    repaint(tmp_path / "composed", pixels(1, 1), pixels(1, 0))
    write_interpolation(tmp_path / "interpolated", HEALTHY, HEART, num_rows=1)
    repaint(tmp_path / "interpolated", pixels(0, 1), pixels(0.5, 0.5), pixels(1, 0))
    write_inpainting(tmp_path / "inpainted", [HEART, HEART], size=SIZE)
    return tmp_path


def evaluation(folders, *names, training_images=None, settings=None, parts=()):
    sets = {
        "generated": lambda: GeneratedImages(folders / "generated", TOKENS, SIZE, 2),
        "composed": lambda: ComposedImages(folders / "composed", FINDINGS, SIZE),
        "interpolated": lambda: InterpolatedImages(folders / "interpolated", FINDINGS, SIZE),
        "inpainted": lambda: InpaintedImages(folders / "inpainted", FINDINGS, SIZE),
    }
    judged = {name: sets[name]() for name in names}
    generated = judged.pop("generated", None)
    training_images = real(100) if training_images is None else training_images
    images = EvaluatedImages(generated, real(), None, FINDINGS.tokens, folders / "out")
    settings = {**(settings or {}), "made by": made_by(generated=generated, **judged)}
    return Evaluation(images, [FindingDetection(BrightHalves(), FINDINGS, training_images, **judged), *parts], settings)


def test_figures_are_those_of_the_pictures(folders):
    metrics = evaluation(folders, "generated", "composed", "interpolated", "inpainted").run()
    # hearts 1 and 0.1 against 0 and 0.2: three of four pairs are in order
    assert metrics["auc"]["generated"]["cardiomegaly"]["value"] == 0.75
    assert metrics["auc"]["real"]["cardiomegaly"]["value"] == 1
    values = {name: figure["value"] for name, figure in metrics["detection"]["generated"].items()}
    assert values == {"cardiomegaly": 0.5, "pneumonia": 1, "1 finding": 0.75}
    assert metrics["detection"]["composed"]["2 findings"]["value"] == 0.5
    assert metrics["detection"]["real"]["2 findings"] == {
        **metrics["detection"]["real"]["cardiomegaly + pneumonia"],
        "value": 1.0,
    }
    assert metrics["nothing_seen"]["generated"]["value"] == 1
    assert metrics["interpolation"]["all"]["value"] == pytest.approx(1)
    assert metrics["inpainting"]["all"]["unchanged_outside"]["n"] == {"images": 2}
    assert metrics["findings"] == {"cardiomegaly": HEART, "pneumonia": PNEUMONIA}


def test_leaves_metrics_report_and_weights(folders):
    metrics = evaluation(folders, "composed", settings={"composed_dir": "<somewhere>"}).run()
    assert json.loads((folders / "out" / "metrics.json").read_text()) == metrics
    assert metrics["settings"]["composed_dir"] == "<somewhere>"
    assert metrics["settings"]["made by"] == {"composed": {"scheduler": ["A"], "seeds": [0, 1]}}
    assert load_file(folders / "out" / "classifier.safetensors")["gain"] == 5
    names = sorted(path.name for path in (folders / "out").iterdir())
    assert names == ["classifier.safetensors", "metrics.json", "report.html"]


def test_report_needs_nothing_from_outside(folders):
    evaluation(folders, "generated", "composed", "interpolated", "inpainted", settings={"a": "<b>"}).run()
    page = (folders / "out" / "report.html").read_text()
    sources = re.findall(r'src="([^"]{0,22})', page)
    # four combinations of real, three of generated, one of composed and one of painted images; rows and their curves
    assert sources == ["data:image/png;base64,"] * (4 + 3 + 1 + 1 + 2)
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert "2 positive, 2 negative" in page
    assert outside_references(page) == [] and active_content(page) == []
    assert "In short" in page and all(alternative_texts(page))


def test_paintings_into_what_had_the_finding_leave_the_share_open(folders):
    bright = pixels(1, 1)
    for number in range(2):
        Image.fromarray(bright).save(folders / "inpainted" / f"source_{number}.png")
    sha256 = hashlib.sha256((folders / "inpainted" / "source_0.png").read_bytes()).hexdigest()
    change_lines(folders / "inpainted", lambda number, entry: entry.update(image_sha256=sha256))
    metrics = evaluation(folders, "inpainted").run()
    assert metrics["inpainting"]["all"]["seen_inside"] is None and metrics["inpainting"]["all"]["num_seen_before"] == 2
    assert "undetermined" in (folders / "out" / "report.html").read_text()


def test_there_must_be_something_to_judge(folders):
    with pytest.raises(
        ConfigError, match="^there is nothing to evaluate: set --generated_dir, --composed_dir, --inter"
    ):
        evaluation(folders).check()


def test_classifier_may_not_have_seen_the_reference(folders):
    with pytest.raises(
        DataError, match="^classifier_dataset_dir must hold other studies than dataset_dir, got 8 images"
    ):
        evaluation(folders, "composed", training_images=real()).check()


def test_parts_look_at_the_generated_images(folders):
    class Counting(EvaluationPart):
        def __call__(self, images):
            return PartResult(
                "count", {"concepts": list(images.concepts), "n": len(images.generated)}, [Section("Count")]
            )

    metrics = evaluation(folders, "generated", "composed", parts=[Counting()]).run()
    assert metrics["count"] == {"concepts": TOKENS, "n": 6}
    assert json.loads((folders / "out" / "metrics.json").read_text()) == metrics
    assert "<h2>Count</h2>" in (folders / "out" / "report.html").read_text()
    assert "count" not in evaluation(folders, "composed", parts=[Counting()]).run()
