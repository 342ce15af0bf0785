# SPDX-License-Identifier: Apache-2.0
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from medti_components.errors import BaseModelError
from medti_components.networks import hub_folder
from medti_components.networks.base_model_folder import (
    checkpoint_fingerprint,
    load_component,
    load_settings,
    locate_base_model,
    short_name,
    weight_files,
)


@pytest.fixture
def base_copy(micro_base, tmp_path):
    return shutil.copytree(micro_base, tmp_path / "copy")


def test_folder_is_taken_as_it_is(micro_base):
    assert locate_base_model(str(micro_base)) == micro_base


def test_folder_goes_by_its_name_without_the_path(micro_base, tmp_path):
    assert short_name(str(micro_base)) == "micro_base"
    (tmp_path / "my_bundle" / "models").mkdir(parents=True)
    assert short_name(str(tmp_path / "my_bundle" / "models")) == "my_bundle"


def test_neither_folder_nor_reachable_names_the_offline_config(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        BaseModelError, match=r"'no/such-model' is neither .* \(.+\): .*configs/embedded.json"
    ) as caught:
        locate_base_model("no/such-model", revision="0123abc")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", None, 7])
def test_name_that_is_no_text_is_refused(name):
    with pytest.raises(BaseModelError, match="base_model must be a folder or a hub id, got"):
        locate_base_model(name)


def test_hub_id_is_fetched_as_safetensors_at_its_revision(micro_base, monkeypatch):
    asked = {}

    def fetch(name, **kwargs):
        asked.update(kwargs, name=name)
        return str(micro_base)

    monkeypatch.setattr(hub_folder, "snapshot_download", fetch)
    assert locate_base_model("some/model", revision="0123abc") == micro_base
    assert asked["name"] == "some/model"
    assert asked["revision"] == "0123abc"
    assert "unet/diffusion_pytorch_model*.safetensors" in asked["allow_patterns"]
    assert not any("bin" in pattern for pattern in asked["allow_patterns"])
    assert "*.fp16*" in asked["ignore_patterns"]


def test_hub_id_without_revision_is_warned_of(micro_base, monkeypatch, caplog):
    monkeypatch.setattr(hub_folder, "snapshot_download", lambda *args, **kwargs: str(micro_base))
    locate_base_model("some/model")
    assert "base_revision is not set" in caplog.text


def test_missing_parts_are_listed(base_copy):
    shutil.rmtree(base_copy / "vae")
    for file in (base_copy / "tokenizer").iterdir():
        file.unlink()
    (base_copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(
        BaseModelError,
        match=r"lacks tokenizer/vocab.json, unet/diffusion_pytorch_model\*.safetensors, vae/config.json, "
        r"vae/diffusion_pytorch_model\*.safetensors: it must hold",
    ):
        locate_base_model(str(base_copy))


def test_a_base_of_half_precision_variants_says_so_and_can_be_saved_in_full(micro_base, tmp_path):
    halved, full = tmp_path / "halved", tmp_path / "full"
    StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None).save_pretrained(halved, variant="fp16")
    with pytest.raises(BaseModelError, match="has half-precision variants alone of text_encoder, unet, vae") as caught:
        locate_base_model(str(halved))
    assert ".from_pretrained(FOLDER, variant='fp16').save_pretrained(NEW_FOLDER)" in str(caught.value)
    StableDiffusionPipeline.from_pretrained(halved, variant="fp16", safety_checker=None).save_pretrained(full)
    assert locate_base_model(str(full)) == full


def test_fingerprint_counts_weights_not_names_of_folders_or_files(micro_base, base_copy):
    original = checkpoint_fingerprint(micro_base)
    [path] = weight_files(base_copy, "unet")
    tensors = load_file(path)
    first, *others = sorted(tensors)
    save_file({first: tensors[first]}, path.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    save_file(
        {name: tensors[name] for name in others}, path.with_name("diffusion_pytorch_model-00002-of-00002.safetensors")
    )
    path.unlink()
    assert checkpoint_fingerprint(base_copy) == original

    tensors[first] = tensors[first] + 1e-3
    save_file({first: tensors[first]}, path.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    assert checkpoint_fingerprint(base_copy) != original


def test_fingerprint_leaves_out_the_vae(micro_base, base_copy):
    [path] = weight_files(base_copy, "vae")
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    assert checkpoint_fingerprint(base_copy) == checkpoint_fingerprint(micro_base)


def test_fingerprint_takes_bfloat16_weights(base_copy):
    [path] = weight_files(base_copy, "unet")
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}, path)
    assert len(checkpoint_fingerprint(base_copy)) == 64


def test_damaged_weights_are_one_line(base_copy):
    [path] = weight_files(base_copy, "unet")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BaseModelError, match="unet of '.*' can't be loaded") as caught:
        load_component(UNet2DConditionModel, base_copy, "unet")
    assert "\n" not in str(caught.value)
    with pytest.raises(BaseModelError, match="weights '.*' can't be read"):
        checkpoint_fingerprint(base_copy)


def test_weights_that_leave_parameters_random_are_refused(base_copy):
    [path] = weight_files(base_copy, "unet")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del tensors["conv_out.weight"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(BaseModelError, match="weights of unet of '.*' lack 1 tensors, 'conv_out.weight' among them"):
        load_component(UNet2DConditionModel, base_copy, "unet")


def test_broken_settings_are_one_line(base_copy):
    (base_copy / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(BaseModelError, match="tokenizer or scheduler of '.*' can't be loaded") as caught:
        load_settings(base_copy)
    assert "\n" not in str(caught.value)
