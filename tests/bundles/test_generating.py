# SPDX-License-Identifier: Apache-2.0
"""Generating with the prostate bundle's own config on the micro base model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from configs_of_bundles import CHEST, PROSTATE
from monai.bundle import ConfigWorkflow
from PIL import Image

from medti_components.data.generated.generated_images import GeneratedImages
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.embedding_files.embedding_file import concept_name, load_embedding, save_embedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

INFERENCE = [PROSTATE / "inference.json"]
TOKENS = ["<prostate_mri_negative>", "<prostate_mri_positive>"]


@pytest.fixture(scope="module")
def embeddings(micro_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base))
    for token in TOKENS:
        rows = ConceptEmbedding.initialized(token, 8, model, seed=0).rows
        metadata = {"base_model": "micro", "base_model_sha256": model.fingerprint}
        save_embedding(folder / f"{concept_name(token)}.safetensors", token, rows, metadata)
    return folder


@pytest.fixture
def generating(embeddings, micro_base, tmp_path):
    """Keys that make generating a matter of a second."""
    return {
        "embeddings": embeddings,
        "output_dir": tmp_path / "generating",
        "base_model": micro_base,
        "num_images": 2,
        "num_inference_steps": 3,
        "batch_size": 3,
        "show_progress": False,
        "device": "cpu",
    }


def provenance(folder):
    return [json.loads(line) for line in (folder / "provenance.jsonl").read_text(encoding="utf-8").splitlines()]


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_without_a_prompt_images_of_every_learned_word_are_left_with_their_provenance(
    run_config, generating, embeddings
):
    run_config("generating", INFERENCE, **generating, seed=5)
    folder = generating["output_dir"]
    names = ["prostate_mri_negative_5", "prostate_mri_negative_6", "prostate_mri_positive_5", "prostate_mri_positive_6"]
    assert sorted(path.stem for path in (folder / "images").iterdir()) == names
    volumes = {path.name for path in (folder / "volumes").iterdir()}
    assert volumes == {f"{name}_{sequence}.mha" for name in names for sequence in ("t2w", "adc", "hbv")}
    assert SimpleITK.ReadImage(folder / "volumes" / f"{names[0]}_adc.mha").GetSpacing() == (0.5, 0.5, 3.0)
    assert (folder / "contact_sheet.png").is_file()

    lines = provenance(folder)
    assert [line["file"] for line in lines] == [f"images/{name}.png" for name in names]
    first = lines[0]
    assert first["synthetic"] is True
    assert first["prompt"] == TOKENS[0]
    assert first["seed"] == 5
    assert first["num_inference_steps"] == 3
    assert first["scheduler"] == "EulerAncestralDiscreteScheduler"
    assert first["guidance_scale"] == 2.0
    assert first["base_model"] == "micro_base"
    word = load_embedding(embeddings / "prostate_mri_negative.safetensors")
    assert first["base_model_sha256"] == word.metadata["base_model_sha256"]
    assert first["embedding_sha256"] == {TOKENS[0]: word.sha256}
    assert {"medti", "torch", "diffusers", "transformers", "monai"} == set(first["versions"])

    with Image.open(folder / first["file"]) as picture:
        assert picture.size == (32, 32)
        assert picture.text["synthetic"] == "true"
        assert picture.text["prompt"] == TOKENS[0]
        assert picture.text["seed"] == "5"

    assert [item["concept"] for item in GeneratedImages(folder, TOKENS, 32, 2)] == [TOKENS[0]] * 2 + [TOKENS[1]] * 2


def test_an_image_is_the_same_whatever_is_generated_with_it(run_config, generating, tmp_path):
    run_config("generating", INFERENCE, **generating)
    alone = tmp_path / "alone"
    few = {"output_dir": alone, "num_images": 1, "batch_size": 1, "seed": 1, "prompt": TOKENS[1]}
    run_config("run", INFERENCE, **{**generating, **few})
    [path] = (alone / "images").iterdir()
    together = pixels(generating["output_dir"] / "images" / path.name)
    assert np.abs(together.astype(int) - pixels(path)).max() <= 1
    assert np.ptp(together) > 20


def test_a_list_of_prompts_is_generated_at_the_same_seeds(run_config, generating):
    asked = [TOKENS[1], {TOKENS[0]: 0.5, TOKENS[1]: 0.5}]
    run_config("generating", INFERENCE, **{**generating, "prompt": asked, "num_images": 1})
    lines = provenance(generating["output_dir"])
    assert [line["prompt"] for line in lines] == [TOKENS[1], f"{TOKENS[0]} :0.5 AND {TOKENS[1]} :0.5"]
    assert lines[0]["seed"] == lines[1]["seed"]


def test_prompts_come_from_a_file_that_the_command_line_can_not_mangle(run_config, generating, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text(f"{TOKENS[0]}, 5 % #2\n\n{TOKENS[1]} 'left'\n", encoding="utf-8")
    run_config("generating", INFERENCE, **{**generating, "prompt_file": path, "num_images": 1})
    prompts = [line["prompt"] for line in provenance(generating["output_dir"])]
    assert prompts == [f"{TOKENS[0]}, 5 % #2", f"{TOKENS[1]} 'left'"]


def test_a_second_run_in_the_same_folder_keeps_the_lines_of_the_first(run_config, generating):
    run_config("generating", INFERENCE, **{**generating, "prompt": TOKENS[0]})
    run_config("generating", INFERENCE, **{**generating, "prompt": TOKENS[1], "num_images": 1})
    assert [line["prompt"] for line in provenance(generating["output_dir"])] == [TOKENS[0]] * 2 + [TOKENS[1]]


def test_one_sequence_gives_one_volume(run_config, generating):
    run_config("generating", INFERENCE, **{**generating, "sequences": ["t2w"], "num_images": 1, "prompt": TOKENS[0]})
    assert [path.name for path in (generating["output_dir"] / "volumes").iterdir()] == [
        "prostate_mri_negative_0_t2w.mha"
    ]


def test_properties_that_monai_asks_for_exist(generating):
    overrides = {key: str(value) if isinstance(value, Path) else value for key, value in generating.items()}
    workflow = ConfigWorkflow(str(INFERENCE[0]), logging_file=False, workflow_type="infer", **overrides)
    workflow.initialize()
    assert workflow.check_properties() == []
    assert len(workflow.dataset) == 4


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"num_image": 3}, r"unknown key 'num_image': did you mean 'num_images'\?"),
        (
            {"prompt": "<prostate_mri>"},
            r"unknown concept '<prostate_mri>': known are <prostate_mri_negative>, <prost",
        ),
        ({"prompt": "a " * 80}, r"a text takes 80 positions, the text encoder has 75: shorten it"),
        ({"negative_prompt": "<none>"}, r"unknown concept '<none>': known are"),
        ({"prompt": "a", "prompt_file": "b.txt"}, r"prompt and prompt_file must not both be given"),
        ({"prompt_file": "none.txt"}, r"prompt_file 'none.txt' can't be read"),
        ({"embeddings": "no/such/folder"}, r"embeddings 'no/such/folder' is neither a folder nor a file"),
        ({"scheduler": "EulerAncestral"}, r"scheduler must be .* did you mean 'EulerAncestralDiscreteScheduler'\?"),
        ({"num_inference_steps": 0}, r"num_inference_steps must be .*, got 0"),
        ({"num_inference_steps": 1001}, r"num_inference_steps must be at most 1000"),
        ({"guidance_scale": -1.0}, r"guidance_scale must be at least 0, got -1.0"),
        ({"num_images": 0}, r"num_images must be .*, got 0"),
        ({"batch_size": 0}, r"batch_size must be at least 1, got 0: correct --batch_size"),
        ({"seed": -1}, r"seed must .*, got -1"),
        ({"base_model": "no/such-model"}, r"base model 'no/such-model' is neither .* configs/embedded.json .* offline"),
        ({"sequences": ["t2w", "adc"]}, r"sequences must name one or three sequences, got \['t2w', 'adc'\]"),
        ({"device": "gpu"}, r"device must be .*, got 'gpu'"),
    ],
)
def test_setting_that_does_not_fit(line_of, generating, overrides, pattern):
    assert re.search("^error: " + pattern, line_of("generating", INFERENCE, **{**generating, **overrides}))


def test_embedding_of_another_width_or_base(line_of, run_config, generating, tmp_path):
    path = tmp_path / "other.safetensors"
    save_embedding(path, TOKENS[0], torch.zeros(2, 24), {"base_model": "stable-diffusion-1"})
    line = line_of("generating", INFERENCE, **{**generating, "embeddings": path})
    assert "embedding width 24 does not match text encoder width 32" in line
    save_embedding(path, TOKENS[0], torch.zeros(2, 32), {"base_model": "other-base", "base_model_sha256": "0" * 64})
    line = line_of("generating", INFERENCE, **{**generating, "embeddings": path})
    assert re.search(r"learned on 'other-base' .*--allow_other_base true", line)
    run_config("generating", INFERENCE, **{**generating, "embeddings": path, "allow_other_base": True, "num_images": 1})


def test_volumes_have_the_millimetres_of_the_words(line_of, run_config, generating, tmp_path):
    folder = tmp_path / "words"
    for token, edge in zip(TOKENS, ("96.0", "120.0"), strict=True):
        metadata = {"base_model": "micro", "field_of_view_mm": edge}
        save_embedding(folder / f"{concept_name(token)}.safetensors", token, torch.zeros(2, 32), metadata)
    line = line_of("generating", INFERENCE, **{**generating, "embeddings": folder})
    assert line.startswith(f"error: '{TOKENS[0]}' was learned from images of 96 mm, '{TOKENS[1]}' of 120 mm: give ")
    one = {**generating, "embeddings": folder / "prostate_mri_positive.safetensors", "num_images": 1}
    line = line_of("generating", INFERENCE, **one, field_of_view_mm=96.0)
    assert line == (
        f"error: field_of_view_mm is 96, but '{TOKENS[1]}' was learned from images of 120 mm: "
        "set --field_of_view_mm 120, or leave it out"
    )
    run_config("generating", INFERENCE, **one)
    volume = SimpleITK.ReadImage(next((generating["output_dir"] / "volumes").glob("*_t2w.mha")))
    assert [size * spacing for size, spacing in zip(volume.GetSize(), volume.GetSpacing(), strict=True)] == [
        120,
        120,
        3,
    ]


def test_word_of_another_modality_is_an_error_that_names_the_override(line_of, run_config, generating, tmp_path):
    path = tmp_path / "prostate.safetensors"
    save_embedding(path, TOKENS[0], torch.zeros(2, 32), {"base_model": "micro", "modality": "prostate_mri"})
    chest = {**generating, "embeddings": path, "num_images": 1}
    line = line_of("generating", [CHEST / "inference.json"], **chest)
    assert line == (
        f"error: '{path}' holds '{TOKENS[0]}', a word of 'prostate_mri', but this bundle makes images of 'chest_xray': "
        "take the bundle of that word, or set --allow_other_modality true"
    )
    run_config("generating", [CHEST / "inference.json"], **chest, allow_other_modality=True)
    run_config("generating", INFERENCE, **chest)


def test_output_folder_that_is_not_writable_shows_before_the_model_is_loaded(line_of, generating, tmp_path):
    (tmp_path / "in_the_way").touch()
    overrides = {"output_dir": tmp_path / "in_the_way" / "run", "base_model": "no/such-model"}
    line = line_of("generating", INFERENCE, **{**generating, **overrides})
    assert re.search(r"output_dir '.*in_the_way/run' is not writable \(Not a directory\)", line)


def test_interpolating_leaves_a_row_a_seed_from_one_concept_to_the_other(run_config, generating):
    run_config("interpolating", INFERENCE, **generating, seed=5, interpolation_weights=[0.0, 0.5, 1.0])
    folder = generating["output_dir"]
    lines = provenance(folder)
    assert [(line["weights"], line["seed"]) for line in lines] == [
        ([1.0, 0.0], 5),
        ([1.0, 0.0], 6),
        ([0.5, 0.5], 5),
        ([0.5, 0.5], 6),
        ([0.0, 1.0], 5),
        ([0.0, 1.0], 6),
    ]
    images = [pixels(folder / line["file"]) for line in lines]
    assert not np.array_equal(images[0], images[4])
    with Image.open(folder / "contact_sheet.png") as sheet:
        assert sheet.text["prompts"].splitlines()[1] == (
            "<prostate_mri_negative> :0.5 AND <prostate_mri_positive> :0.5"
        )


def test_the_ends_of_an_interpolation_are_the_concepts_alone(run_config, generating, tmp_path):
    run_config("interpolating", INFERENCE, **generating, interpolation_weights=[0.0, 1.0])
    alone = generating | {"output_dir": tmp_path / "alone"}
    run_config("generating", INFERENCE, **alone)
    for end, token in ((0, TOKENS[0]), (1, TOKENS[1])):
        name = f"prostate_mri_negative_to_prostate_mri_positive_{end}_0"
        interpolated = pixels(generating["output_dir"] / f"images/{name}.png").astype(int)
        plain = pixels(alone["output_dir"] / f"images/{concept_name(token)}_0.png")
        assert np.abs(interpolated - plain).max() <= 1


def test_composed_prompts_are_read_from_the_command_line_and_from_a_table(run_config, generating, tmp_path):
    prompt = "<prostate_mri_negative> :0.5 AND NOT <prostate_mri_positive> :0.25"
    run_config("generating", INFERENCE, **generating, prompt=prompt)
    first = provenance(generating["output_dir"])
    assert first[0]["weights"] == [0.5, -0.25] and first[0]["texts"] == TOKENS
    table = tmp_path / "prompts.csv"
    table.write_text(f"prompt,seed,count\n{prompt},1,1\n", encoding="utf-8")
    from_table = generating | {"output_dir": tmp_path / "from_table"}
    run_config("generating", INFERENCE, **from_table, prompt_file=table)
    (line,) = provenance(from_table["output_dir"])
    assert line["seed"] == 1
    again = pixels(from_table["output_dir"] / line["file"]).astype(int)
    assert np.abs(again - pixels(generating["output_dir"] / first[1]["file"])).max() <= 1


def test_a_fault_in_a_prompt_is_shown_with_a_caret(line_of, generating):
    shown = line_of("generating", INFERENCE, **generating, prompt="<prostate_mri_negative> :a")
    assert shown.splitlines() == [
        "error: a weight must be a decimal number, got 'a'",
        "  <prostate_mri_negative> :a",
        " " * 27 + "^",
    ]
