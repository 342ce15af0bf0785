# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from diffusers import StableDiffusionPipeline

from medti_components.errors import EmbeddingError
from medti_components.networks.concept_embedding import ConceptEmbedding, ConceptEmbeddings
from medti_components.networks.embedding_files.embedding_file import concept_name
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


@pytest.fixture(scope="module")
def model(micro_base):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


def test_initial_rows_are_ordinary_words_of_the_vocabulary(model):
    rows = ConceptEmbedding.initialized("<nodule>", 6, model, seed=0).rows
    assert rows.shape == (6, 32)
    assert rows.dtype == torch.float32
    vocabulary = model.vocabulary_rows()
    assert len(vocabulary) == 514 - 3  # 512 byte characters and two special tokens; '!' pads
    assert all(bool((vocabulary == row).all(dim=1).any()) for row in rows)
    assert len(torch.unique(rows, dim=0)) == 6


def test_initial_rows_depend_on_seed_and_token_alone(model):
    joint = ConceptEmbeddings.initialized(["<a>", "<b>"], 4, model, seed=0)
    alone = ConceptEmbedding.initialized("<b>", 4, model, seed=0)
    assert torch.equal(joint["<b>"].rows, alone.rows)
    assert not torch.equal(joint["<a>"].rows, joint["<b>"].rows)
    assert not torch.equal(alone.rows, ConceptEmbedding.initialized("<b>", 4, model, seed=1).rows)


def test_more_vectors_than_ordinary_words_repeat_them(model, monkeypatch):
    monkeypatch.setattr(type(model), "vocabulary_rows", lambda self: torch.eye(32)[:3])
    rows = ConceptEmbedding.initialized("<a>", 5, model, seed=0).rows
    assert len(torch.unique(rows, dim=0)) == 3


@pytest.mark.parametrize("count", [0, 76, 2.5, True])
def test_number_of_vectors_outside_what_the_encoder_takes_is_refused(model, count):
    with pytest.raises(EmbeddingError, match=f"num_vectors must be a whole number from 1 to 75, .* got {count}"):
        ConceptEmbedding.initialized("<a>", count, model, seed=0)


@pytest.mark.parametrize("token", ["nodule", "<two words>", "<>", "<a", "<a>b", 3])
def test_token_that_is_no_bracketed_word_is_refused(token):
    with pytest.raises(EmbeddingError, match="concept token must be a word in angle brackets like .* got "):
        ConceptEmbedding(token, torch.zeros(1, 4))


def test_rows_of_another_rank_are_refused():
    with pytest.raises(EmbeddingError, match=r"rows of '<a>' must have shape \(vectors, width\), got \(4,\)"):
        ConceptEmbedding("<a>", torch.zeros(4))


def test_state_dict_holds_the_rows_alone_and_loads_again():
    first = ConceptEmbeddings([ConceptEmbedding("<a>", torch.ones(2, 4)), ConceptEmbedding("<b-2>", torch.ones(1, 4))])
    assert list(first.state_dict()) == ["<a>.rows", "<b-2>.rows"]
    second = ConceptEmbeddings(
        [ConceptEmbedding("<a>", torch.zeros(2, 4)), ConceptEmbedding("<b-2>", torch.zeros(1, 4))]
    )
    second.load_state_dict(first.state_dict())
    assert torch.equal(second["<a>"].rows, torch.ones(2, 4))
    assert [embedding.token for embedding in second] == ["<a>", "<b-2>"]
    assert len(second) == 2


def test_rows_are_a_copy_of_what_they_start_from():
    start = torch.zeros(2, 4)
    embedding = ConceptEmbedding("<a>", start)
    with torch.no_grad():
        embedding.rows += 1
    assert float(start.abs().sum()) == 0


def test_concept_given_twice_unknown_or_none_is_an_error():
    word = ConceptEmbedding("<a>", torch.zeros(1, 4))
    with pytest.raises(EmbeddingError, match="concept '<a>' is given twice"):
        ConceptEmbeddings([word, word])
    with pytest.raises(EmbeddingError, match="concepts must name at least one concept token, got none"):
        ConceptEmbeddings([])
    with pytest.raises(EmbeddingError, match="unknown concept '<b>': known are <a>"):
        ConceptEmbeddings([word])["<b>"]


def test_name_of_a_concept_has_no_brackets():
    assert concept_name("<prostate_mri_positive>") == "prostate_mri_positive"


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        ("<MRI_positive>", "lower case, got '<MRI_positive>': diffusers writes prompts in lower case"),
        (f"<{'a' * 65}>", "at most 64 characters long, got 65"),
        ("<con>", "no name of a device of Windows, got '<con>'"),
    ],
)
def test_a_new_word_has_a_name_that_no_tool_changes(micro_model, token, fault):
    with pytest.raises(EmbeddingError, match=f"^the name of a new word must be {re.escape(fault)}"):
        ConceptEmbeddings.initialized([token], 1, micro_model, seed=0)


def test_words_that_differ_in_case_alone_are_refused():
    words = [ConceptEmbedding(token, torch.zeros(1, 4)) for token in ("<a>", "<A>")]
    with pytest.raises(EmbeddingError, match="^'<a>' and '<A>' differ in case alone: give one of them another name$"):
        ConceptEmbeddings(words)


def test_diffusers_reads_one_vector_of_a_word_with_a_capital(micro_base, tmp_path):
    pipe = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    for token in ("<mri_positive>", "<MRI_positive>"):
        pipe.load_textual_inversion({token: torch.zeros(3, 32)}, token=token)
        expanded = pipe.maybe_convert_prompt(token, pipe.tokenizer)
        ids = pipe.tokenizer(expanded, add_special_tokens=False)["input_ids"]
        assert len(set(ids) - set(range(512))) == (3 if token.islower() else 1), (expanded, ids)
