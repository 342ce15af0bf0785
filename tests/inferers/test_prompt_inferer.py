# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import PromptError
from medti_components.inferers.latent_sampler import LatentSampler
from medti_components.inferers.prompt_composition import parse_prompt
from medti_components.inferers.prompt_inferer import PromptInferer, prepare_requests
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.embedding_files.embedding_file import save_embedding
from medti_components.networks.embedding_files.learned_words import load_embeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


@pytest.fixture(scope="module")
def model(micro_base):
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


@pytest.fixture(scope="module")
def words(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    for token in ("<a>", "<b>"):
        rows = ConceptEmbedding.initialized(token, 3, model, seed=0).rows
        save_embedding(folder / f"{token[1]}.safetensors", token, rows, {})
    return load_embeddings(folder, model)


def inferer_of(words, **kwargs):
    return PromptInferer(LatentSampler(num_inference_steps=4), words, show_progress=False, **kwargs)


def read(*prompts):
    return [parse_prompt(prompt) for prompt in prompts]


def test_batch_of_requests_becomes_seeds_and_prompts():
    seeds, targets, args, kwargs = prepare_requests({"seed": torch.tensor([3, 4]), "prompt": ("<a>", "<b>")}, "cuda")
    assert seeds.tolist() == [3, 4]
    assert seeds.device.type == "cpu"
    assert (targets, args, kwargs) == (None, (), {"prompts": ["<a>", "<b>"]})


def test_prompts_may_differ_within_a_batch(model, words):
    inferer = inferer_of(words)
    mixed = inferer(torch.tensor([1, 1]), model, read("<a>", "large <b>"))
    assert mixed.shape == (2, 3, 32, 32)
    assert float(mixed.abs().max()) <= 1.0
    torch.testing.assert_close(mixed[1:], inferer(torch.tensor([1]), model, read("large <b>")), rtol=0, atol=1e-3)
    assert float((mixed[0] - mixed[1]).abs().mean()) > 1e-3


def test_negative_prompt_matters_under_guidance(model, words):
    plain = inferer_of(words)(torch.tensor([1]), model, read("<a>"))
    negated = inferer_of(words, negative_prompt="<b>")(torch.tensor([1]), model, read("<a>"))
    assert float((plain - negated).abs().mean()) > 1e-3


def test_a_prompt_is_encoded_once_a_run(model, words, monkeypatch):
    inferer = inferer_of(words)
    inferer.check(model, read("<a>"))
    monkeypatch.setattr(type(model), "condition_from_prompt", None)
    inferer(torch.tensor([1]), model, read("<a>"))
    inferer(torch.tensor([2]), model, read("<a>"))


def test_fault_in_the_last_prompt_shows_before_the_first_image(model, words):
    with pytest.raises(PromptError, match="unknown concept '<c>': known are <a>, <b>"):
        inferer_of(words).check(model, read("<a>", "<c>"))


def test_a_fault_in_a_part_is_shown_under_the_whole_prompt(model, words):
    with pytest.raises(PromptError) as caught:
        inferer_of(words).check(model, read("<a> :0.5 AND large <c> :0.5"))
    assert str(caught.value).split("\n")[1:] == ["  <a> :0.5 AND large <c> :0.5", " " * 21 + "^"]


def test_a_negative_prompt_is_not_composed(model, words):
    with pytest.raises(PromptError, match="negative_prompt must be one text without a weight"):
        inferer_of(words, negative_prompt="<a> AND <b>").check(model, [])
    with pytest.raises(PromptError, match="negative_prompt must be one text without a weight"):
        inferer_of(words, negative_prompt="<a>:0.5").check(model, [])
    with pytest.raises(PromptError, match="parentheses give no weight here"):
        inferer_of(words, negative_prompt="(blurry:1.3)")


def test_a_composed_batch_gives_what_its_images_give_alone(model, words):
    prompts = ["<a> :0.5 AND <b> :0.5", "<b> :0.25 AND NOT <a> :0.75"]
    together = inferer_of(words)(torch.tensor([1, 2]), model, read(*prompts))
    for index, prompt in enumerate(prompts):
        alone = inferer_of(words)(torch.tensor([index + 1]), model, read(prompt))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-3)


def test_parts_of_weight_zero_and_their_order_do_not_matter(model, words):
    def image(prompt):
        return inferer_of(words)(torch.tensor([1]), model, read(prompt))

    torch.testing.assert_close(image("<a> :0.5 AND <b> :0"), image("<a> :0.5"), rtol=0, atol=1e-4)
    torch.testing.assert_close(image("<a> :0.5 AND <b>"), image("<b> AND <a> :0.5"), rtol=0, atol=1e-3)


def test_absolute_weights_are_the_relative_ones_times_guidance(model, words):
    def image(prompt, **settings):
        inferer = PromptInferer(LatentSampler(num_inference_steps=4, **settings), words, show_progress=False)
        return inferer(torch.tensor([1]), model, read(prompt))

    relative = image("<a> :0.5 AND <b> :-0.25", guidance_scale=4.0)
    absolute = image("<a> :2 AND <b> :-1", guidance_scale=4.0, absolute_weights=True)
    torch.testing.assert_close(relative, absolute, rtol=0, atol=1e-4)


def test_progress_bar_runs_over_all_batches(model, words, capsys):
    inferer = PromptInferer(LatentSampler(num_inference_steps=4), words, num_batches=2)
    inferer(torch.tensor([1]), model, read("<a>"))
    inferer(torch.tensor([2]), model, read("<a>"))
    assert "8/8" in capsys.readouterr().err


@pytest.fixture(scope="module")
def long_words(model, words):
    return {"<mri_positive>": words["<a>"], "<nodule>": words["<b>"]}


@pytest.mark.parametrize(
    ("prompt", "said", "token", "position"),
    [
        ("mri_positive", "mri_positive", "<mri_positive>", 0),
        ("axial MRI_positive, soft", "MRI_positive", "<mri_positive>", 6),
        ("<nodule> AND <mri_positive", "mri_positive", "<mri_positive>", 14),
        ("embedding:mri_positive", "embedding:mri_positive", "<mri_positive>", 0),
        ("embedding: <nodule>", "embedding: <nodule>", "<nodule>", 0),
        ("soft embedding:other", "embedding:other", "one of <mri_positive>, <nodule>", 5),
    ],
)
def test_a_learned_word_without_its_brackets_is_an_error(model, long_words, prompt, said, token, position):
    message = f"'{said}' is text and no learned word: write {token}, in brackets"
    for given in ({"prompts": read(prompt)}, {"negative_prompt": prompt} if "AND" not in prompt else {}):
        prompts = given.pop("prompts", []) if given else read(prompt)
        with pytest.raises(PromptError) as caught:
            inferer_of(long_words, **given).check(model, prompts)
        assert (caught.value.message, caught.value.position) == (message, position)


def test_what_only_looks_like_a_learned_word_is_text(model, long_words, caplog):
    inferer_of(long_words).check(model, read("a nodule, <mri_positive>", "<nodule> in mri_positives"))
    assert not caplog.records


def test_a_prompt_of_no_learned_word_is_warned_of(model, long_words, caplog):
    inferer_of(long_words).check(model, read("a nodule", "a nodule", "", "<nodule>"))
    assert caplog.messages == ["prompt 'a nodule' uses none of the learned words, which are <mri_positive>, <nodule>"]
