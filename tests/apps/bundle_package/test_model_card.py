# SPDX-License-Identifier: Apache-2.0
"""The card of a packed bundle speaks of what is in the archive, and of phantoms where these taught the words."""

import re
from pathlib import Path

import pytest
import torch
from configs_of_bundles import CHEST, HISTOPATHOLOGY, PROSTATE, load

from medti_components.apps.bundle_package.model_card import ABSENT, OTHER_BASE, PATIENTS, ModelCard
from medti_components.apps.bundle_package.packed_weights import PackedWeights
from medti_components.networks.embedding_files.embedding_file import EmbeddingFile

SIZES = {"image": "3 x 64 x 64", "latent": "24 x 8 x 8"}
PHANTOMS = "phantoms (medti phantoms prostate_mri 0.1.0, seed 0)"


def card(configs, terms, sizes):
    word = EmbeddingFile("<a>", torch.zeros(1, 2), {"data_license": terms}, Path("a.safetensors"), "0" * 64)
    return ModelCard(
        page=(configs.parent / "docs" / "README.md").read_text(encoding="utf-8"),
        name=configs.parent.name,
        metadata=load(configs / "metadata.json"),
        configs={"inference.json": load(configs / "inference.json")},
        base_model="`base`",
        sizes=sizes,
        contact_sheets=["contact_sheet_1.png"],
        weights=PackedWeights([word]),
        evaluation=None,
    ).text()


@pytest.mark.parametrize("configs", [PROSTATE, CHEST, HISTOPATHOLOGY], ids=lambda path: path.parent.name)
def test_nothing_that_is_not_in_the_archive_is_spoken_of(configs):
    text = re.sub(r"## Keys\n.*?\n(?=## )", "", card(configs, PHANTOMS, SIZES), flags=re.DOTALL)
    assert re.findall(f"{ABSENT}|{OTHER_BASE}", text.replace(PHANTOMS, "")) == []
    assert re.findall(PATIENTS, text) == []
    assert f"The words were learned from {PHANTOMS}." in text
    assert "| image | 3 x 64 x 64 |" in text and "](contact_sheet_1.png)" in text
    assert "\n## Limits\n" in text and "**Research only.**" in text


def test_words_of_patients_keep_the_page_on_their_data():
    text = card(PROSTATE, "CC BY-NC 4.0", {})
    assert "phantom" not in text.partition("## Data")[2].partition("## Use")[0]
    assert "PI-CAI](https://pi-cai.grand-challenge.org) public training" in text
