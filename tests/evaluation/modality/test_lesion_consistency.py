# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from report_pages import page_of

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.evaluation import EvaluatedImages
from medti_components.evaluation.modality.lesion_consistency import LesionConsistency, LesionSpotDetector

NEGATIVE, POSITIVE = CONCEPTS = ["<negative>", "<positive>"]
SIZE, FIELD_OF_VIEW = 32, 64.0


def pelvis(stream, dark=None, bright=None):
    """An image of noise; ADC is dark about the pixel ``dark``, HBV bright about ``bright``."""
    image = 0.05 * torch.randn(3, SIZE, SIZE, generator=stream)
    for channel, place, sign in ((1, dark, -1), (2, bright, 1)):
        if place is not None:
            y, x = place
            image[channel, y - 1 : y + 2, x - 1 : x + 2] += 0.6 * sign
    return image


def studies(seed, n=12, positive="both"):
    """n images of each concept; positives are 'both' dark and bright at one place, or 'apart', or 'dark' alone."""
    stream = torch.Generator().manual_seed(seed)
    items = []
    for concept in CONCEPTS:
        for index in range(n):
            here, there = (12 + index % 6, 18), (18, 10)
            dark = here if concept == POSITIVE else None
            bright = {"both": here, "apart": there, "dark": None}[positive] if concept == POSITIVE else None
            items.append({"image": pelvis(stream, dark, bright), "concept": concept})
    return items


def measured(tmp_path, generated, reference=None, training=None, **settings):
    part = LesionConsistency(**{"sequences": ["t2w", "adc", "hbv"], "field_of_view_mm": FIELD_OF_VIEW, **settings})
    return part(EvaluatedImages(generated, reference or studies(1), training or studies(2), CONCEPTS, tmp_path))


def test_spots_are_counted_where_both_sequences_agree(tmp_path):
    result = measured(tmp_path, studies(3))
    spots = result.metrics["spots"]
    for name in ("real", "generated"):
        assert spots[POSITIVE][name].value == 1 and spots[NEGATIVE][name].value == 0
        assert result.metrics["positive_less_negative"][name].value == 1
    # exact interval of 12 of 12: from 0.025 ** (1 / 12)
    assert spots[POSITIVE]["real"].low == pytest.approx(0.025 ** (1 / 12))
    assert spots[POSITIVE]["difference"].value == 0 and spots[POSITIVE]["difference"].low < 0
    assert (
        result.name == "modality"
        and "in 100% of the generated images of <positive> (real ones: 100%)" in result.summary[0]
    )


@pytest.mark.parametrize("positive", ["apart", "dark"])
def test_dark_and_bright_at_different_places_is_no_spot(tmp_path, positive):
    spots = measured(tmp_path, studies(3, positive=positive)).metrics["spots"][POSITIVE]
    assert spots["real"].value == 1 and spots["generated"].value == 0
    assert spots["difference"].high < 0


def test_generated_and_held_out_images_have_no_part_in_the_threshold(tmp_path):
    first, second = measured(tmp_path, studies(3)), measured(tmp_path, studies(4, positive="dark"), studies(5))
    assert first.metrics["calibration"] == second.metrics["calibration"]
    assert first.metrics["calibration"]["n"] == {"negative": 12, "positive": 12}


def test_spots_outside_the_middle_do_not_count():
    stream = torch.Generator().manual_seed(0)
    images = torch.stack([pelvis(stream, (3, 3), (3, 3)), pelvis(stream, (16, 20), (16, 20))])
    spots = LesionSpotDetector(FIELD_OF_VIEW, region_mm=24.0)(images)
    assert spots.places[1].tolist() == [16, 20]
    assert spots.strengths[0] < 0.5 * spots.strengths[1]


def test_the_threshold_lies_between_what_it_separates():
    own = {c: torch.stack([i["image"] for i in studies(0) if i["concept"] == c]) for c in CONCEPTS}
    detector = LesionSpotDetector(FIELD_OF_VIEW).calibrated(own[NEGATIVE], own[POSITIVE])
    weakest, strongest = detector(own[POSITIVE]).strengths.min(), detector(own[NEGATIVE]).strengths.max()
    assert detector.threshold == pytest.approx(float(weakest + strongest) / 2)


def test_channels_are_found_by_the_names_of_the_sequences(tmp_path):
    turned = [[{**item, "image": item["image"][[2, 0, 1]]} for item in studies(seed)] for seed in (3, 1, 2)]
    spots = measured(tmp_path, *turned, sequences=["hbv", "t2w", "adc"]).metrics["spots"]
    assert spots[POSITIVE]["generated"].value == 1 and spots[NEGATIVE]["generated"].value == 0


def test_the_report_shows_the_spots(tmp_path):
    page = page_of(measured(tmp_path, studies(3), num_pictures=2).sections)
    assert page.count("data:image/png") == 4 and "&lt;positive&gt;" in page
    assert "12 with a lesion and 12 without" in page


def test_without_images_to_learn_from_it_is_undetermined(tmp_path):
    images = EvaluatedImages(studies(3), studies(1), None, CONCEPTS, tmp_path)
    assert "num_cases is 0" in LesionConsistency(["t2w", "adc", "hbv"], 64.0)(images).metrics["undetermined"]


def test_unfit_input_is_told_in_a_line(tmp_path):
    message = "sequences must hold 'adc' and 'hbv' for lesions to be found on both, got ['t2w', 'adc', 't2w']: "
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        measured(tmp_path, studies(3), sequences=["t2w", "adc", "t2w"])
    blank = [{**item, "image": torch.zeros(3, SIZE, SIZE)} for item in studies(2)]
    message = "ADC and HBV of images without a lesion must differ from place to place, got one value everywhere: "
    with pytest.raises(DataError, match="^" + re.escape(message)):
        measured(tmp_path, studies(3), training=blank)
    images = EvaluatedImages(studies(3), studies(1), studies(2), CONCEPTS[:1], tmp_path)
    message = "concepts must hold the negative and the positive concept, got 1: set --concepts"
    with pytest.raises(ConfigError, match="^" + re.escape(message) + "$"):
        LesionConsistency(["t2w", "adc", "hbv"], 64.0)(images)
