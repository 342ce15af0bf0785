# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from monai.bundle import run
from safetensors.torch import load_file

from medti_components.base_model.scene_dataset import WORDS
from medti_components.base_model.stages import DenoiserStage
from medti_components.errors import BaseModelError, ConfigError
from medti_components.networks.feature_network import CHANNELS, EmbeddedFeatures
from medti_components.networks.finding_classifier import FindingClassifier

CONFIG = Path(__file__).parents[2] / "bundles/tiny_latent_diffusion/configs/train.json"
FEATURES = "embedded_features.safetensors"
SMALL = {
    "num_scenes": 12,
    "image_size": 32,
    "text_encoder_steps": 2,
    "decoder_steps": 2,
    "denoiser_steps": 4,
    "joint_steps": 2,
    "caption_lengths": [[40, 1]],
    "decoder_batch_size": 2,
    "text_encoder_batch_size": 2,
    "denoiser_batch_size": 2,
    "show_progress": False,
    "device": "cpu",
    "dtype": "float32",
}


def _train(output_dir: Path, **settings) -> dict[str, torch.Tensor]:
    run(run_id="training", config_file=str(CONFIG), logging_file=False, output_dir=str(output_dir), **SMALL | settings)
    return load_file(output_dir / "models/unet/diffusion_pytorch_model.safetensors")


def test_training_leaves_a_pipeline_and_an_interrupted_one_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = _train(tmp_path / "whole")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "whole/models")
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red disc", num_inference_steps=2, output_type="np", height=32, width=32).images
    assert image.shape == (1, 32, 32, 3)

    loss = DenoiserStage.loss

    def stop_at_four(self, engine, stream):
        if engine.state.iteration == 4:
            raise KeyboardInterrupt
        return loss(self, engine, stream)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DenoiserStage, "loss", stop_at_four)
        _train(tmp_path / "broken", checkpoint_interval=1)
    resumed = _train(tmp_path / "broken", checkpoint_interval=1, resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_goes_on_from_a_model_that_was_written_before(tmp_path):
    before = _train(tmp_path / "first")
    further = {"initial_model": str(tmp_path / "first/models"), "text_encoder_steps": 0}
    after = _train(tmp_path / "second", denoiser_steps=1, denoiser_learning_rate=0.0, joint_steps=0, **further)
    # at rate 0 only the float16 of the file may show
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_decoder_alone_learns_on_and_latents_stay(tmp_path):
    _train(tmp_path / "first", decoder_steps=0)
    further = {"initial_model": str(tmp_path / "first/models"), "text_encoder_steps": 0}
    _train(tmp_path / "second", denoiser_steps=1, **further)
    weights = "models/vae/diffusion_pytorch_model.safetensors"
    before, after = load_file(tmp_path / "first" / weights), load_file(tmp_path / "second" / weights)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_going_on_from_a_folder_without_weights_says_what_to_set(tmp_path):
    further = {"initial_model": str(tmp_path), "text_encoder_steps": 0}
    with pytest.raises(RuntimeError) as caught:
        _train(tmp_path / "out", **further)
    assert isinstance(caught.value.__cause__, BaseModelError)
    assert "set initial_model to a folder" in str(caught.value.__cause__)


def test_going_on_from_the_shipped_weights_of_another_shape_says_what_to_set(tmp_path):
    further = {"initial_model": str(CONFIG.parents[1] / "models"), "text_encoder_steps": 0}
    with pytest.raises(RuntimeError) as caught:
        _train(tmp_path / "out", **further)
    assert isinstance(caught.value.__cause__, BaseModelError)
    message = str(caught.value.__cause__)
    assert "does not hold the weights of this model" in message and "\n" not in message
    assert "set initial_model to a folder that the same config wrote" in message


def test_scenes_without_a_short_caption_cannot_be_begun_with(tmp_path):
    further = {"caption_lengths": [[2, 1]], "text_encoder_steps": 0}
    with pytest.raises(RuntimeError) as caught:
        _train(tmp_path / "out", **further)
    assert isinstance(caught.value.__cause__, ConfigError)
    assert "no scene has a caption of 2 tokens or fewer" in str(caught.value.__cause__)


def test_training_of_the_feature_network_leaves_its_weights(tmp_path):
    settings = {"num_scenes": 8, "num_held_out_scenes": 4, "max_epochs": 1, "batch_size": 8, "show_progress": False}
    config = CONFIG.with_name("train_features.json")
    run(
        run_id="training",
        config_file=str(config),
        logging_file=False,
        output_dir=str(tmp_path / "out"),
        device="cpu",
        **settings,
    )
    network = EmbeddedFeatures(FindingClassifier(3, len(WORDS), CHANNELS))
    network.load_state_dict({name: each.float() for name, each in load_file(tmp_path / "out" / FEATURES).items()})
    assert network(torch.zeros(1, 3, 64, 64)).isfinite().all()


def test_dry_run_of_the_feature_network_counts_scenes_steps_and_validation(tmp_path, capsys):
    settings = {"num_scenes": 24, "num_held_out_scenes": 4, "max_epochs": 2, "batch_size": 8, "show_progress": False}
    config = CONFIG.with_name("train_features.json")
    with pytest.raises(SystemExit):
        run(
            run_id="training",
            config_file=str(config),
            logging_file=False,
            output_dir=str(tmp_path / "out"),
            dry_run=True,
            **settings,
        )
    text = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert sorted(re.findall(r"scenes drawn +(\d+)", text)) == ["24", "4"]
    assert re.search(r"steps of train::trainer +6 ", text)
    assert re.search(r"batches of validation +2 ", text)
