# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from medti_components.errors import ConfigError, DataError, EmbeddingError
from medti_components.evaluation.evaluation import EvaluatedImages
from medti_components.evaluation.membership_inference import ImageLosses, MembershipInference
from medti_components.networks.embedding_files.embedding_file import save_embedding

CONCEPTS = ["<healthy>", "<ill>"]


def items(seed: int, number: int = 4, edge: int = 32, concepts: list[str] = CONCEPTS) -> list[dict[str, Any]]:
    stream = torch.Generator().manual_seed(seed)
    return [
        {
            "image": torch.rand(3, edge, edge, generator=stream) * 2 - 1,
            "concept": concept,
            "patient_id": f"{seed}_{index}",
            "study_id": "1",
        }
        for index in range(number)
        for concept in concepts
    ]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    for seed, concept in enumerate(CONCEPTS):
        rows = torch.randn(2, 32, generator=torch.Generator().manual_seed(seed))
        save_embedding(tmp_path / "words" / f"{concept.strip('<>')}.safetensors", concept, rows, {})
    return tmp_path / "words"


def inference(words: Path | None, base: Path, **settings: Any) -> MembershipInference:
    return MembershipInference(words, str(base), **{"num_draws": 2, "show_progress": False, **settings})


def evaluated(tmp_path: Path, **sets: Any) -> EvaluatedImages:
    given = {"generated": items(0), "reference": items(1), "training": items(2), **sets}
    return EvaluatedImages(**given, concepts=CONCEPTS, output_dir=tmp_path)


def test_a_word_that_knows_nothing_tells_nothing(words, micro_base, tmp_path):
    result = inference(words, micro_base)(evaluated(tmp_path))
    assert set(result.metrics) == {*CONCEPTS}
    for figures in result.metrics.values():
        assert set(figures) == {"loss", "gain"}
        assert figures["gain"].counts == {"training": 4, "held-out": 4}
    (check,) = result.checks
    assert check.is_passed is None  # four images against four leave room for any area
    assert re.match(r"<\w+> may tell its training images: AUC ", check.statement)
    assert check.limits == {"max_membership_auc": 0.6}
    assert [section.title for section in result.sections] == ["Membership"]


def test_a_word_that_tells_is_not_safe(words, micro_base, tmp_path, monkeypatch):
    """Losses are replaced: under the word those of training images, encoded first, are far lower."""

    def call(self: ImageLosses, latents, condition, description):
        low = "training" in description and "word" in description and "<ill>" in description
        return torch.linspace(0, 1, len(latents), dtype=torch.float64) - 5 * low

    monkeypatch.setattr(ImageLosses, "__call__", call)
    sets = {name: items(seed, number=30) for seed, name in enumerate(("reference", "training"), start=1)}
    result = inference(words, micro_base)(evaluated(tmp_path, **sets))
    assert result.metrics["<ill>"]["loss"].value == 1
    assert result.metrics["<healthy>"]["loss"].value == pytest.approx(0.5)
    assert result.checks[0].is_passed is False
    assert result.checks[0].statement.startswith("<ill> tells its training images: AUC 1.000 [")


def test_a_word_is_safe_where_no_interval_passes_the_limit(words, micro_base, tmp_path):
    (check,) = inference(words, micro_base, max_auc=1.0)(evaluated(tmp_path)).checks
    assert check.is_passed
    assert re.match(r"<\w+> does not tell its training images: AUC ", check.statement)


def test_images_of_other_concepts_are_left_out(words, micro_base, tmp_path):
    reference = items(1) + items(3, concepts=["<other>"])
    result = inference(words, micro_base)(evaluated(tmp_path, reference=reference))
    assert result.metrics["<ill>"]["loss"].counts["held-out"] == 4


@pytest.mark.parametrize("reason", ["embeddings is null", "num_cases is 0"])
def test_what_is_not_tested_is_said(reason, words, micro_base, tmp_path):
    given = (None, items(2)) if reason == "embeddings is null" else (words, None)
    result = inference(given[0], micro_base)(evaluated(tmp_path, training=given[1]))
    assert result.metrics == {"undetermined": reason}
    assert result.checks[0].is_passed is None
    assert result.checks[0].statement == f"membership in the training of the words not tested, as {reason}"


def test_a_word_is_missing(words, micro_base, tmp_path):
    (words / "ill.safetensors").unlink()
    message = "embeddings must hold a file of '<ill>', got <healthy>: set --embeddings"
    with pytest.raises(EmbeddingError, match="^" + re.escape(message) + "$"):
        inference(words, micro_base)(evaluated(tmp_path))


def test_a_word_of_another_base_model(words, micro_base, tmp_path):
    save_embedding(
        words / "ill.safetensors", "<ill>", torch.zeros(2, 32), {"base_model": "b", "base_model_sha256": "0"}
    )
    pattern = r"^'.*ill.safetensors' was learned on 'b' \(sha256 0\), not on .*: set --base_model to that one$"
    with pytest.raises(EmbeddingError, match=pattern):
        inference(words, micro_base)(evaluated(tmp_path))


def test_images_of_another_size(words, micro_base, tmp_path):
    message = (
        "membership is tested on images of 32 pixels, the base model's, got 64: set --image_size 32, or "
        "take '@membership' out of parts"
    )
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        inference(words, micro_base)(evaluated(tmp_path, training=items(2, edge=64)))


def test_limit_out_of_range(words, micro_base):
    with pytest.raises(ConfigError, match=re.escape("max_membership_auc must be in [0.5, 1], got 0.4")):
        inference(words, micro_base, max_auc=0.4)
