# SPDX-License-Identifier: Apache-2.0
"""What a user sees when something is wrong: one line that says what, which file or key, and what to do."""

import re

import pytest
import torch
from configs_of_bundles import PROSTATE

from medti_components.networks.embedding_files.embedding_file import save_embedding

TRAIN = [PROSTATE / "train.json"]
GENERATE = [PROSTATE / "inference.json"]


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"max_stpes": 3}, r"unknown key 'max_stpes': did you mean 'max_steps'\?"),
        ({"train::trainer::max_epocs": 3}, r"unknown key .* did you mean 'train::trainer::max_epochs'\?"),
        ({"num_images": 3}, r"key 'num_images' belongs to inference.json, .*: leave it out"),
        ({"resume": "yes"}, r"resume must be true or false, got 'yes'"),
        ({"num_vectors": 76}, r"num_vectors must be .* 75.*, got 76"),
        ({"num_vectors": 0}, r"num_vectors must be .*, got 0"),
        (
            {"num_cases": 40},
            r"concept '<prostate_mri_negative>' has 5 cases, num_cases asks for 40 .*: lower --num_cases",
        ),
        ({"dataset_dir": "no/such/folder"}, r"dataset_dir 'no/such/folder' does not exist: set --dataset_dir"),
        ({"base_model": "no/such-model"}, r"base model 'no/such-model' is neither .* configs/embedded.json .* offline"),
        ({"concepts": []}, r"concepts must name at least one concept token"),
        ({"concepts": ["prostate"]}, r"concept token must be a word in angle brackets .*, got 'prostate'"),
        ({"sequences": ["t2"]}, r"sequences must be .*, got 't2'"),
        ({"batch_size": 0}, r"batch_size must be .*, got 0"),
        (
            {"learning_rate_schedule": "cosin"},
            r"learning_rate_schedule must be .*, got 'cosin': did you mean 'cosine'\?",
        ),
        ({"dtype": "fp16"}, r"dtype must be one of float32, bfloat16, float16, got 'fp16': did you mean 'float16'\?"),
        ({"dtype": "bf16"}, r"dtype must be one of .*, got 'bf16': did you mean 'bfloat16'\?"),
        ({"dtype": "half"}, r"dtype must be one of .*, got 'half': did you mean 'float16'\?"),
        ({"dtype": "float8"}, r"dtype must be one of float32, bfloat16, float16, got 'float8'"),
    ],
)
def test_setting_that_does_not_fit(line_of, training, overrides, pattern):
    assert re.search("^error: " + pattern, line_of("training", TRAIN, **{**training, **overrides}))


def test_output_folder_that_is_not_writable(line_of, training, tmp_path):
    (tmp_path / "in_the_way").touch()
    line = line_of("training", TRAIN, **{**training, "output_dir": tmp_path / "in_the_way" / "run"})
    assert re.search(r"output_dir '.*in_the_way/run' is not writable \(Not a directory\): .*--output_dir", line)


def test_base_model_without_its_parts(line_of, training, picai):
    line = line_of("training", TRAIN, **{**training, "base_model": picai})
    assert re.search(r"base model '.*' lacks .*unet/config.json", line)


def remove_adc(folder):
    return remove(next(folder.glob("images/*/*_adc.mha")))


def remove_gland(folder):
    return remove(next(folder.glob("picai_labels/anatomical_delineations/**/*.nii.gz")))


def truncate_t2w(folder):
    path = next(folder.glob("images/*/*_t2w.mha"))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])
    return path


def remove(path):
    path.unlink()
    return path


@pytest.mark.parametrize(
    ("damage", "pattern"),
    [
        (remove_adc, r"has no ADC volume '.*_adc.mha': .*--skip_unreadable true"),
        (remove_gland, r"has no gland mask '.*': .*--skip_unreadable true"),
        (truncate_t2w, r"_t2w.mha' is unreadable or truncated .*--skip_unreadable true"),
    ],
)
def test_study_that_is_not_whole(run_config, line_of, training, damaged_picai, damage, pattern, caplog):
    bad = damage(damaged_picai)
    training |= {"dataset_dir": damaged_picai}
    line = line_of("training", TRAIN, **training)
    assert re.search(pattern, line)
    assert bad.name.removesuffix(".nii.gz") in line

    run_config("training", TRAIN, **{**training, "skip_unreadable": "true", "num_cases": 1})
    assert bad.name.partition("_")[0] in caplog.text


def test_concept_without_a_case(line_of, training, damaged_picai):
    marksheet = damaged_picai / "picai_labels" / "clinical_information" / "marksheet.csv"
    rows = marksheet.read_text().splitlines()
    marksheet.unlink()
    marksheet.write_text("\n".join(row for row in rows if not row.startswith("15")) + "\n")
    line = line_of("training", TRAIN, **{**training, "dataset_dir": damaged_picai})
    assert re.search(r"concept '<prostate_mri_positive>' has no cases in .*: add studies", line)


@pytest.fixture
def generating(micro_base, tmp_path):
    """Keys that make generation a matter of a second, with a word of width 32 to go by."""
    save_embedding(tmp_path / "words" / "a_word.safetensors", "<a_word>", torch.zeros(2, 32), {"base_model": "a base"})
    return {
        "base_model": micro_base,
        "embeddings": tmp_path / "words",
        "output_dir": tmp_path / "generated",
        "num_images": 1,
        "num_inference_steps": 1,
        "show_progress": False,
        "device": "cpu",
    }


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"max_steps": 3}, r"key 'max_steps' belongs to train.json, .*: leave it out"),
        ({"promt": "<a_word>"}, r"unknown key 'promt': did you mean 'prompt'\?"),
        ({"prompt": "<b_word>"}, r".*<b_word>.*"),
        ({"prompt": "grade #2"}, r"prompt must not contain '#'.*--prompt_file"),
        ({"prompt_file": "no/such/file"}, r"prompt_file 'no/such/file' .*"),
        ({"embeddings": "no/such/folder"}, r".*'no/such/folder' .*--embeddings"),
        ({"scheduler": "EulerScheduler"}, r"scheduler must be .*got 'EulerScheduler'"),
        ({"num_images": 0}, r"num_images must be .*, got 0"),
        ({"num_inference_steps": 0}, r"num_inference_steps must be .*, got 0"),
        ({"guidance_scale": "strong"}, r"guidance_scale must be a number, got 'strong'"),
        ({"batch_size": 0}, r"batch_size must be .*, got 0"),
    ],
)
def test_request_that_can_t_be_met(line_of, generating, overrides, pattern):
    assert re.search("^error: " + pattern, line_of("generating", GENERATE, **{**generating, **overrides}))


def test_embedding_of_another_width(line_of, generating, tmp_path):
    save_embedding(tmp_path / "words" / "wide.safetensors", "<wide>", torch.zeros(2, 64), {"base_model": "wide-base"})
    line = line_of("generating", GENERATE, **generating)
    assert re.search(r"embedding width 64 does not match text encoder width 32: .* learned on 'wide-base'", line)
