# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch

from medti_components.errors import ConfigError, DataError
from medti_components.evaluation.findings.finding_concepts import FindingConcepts
from medti_components.inferers.prompt_composition import parse_prompt

HEALTHY, HEART, PNEUMONIA = TOKENS = ["<x_no_finding>", "<x_cardiomegaly>", "<x_pneumonia>"]
FINDINGS = FindingConcepts.of(TOKENS)


def label_of(prompt):
    return FINDINGS.label_of_parts(parse_prompt(prompt).parts).tolist()


def test_order_is_that_of_the_concepts_wherever_no_finding_stands():
    findings = FindingConcepts.of([PNEUMONIA, HEALTHY, HEART])
    assert findings.names == ("pneumonia", "cardiomegaly")
    assert findings.tokens == (HEALTHY, PNEUMONIA, HEART)
    assert findings.label(["cardiomegaly", "pleural_effusion"]).tolist() == [0, 1]


def test_positive_weights_ask_for_a_finding():
    assert label_of(f"{HEART} :0.5 AND {PNEUMONIA} :0.5") == [1, 1]
    assert label_of(f"{HEART} AND NOT {PNEUMONIA}") == [1, 0]
    assert label_of(f"{HEART} :0 AND {PNEUMONIA}") == [0, 1]
    assert label_of(f"a blurred {HEART} and {PNEUMONIA}") == [1, 1]
    assert label_of(HEALTHY) == label_of("a dog") == [0, 0]


def test_unknown_words_are_refused_only_where_they_are_asked_for():
    assert label_of(f"{HEART} AND NOT <other>") == [1, 0]
    message = f"unknown concept '<other>', known are {', '.join(TOKENS)}: correct --concepts"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        label_of("<other>")


def test_labels_in_words():
    assert FINDINGS.named(torch.tensor([1.0, 1.0])) == "cardiomegaly + pneumonia"
    assert FINDINGS.named(torch.zeros(2)) == "no_finding"


def test_entries_get_the_labels_of_their_findings():
    entries = FINDINGS.labelled([{"findings": ["pneumonia"], "label": 3, "concept": PNEUMONIA}])
    assert entries[0]["label"].tolist() == [0, 1] and entries[0]["concept"] == PNEUMONIA


@pytest.mark.parametrize(
    "concepts", [[HEART], [HEALTHY], [HEALTHY, "<y_no_finding>", HEART], [*TOKENS, "<y_pneumonia>"]]
)
def test_there_must_be_no_finding_and_findings_once_each(concepts):
    message = "concepts must hold one that ends in 'no_finding>' and at least one of a finding, each finding once, got "
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        FindingConcepts.of(concepts)
